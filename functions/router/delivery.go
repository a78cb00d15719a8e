package function

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// delivery is one event on its way to one function.
type delivery struct {
	event event.Event
	route *route
	// generation is how many answers led from what came in to this event.
	generation int
	// attempts that were made, and what came of the last one.
	attempts int
	last     answer
	// due is until when a queue that took the call is given to call back; zero while no queue has it.
	due time.Time
	// placed says that it has a place at its destination already.
	placed bool
}

// key names the delivery: a repeat of the event has the same.
func (d *delivery) key() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		d.event.Source(), d.event.ID(), d.event.Type(), d.route.trigger, strconv.Itoa(d.generation),
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// errHandedOver is no failure: a queue has the call and reports its result later.
var errHandedOver = errors.New("handed over to a queue")

// start begins a delivery, or joins the one of the same event to the same function that goes on.
func (e *engine) start(ctx context.Context, d *delivery) *task {
	t, fresh := e.tasks.begin(ctx, d.key())
	if fresh {
		go e.carryOut(t, d, nil)
	}
	return t
}

// carryOut brings a delivery to its end. r is its copy in the journal, if there is one already.
func (e *engine) carryOut(t *task, d *delivery, r *record) {
	size := int64(len(d.event.DataEncoded))
	e.held.Add(size)
	defer e.held.Add(-size)
	t.record = r
	if e.journal != nil && r == nil {
		var err error
		if t.record, err = e.journal.add(t.calls, t.key, d); err != nil {
			e.log.ErrorContext(t.calls, "journal does not take a delivery, so its sender waits", "function", d.route.function, "event_id", d.event.ID(), "error", err.Error())
		}
	}
	if t.record != nil {
		e.tasks.keep(t)
	}
	e.tasks.end(t, e.deliver(t, d))
}

// deliver makes the attempts and looks after what comes of them.
func (e *engine) deliver(t *task, d *delivery) result {
	a, err := e.attempt(t, d)
	switch {
	case errors.Is(err, errHandedOver):
		e.metrics.deliveries.WithLabelValues(d.route.function, "handed").Inc()
		return result{fate: "handed", hops: []hop{{d.route.function, a.took, "queued"}}}
	case err != nil:
		return result{fate: "failed", err: err}
	case a.err != nil:
		return e.giveUp(t, d, a)
	}
	return e.succeed(t, d, a)
}

// succeed follows up what the function answered, and forgets the delivery.
func (e *engine) succeed(t *task, d *delivery, a answer) result {
	done := result{fate: "delivered", hops: []hop{{d.route.function, a.took, strconv.Itoa(a.status)}}}
	if a.reply != nil && d.route.trigger != "" { // A Broker sees to replies itself.
		hops, err := e.follow(t, d, *a.reply)
		if done.hops = append(done.hops, hops...); err != nil {
			done.fate, done.err = "failed", fmt.Errorf("its answer: %w", err)
			e.log.ErrorContext(t.calls, "answer not delivered", "function", d.route.function, "event_id", d.event.ID(), "error", err.Error())
			return done
		}
	}
	e.forget(t, d)
	e.metrics.delivered(d.route.function, "delivered", time.Since(t.began))
	return done
}

// giveUp dead-letters what no attempt delivered. What the dead-letter destination does not take either is the
// sender's to send again, or stays in the journal.
func (e *engine) giveUp(t *task, d *delivery, a answer) result {
	err := e.bury(t.calls, d, a)
	failed := result{fate: "deadlettered", err: err, hops: []hop{{d.route.function, a.took, "dead-letter"}}}
	if err != nil {
		failed.fate, failed.hops[0].desc = "failed", "failed"
		e.save(t, d, a)
	} else {
		e.forget(t, d)
	}
	attrs := []slog.Attr{
		slog.String("function", d.route.function), slog.String("trigger", d.route.trigger), slog.String("event_id", d.event.ID()),
		slog.String("result", failed.fate), slog.Int("attempts", d.attempts), slog.Int("status", a.status), slog.String("error", a.err.Error()),
	}
	if err != nil {
		attrs = append(attrs, slog.String("dead_letter_error", err.Error()))
	}
	e.log.LogAttrs(t.calls, slog.LevelError, "delivery failed", attrs...)
	e.metrics.delivered(d.route.function, failed.fate, time.Since(t.began))
	return failed
}
