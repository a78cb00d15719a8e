package function

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/riposte-dev/riposte/shared/deadletter"
	"github.com/riposte-dev/riposte/shared/response"
)

// graveyard takes dead letters.
type graveyard interface {
	// take is one attempt. What names the dead letter is the same in all, so that one that seemed to fail leaves no second.
	take(ctx context.Context, e event.Event, function string, at time.Time) answer
}

// newGraveyard is what DEAD_LETTER_URL names; nil without it.
func (e *engine) newGraveyard() (graveyard, error) {
	address := e.settings.DeadLetterURL
	if address == "" {
		return nil, nil
	}
	if isStoreURL(address) {
		s, err := newStore(address)
		if err != nil {
			return nil, fmt.Errorf("DEAD_LETTER_URL: %w", err)
		}
		return &deadStore{deadletter.In(s.Store)}, nil
	}
	u, err := webAddress(address)
	if err != nil {
		return nil, fmt.Errorf("DEAD_LETTER_URL: %w", err)
	}
	return &deadSink{e, duckv1.Addressable{URL: u}}, nil
}

// bury sends a dead letter: the event with what a Broker would say of its failure.
// https://knative.dev/docs/eventing/event-delivery/
func (e *engine) bury(ctx context.Context, d *delivery, a answer) error {
	to := e.graveyard
	if to == nil && d.route.deadLetter != nil {
		to = &deadSink{e, *d.route.deadLetter}
	}
	if to == nil {
		return fmt.Errorf("no attempt of %d succeeded, and there is neither DEAD_LETTER_URL nor a deadLetterSink: %w", d.attempts, a.err)
	}
	status := a.status
	if status == 0 { // As Knative says it.
		status, a.body = http.StatusInternalServerError, []byte("dispatch error: "+a.err.Error())
	}
	dead := withExtensions(d.event, map[string]any{
		deadletter.ErrorDest: d.route.to.URL.String(),
		deadletter.ErrorCode: status,
		deadletter.ErrorData: deadletter.ErrorText(a.body),
	})
	return e.lay(ctx, to, dead, d.route.function)
}

// lay tries a few times.
func (e *engine) lay(ctx context.Context, to graveyard, dead event.Event, function string) error {
	p, at := steady(5), time.Now()
	for n := 1; ; n++ {
		a := to.take(ctx, dead, function, at)
		if a.err == nil {
			return nil
		}
		if !p.again(ctx, n, a) {
			return fmt.Errorf("dead letter: %w", a.err)
		}
		pause, _ := p.pause(n, a)
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("dead letter: %w, then %w", a.err, context.Cause(ctx))
		}
	}
}

// discard dead-letters what cannot be read as an event, as it came.
func (e *engine) discard(ctx context.Context, raw []byte, why error) error {
	if e.graveyard == nil {
		return response.PermanentError(fmt.Errorf("DEAD_LETTER_URL is not set, and what came is no event: %w", why))
	}
	dead := deadletter.Discarded(source, raw, why, time.Now())
	e.metrics.events.WithLabelValues("discarded").Inc()
	e.log.ErrorContext(ctx, "not an event", "event_id", dead.ID(), "bytes", len(raw), "error", why.Error())
	if err := e.lay(ctx, e.graveyard, dead, "router"); err != nil {
		return response.TransientError(err, 0)
	}
	return nil
}

// deadSink is a dead-letter destination that takes CloudEvents.
type deadSink struct {
	engine *engine
	to     duckv1.Addressable
}

func (s *deadSink) take(ctx context.Context, dead event.Event, _ string, _ time.Time) answer {
	d := s.engine.destination(s.to.URL.String())
	if err := d.acquire(ctx); err != nil {
		return answer{err: err}
	}
	defer d.release()
	return s.engine.caller.call(ctx, dead, s.to, steady(0).retry.RequestTimeout, nil)
}

// deadStore is a folder or bucket with an object for each dead letter.
type deadStore struct{ letters *deadletter.Store }

func (s *deadStore) take(ctx context.Context, dead event.Event, function string, at time.Time) answer {
	if _, err := s.letters.Keep(ctx, dead, function, at); err != nil {
		return answer{err: err}
	}
	return answer{status: http.StatusOK}
}
