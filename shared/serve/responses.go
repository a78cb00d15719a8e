package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/response"
)

// atOnce bounds how many requests are worked on at the same time, so that many large ones cannot fill the memory.
const atOnce = 32

// responses hosts a response: it decodes events, hands each to the response, and answers with the outcomes.
type responses struct {
	*host
	inner  *response.Function
	common Settings
	// claims says where they are kept.
	claims string
	slots  chan struct{}
	// handled tells the sweeper.
	handled chan struct{}
	// plain is the type of a body without an envelope.
	plain string
}

// newResponses builds the response with everything around it.
func newResponses(info Info, h *host, responder response.Responder, common Settings, claims string) *responses {
	common.Tells = info.Tells
	f := &responses{host: h, common: common, claims: claims, slots: make(chan struct{}, atOnce), handled: make(chan struct{}, 1), inner: &response.Function{
		Name: info.Name, Version: Version(), Activity: info.Activity, Responder: responder,
		Alerts:  []response.AlertGuard{common.Sane},
		Targets: []response.TargetGuard{common.When},
		Repeats: common.repeats(common.Store, info, common), Redaction: common.Redaction, Tells: info.Tells,
		DryRun: common.DryRun, Timeout: common.Timeout, Log: h.log, Observe: h.metrics.observe, Now: time.Now,
	}}
	f.plain = f.inner.Types()[0]
	return f
}

func (f *responses) exchange(ctx context.Context, r Request) answer {
	if len(r.Body) > MaxBody {
		return f.refused(ctx, "too-large", refusal(http.StatusRequestEntityTooLarge, tooLarge(MaxBody)))
	}
	switch err := f.common.Check(r.Header, r.Body, time.Now()); {
	case errors.Is(err, auth.ErrUnauthenticated):
		return f.refused(ctx, "unauthenticated", failure(err))
	case err != nil:
		return f.unreadableSecret(ctx, err)
	}
	leave, err := f.enter(ctx)
	if err != nil {
		return f.refused(ctx, "transient", failure(err))
	}
	defer leave()
	events, form, err := decode(ctx, r.Header, r.Body, f.plain)
	if err != nil {
		return f.refused(ctx, "invalid", failure(response.InvalidError(err)))
	}
	room := r.room
	if form == batched { // It gets the time of one alert; what is left over then asks for a repeat.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.common.Timeout)
		defer cancel()
		room = nil // There is more than one answer.
	}
	var replies []event.Event
	var failures []error
	for i, e := range events {
		reply, err := f.handle(ctx, e, room)
		switch {
		case err != nil && form == batched:
			failures = append(failures, fmt.Errorf("event %d of the batch: %w", i, err))
		case err != nil:
			failures = append(failures, err)
		case reply != nil:
			replies = append(replies, *reply)
		}
	}
	// What failed for good in a batch is in the log and the metrics; the outcomes of the others are published all the same.
	if err := worst(failures); err != nil && (len(replies) == 0 || retried(err)) {
		return failure(err)
	}
	return success(replies, form)
}

// unreadableSecret answers where a secret that callers are compared with cannot be read now.
func (h *host) unreadableSecret(ctx context.Context, err error) answer {
	h.log.ErrorContext(ctx, "caller cannot be authenticated", "error", err.Error())
	return failure(response.PermanentError(errors.New("the secret for authentication cannot be read: the function's log says why")))
}

// enter waits until fewer than atOnce requests are worked on.
func (f *responses) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-f.slots }
	select {
	case f.slots <- struct{}{}:
		return leave, nil
	default:
	}
	select {
	case f.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, response.TransientError(fmt.Errorf("wait for %d other requests: %w", atOnce, ctx.Err()), 0)
	}
}

// handle takes one event to its reply, whose data may be in room; both are nil where there is nothing to publish.
func (f *responses) handle(ctx context.Context, e Event, room []byte) (*event.Event, error) {
	ctx, span := f.begin(ctx, e)
	defer span.End()
	a, err := f.inner.Answer(ctx, e.Event)
	f.nudge()
	describe(span, a.Record, err)
	if err != nil || a.Record == nil {
		return nil, err
	}
	reply, err := a.Event(room)
	if err != nil {
		return nil, err
	}
	reply = carry(ctx, reply)
	return &reply, nil
}

// run sweeps the store of claims from time to time; nothing is kept in memory.
func (f *responses) run(ctx context.Context) error {
	if f.common.Store != nil {
		f.sweep(ctx)
	}
	return nil
}

func (f *responses) ready() error { return nil }

func (f *responses) patience() time.Duration { return f.common.Timeout }

func (f *responses) about() []any { return []any{"dry_run", f.common.DryRun, "claims", f.claims} }
