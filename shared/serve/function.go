package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/telemetry"
	"github.com/riposte-dev/riposte/shared/telemetry/otlp"
)

// Function is a response or a service ready to be hosted. Its methods are those Knative Functions looks for in an
// instance (https://github.com/knative/func, invoke: http): Start, Handle, Ready, Alive and Stop.
type Function struct {
	*host
	spec  Spec
	once  sync.Once
	err   error
	app   application
	pages http.Handler
	// ownServer says that the program serves HTTP itself.
	ownServer bool
	// callers knows whose certificates allow to send events; nil where none is needed.
	callers *rotation
	// rooms are where answers are encoded.
	rooms sync.Pool
	// bodies is the size of the bodies of all requests, in bytes.
	bodies atomic.Int64
	// stop ends the work beside the requests, which is done when stopped is closed.
	stop    context.CancelFunc
	stopped chan struct{}
}

// application is what a host serves.
type application interface {
	// exchange takes one POST, of whatever HTTP-like host, to its answer.
	exchange(ctx context.Context, r Request) answer
	// run works beside the requests until ctx ends, and returns when what it has begun is finished.
	run(ctx context.Context) error
	// ready is nil if requests can be taken.
	ready() error
	// patience is how long the answer to a request may take.
	patience() time.Duration
	// lambda handles one invocation.
	lambda(ctx context.Context, payload json.RawMessage) (any, error)
	// about is what the log says of it at its start.
	about() []any
}

// host is what a function writes to.
type host struct {
	name    string
	log     *slog.Logger
	metrics *metrics
	exports *otlp.Exports
	tracer  trace.Tracer
}

func (h *host) logTo(level slog.Level) {
	h.log = slog.New(telemetry.Log(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
}

// New makes a function of spec. Settings are read at Start, so that --help works without any.
func New(spec Spec) *Function {
	return &Function{spec: spec, host: &host{name: spec.Name}}
}

// Start reads the settings and builds the function. The error names every bad variable.
func (f *Function) Start(ctx context.Context, environ map[string]string) error {
	return f.load(ctx, func() map[string]string { return environ })
}

func (f *Function) load(ctx context.Context, read func() map[string]string) error {
	f.once.Do(func() {
		environ := read()
		f.metrics = newMetrics()
		f.app, f.err = f.spec.build(environ, f.host)
		if !f.ownServer {
			f.err = errors.Join(f.err, notHere(environ))
		}
		if f.err != nil {
			return
		}
		f.pages = f.routes()
		if !f.ownServer { // which tells the same when it listens
			f.log.InfoContext(ctx, "started", append([]any{"response", f.name, "version", Version()}, f.app.about()...)...)
		}
		// What works beside the requests outlives the one that happened to start it.
		ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
		f.stopped = make(chan struct{})
		go func() {
			defer close(f.stopped)
			err := f.app.run(ctx)
			if err == nil {
				return
			}
			f.log.ErrorContext(ctx, "work beside the requests failed", "error", err.Error())
			if ctx.Err() == nil { // Nobody told it to end. What has not been answered has not been accepted.
				os.Exit(1)
			}
		}()
	})
	return f.err
}

// mustStart starts a function whose host has no hook for it, and stops the process where that is impossible.
func (f *Function) mustStart(ctx context.Context) {
	if err := f.load(ctx, config.Environ); err != nil {
		fatal(f.spec.Name, err)
	}
}

// fatal says what is wrong with the configuration and exits with status 2.
func fatal(name string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, line)
	}
	os.Exit(2)
}

// Handle answers one HTTP request, whatever its path: events by POST, and the health and metrics pages.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) {
	f.mustStart(r.Context())
	f.pages.ServeHTTP(w, r)
}

// Ready says whether the function can take alerts.
func (f *Function) Ready(ctx context.Context) (bool, error) {
	f.mustStart(ctx)
	err := f.app.ready()
	return err == nil, err
}

// Alive says whether the process works.
func (f *Function) Alive(context.Context) (bool, error) { return true, nil }

// errNeverStarted is why a function that was stopped before it started does not start.
var errNeverStarted = errors.New("stopped before it started")

// Stop ends the work beside the requests; those in flight are finished by the server. Nothing that matters is kept in
// memory, so what is not done when ctx ends is left.
//
// Knative Functions starts an instance beside everything else and may stop it before that is done: a start under way is
// waited for, and a later one fails, else its work would go on without an end.
func (f *Function) Stop(ctx context.Context) error {
	f.once.Do(func() { f.err = errNeverStarted })
	if f.stop == nil {
		return nil
	}
	f.stop()
	defer f.stopExports(ctx)
	select {
	case <-f.stopped:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("finish the work beside the requests: %w", ctx.Err())
	}
}
