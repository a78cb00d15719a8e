package function

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/response"
)

// unproven is a sender that has not proved who it is, which is answered 401, in words that help.
type unproven struct{ error }

// Is says what it comes to.
func (unproven) Is(target error) bool { return target == auth.ErrUnauthenticated }

// Unwrap is the cause.
func (u unproven) Unwrap() error { return u.error }

// sender sends requests: a client of shared/outbound.
type sender interface {
	Do(r *http.Request) (*http.Response, error)
}

// downloading is how long a download may take.
const downloading = 10 * time.Second

// download is what is at an address, within the limits of shared/outbound.
func download(ctx context.Context, send sender, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, downloading)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := send.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // It has been read.
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, response.TransientError(fmt.Errorf("GET %s: %w", r.URL.Host, err), 0)
	}
	return body, nil
}

// gate lets few through at a time. Those who wait keep their requests in memory, and strangers are among them: so few
// wait either, and the others are asked to come again.
type gate struct{ inside, waiting chan struct{} }

// maxWaiting is how many wait at a gate.
const maxWaiting = 16

func newGate(places int) *gate {
	return &gate{inside: make(chan struct{}, places), waiting: make(chan struct{}, maxWaiting)}
}

// enter waits for a place, which leave gives back. The error is transient.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	select {
	case g.waiting <- struct{}{}:
		defer func() { <-g.waiting }()
	default:
		return nil, response.TransientError(fmt.Errorf("%d requests wait for it already", maxWaiting), time.Second)
	}
	select {
	case g.inside <- struct{}{}:
		return func() { <-g.inside }, nil
	case <-ctx.Done():
		return nil, response.TransientError(ctx.Err(), 0)
	}
}
