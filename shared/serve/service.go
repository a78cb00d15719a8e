package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/response"
)

// Service is a function that is no response: it takes requests as they are, and may work beside them. Authentication,
// decoding and acting are its own; body limits, the table of statuses, pages and the server are the host's.
type Service interface {
	// Exchange answers one POST. An error is answered by its kind (package response), with 401 where it is
	// auth.ErrUnauthenticated.
	Exchange(ctx context.Context, r Request) (Reply, error)
	// Run works beside the requests until ctx ends. It returns when what it, and the requests, have begun is finished.
	Run(ctx context.Context) error
	// Ready is nil if requests can be taken.
	Ready() error
	// Patience is how long an answer may take.
	Patience() time.Duration
}

// Request is one POST, within the limit for bodies. OpenFaaS hands on no path.
type Request struct {
	Header http.Header
	Query  url.Values
	Body   []byte
	// Verified says that the caller showed a certificate of the configured authority.
	Verified bool

	// room is where an answer may be encoded that is written before anybody else gets the room; nil is nowhere.
	room []byte
}

// Reply is a successful answer. It has no body: Knative takes a 2xx with one that is no CloudEvent for a failed
// delivery.
type Reply struct {
	// Status is 202 or 204.
	Status int
	Header http.Header
}

// Host is what a service gets from its host.
type Host struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Tracer records spans, or none where no traces are exported.
	Tracer trace.Tracer
	// Mutual says that callers are asked for a certificate: TLS_CLIENT_CA_FILE is set.
	Mutual bool
}

// service hosts a Service.
type service struct {
	*host
	inner   Service
	maxBody int
}

func (s *service) exchange(ctx context.Context, r Request) answer {
	if len(r.Body) > s.maxBody {
		return s.refused(ctx, "too-large", refusal(http.StatusRequestEntityTooLarge, tooLarge(s.maxBody)))
	}
	reply, err := s.safely(ctx, r)
	switch {
	case errors.Is(err, auth.ErrUnauthenticated):
		return s.refused(ctx, "unauthenticated", failure(err))
	case errors.Is(err, auth.ErrUnreadable):
		return s.unreadableSecret(ctx, err)
	case err != nil:
		return s.refused(ctx, response.KindOf(err).String(), failure(err))
	}
	header := reply.Header
	if header == nil {
		header = http.Header{}
	}
	return answer{status: reply.Status, header: header}
}

// safely lets no panic out: it is an internal error, which the sender is asked to try again.
func (s *service) safely(ctx context.Context, r Request) (reply Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "service panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			reply, err = Reply{}, errors.New("internal error")
		}
	}()
	return s.inner.Exchange(ctx, r)
}

func (s *service) run(ctx context.Context) error { return s.inner.Run(ctx) }

func (s *service) ready() error { return s.inner.Ready() }

func (s *service) patience() time.Duration { return s.inner.Patience() }

func (s *service) about() []any { return nil }

// lambda is refused: what works beside the requests would stand still between invocations.
func (s *service) lambda(context.Context, json.RawMessage) (any, error) {
	return nil, response.PermanentError(errors.New(s.name + " does not run on AWS Lambda: let Lambda invoke the functions themselves"))
}
