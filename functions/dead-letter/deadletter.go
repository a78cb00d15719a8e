// Package function is dead-letter: where Knative sends the events that no attempt delivered. It keeps each as one object in
// a folder or bucket, as the router keeps its own dead letters, and answers 2xx only when they are all there; else the
// Broker has to try again.
//
// It takes whatever comes: CloudEvents in every form, and what is none as it came. Nothing acts on a dead letter;
// docs/dead-letters.md says how a person looks at one and sends it again.
package function

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/riposte-dev/riposte/shared/artifact"
	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/deadletter"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// Config are the settings of dead-letter.
type Config struct {
	URL string `env:"DEAD_LETTER_URL" required:"true" help:"Where dead letters are kept, an object for each: file:///FOLDER or s3://BUCKET/PREFIX?region=REGION."`
	auth.Secrets
}

// Validate checks the address as far as it can be without a network.
func (c Config) Validate() error {
	return errors.Join(deadletter.Check("DEAD_LETTER_URL", c.URL), c.Secrets.Validate())
}

const (
	// patience is how long the dead letters of a request may take.
	patience = 30 * time.Second
	// atOnce bounds how many requests are worked on at the same time, and with it the memory that they take.
	atOnce = 8
	// maxBody is the largest request, in bytes: several times what functions read.
	maxBody = 8 << 20
)

// keeper is the service.
type keeper struct {
	secrets auth.Secrets
	store   *deadletter.Store
	log     *slog.Logger
	kept    *prometheus.CounterVec
	slots   chan struct{}
}

func newKeeper(c Config, host serve.Host) (serve.Service, error) {
	artifacts, err := artifact.Open(c.URL)
	if err == nil {
		err = checkFolder(artifacts.Folder())
	}
	if err != nil {
		return nil, fmt.Errorf("DEAD_LETTER_URL: %w", err)
	}
	kept := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "riposte_dead_letters_total", Help: "Dead letters: kept, discarded, which are kept too but never were events, or failed to be kept.",
	}, []string{"result"})
	for _, result := range []string{"kept", "discarded", "failed"} { // A rate needs a beginning.
		kept.WithLabelValues(result)
	}
	host.Metrics.MustRegister(kept)
	return &keeper{secrets: c.Secrets, store: deadletter.In(artifacts), log: host.Log, kept: kept, slots: make(chan struct{}, atOnce)}, nil
}

// checkFolder refuses a folder that takes no files: without an event nobody would notice.
func checkFolder(folder string) error {
	if folder == "" {
		return nil
	}
	f, err := os.CreateTemp(folder, "start.*.tmp")
	if err != nil {
		return fmt.Errorf("want a folder in which files can be made: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Exchange keeps what a request holds. Of a batch that fails in the middle everything comes again, and takes the same
// names.
func (k *keeper) Exchange(ctx context.Context, q serve.Request) (serve.Reply, error) {
	if err := k.secrets.Check(q.Header, q.Body, time.Now()); err != nil {
		return serve.Reply{}, err
	}
	// What a caller has no patience for any more is kept all the same: it may not come again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	select {
	case k.slots <- struct{}{}:
		defer func() { <-k.slots }()
	case <-ctx.Done():
		return serve.Reply{}, response.TransientError(fmt.Errorf("wait for %d other requests: %w", atOnce, ctx.Err()), 0)
	}
	for _, l := range read(q, time.Now()) {
		if err := k.keep(ctx, l); err != nil {
			return serve.Reply{}, err
		}
	}
	return serve.Reply{Status: http.StatusNoContent}, nil
}

// keep writes one dead letter. That fails for now, whatever the reason: only the Broker has it still.
func (k *keeper) keep(ctx context.Context, l letter) error {
	name, err := k.store.Keep(ctx, l.event, l.function, l.at)
	facts := []slog.Attr{
		slog.String("name", name), slog.String("function", deadletter.Plain(l.function)), slog.String("event_id", deadletter.Plain(l.event.ID())),
		slog.String("event_type", deadletter.Plain(l.event.Type())), slog.Int("status", l.code), slog.Int("bytes", len(l.event.Data())),
	}
	if err != nil {
		k.kept.WithLabelValues("failed").Inc()
		k.log.LogAttrs(ctx, slog.LevelError, "dead letter not kept", append(facts, slog.String("error", err.Error()))...)
		return response.TransientError(errors.New("the dead letter could not be kept: the function's log says why"), 0)
	}
	result := "kept"
	if l.event.Type() == deadletter.TypeDiscarded {
		result = "discarded"
	}
	k.kept.WithLabelValues(result).Inc()
	k.log.LogAttrs(ctx, slog.LevelWarn, "dead letter kept", facts...)
	return nil
}

// Run has nothing to do beside the requests.
func (k *keeper) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Ready is nil: a store that fails now is answered 500, which the Broker understands better than nobody at the door.
func (k *keeper) Ready() error { return nil }

// Patience is how long an answer may take.
func (k *keeper) Patience() time.Duration { return patience }
