package function

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

type output struct{}

func (output) Validate() error { return nil }

// report is what became of the events of one request.
type report struct{}

func (report) reply() serve.Reply { return serve.Reply{Status: http.StatusNoContent} }

type engine struct{}

func newEngine(output, serve.Host) (*engine, error) { return &engine{}, nil }

func (*engine) take(context.Context, []response.Event) (report, error) { return report{}, nil }

// discard dead-letters what cannot be read as an event, as it came.
func (*engine) discard(context.Context, []byte, error) error { return errors.New("not yet") }

func (*engine) run(ctx context.Context) error { <-ctx.Done(); return nil }

func (*engine) ready() error { return nil }

func (*engine) patience() time.Duration { return time.Minute }

func isCallback(serve.Request) bool { return false }

func (*engine) callback(context.Context, serve.Request) (serve.Reply, error) {
	return serve.Reply{}, nil
}
