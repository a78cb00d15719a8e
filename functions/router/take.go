package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

const (
	// maxHeld is how many bytes of deliveries may be under way. With more, senders are asked to come back: the router
	// has a small memory, and a sender that waits loses nothing.
	maxHeld = 32 << 20
	// overhead is what a delivery takes beside its data: a goroutine, attributes, contexts.
	overhead = 8 << 10
)

// taken is an event on its way.
type taken struct {
	event  event.Event
	span   trace.Span
	routes []*route
	tasks  []*task
	match  time.Duration
}

// take delivers events to the functions whose Triggers want them. All are read before the first is delivered. Those of
// a batch that cannot be read are the sender's to look after: the others are delivered, and the error names the first.
func (e *engine) take(ctx context.Context, in []serve.Event) (report, error) {
	begin := time.Now()
	if e.held.Load() >= maxHeld {
		e.metrics.events.WithLabelValues("busy").Add(float64(len(in)))
		return report{}, response.TransientError(fmt.Errorf("%d MiB of deliveries are under way already", maxHeld>>20), time.Second)
	}
	events, invalid := e.match(ctx, in)
	var all []*task
	for i := range events {
		t := &events[i]
		for _, r := range t.routes {
			t.tasks = append(t.tasks, e.start(trace.ContextWithSpan(ctx, t.span), &delivery{event: t.event, route: r}))
		}
		all = append(all, t.tasks...)
	}
	late := e.wait(ctx, all)
	out, failed := report{}, late
	for i := range events {
		failed = errors.Join(failed, e.conclude(trace.ContextWithSpan(ctx, events[i].span), &events[i], &out, begin))
	}
	if failed != nil {
		return out, response.TransientError(failed, 0)
	}
	return out, invalid
}

// match names the events and finds the ways they take.
func (e *engine) match(ctx context.Context, in []serve.Event) (events []taken, invalid error) {
	table := e.table.Load()
	wrong := 0
	for i, one := range in {
		t, err := e.read(ctx, table, one)
		if err != nil {
			e.metrics.events.WithLabelValues("invalid").Inc()
			if wrong++; wrong == 1 && len(in) > 1 {
				err = fmt.Errorf("event %d of the batch: %w", i, err)
			}
			if wrong == 1 {
				invalid = err
			}
			continue
		}
		e.metrics.match.Observe(t.match.Seconds())
		events = append(events, t)
	}
	return events, invalid
}

// read names one event and finds the ways it takes. Not every input survives a panic by itself.
func (e *engine) read(ctx context.Context, in *table, one serve.Event) (t taken, err error) {
	ctx, t.span = e.begin(ctx, one)
	defer func() {
		if err != nil {
			t.span.SetStatus(codes.Error, "not an alert or an outcome")
			t.span.End()
		}
	}()
	defer e.survive(ctx, &err)
	begin := time.Now()
	if t.event, err = e.name(one.Event); err != nil {
		return t, err
	}
	t.event = enroll(ctx, t.event)
	if len(in.extensions) > 0 {
		t.event = withExtensions(t.event, in.extensions)
	}
	t.routes = in.selected(ctx, t.event)
	t.match = time.Since(begin)
	return t, nil
}

// wait returns when every task is safe. It is an error if that takes too long, or if the sender has gone; the tasks go
// on then.
func (e *engine) wait(ctx context.Context, all []*task) error {
	timer := time.NewTimer(e.settings.Timeout)
	defer timer.Stop()
	for _, t := range all {
		select {
		case <-t.safe:
		case <-ctx.Done():
			return fmt.Errorf("sender is gone, the deliveries go on: %w", ctx.Err())
		case <-timer.C:
			return fmt.Errorf("no end of the deliveries after %s; they go on", e.settings.Timeout)
		}
	}
	return nil
}
