package function

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/response"
)

// delivery is one event on its way to one function.
type delivery struct {
	event event.Event
	route *route
	// attempts that were made, and what came of the last one.
	attempts int
	last     answer
	// due is until when a queue that took the call is given to call back; zero while no queue has it.
	due time.Time
	// placed says that it has a place at its destination already.
	placed bool
}

// key names the delivery: a repeat of the event has the same. The data counts, since an id is not enough: the time of
// some sources is in whole seconds, and who guesses an id must not be able to take an alert's place.
func (d *delivery) key() string {
	data := sha256.Sum256(d.event.DataEncoded)
	sum := sha256.Sum256([]byte(strings.Join([]string{
		d.event.Source(), d.event.ID(), d.event.Type(), d.route.trigger, strconv.Itoa(response.HopsOf(d.event)), string(data[:]),
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// size is what counts of the delivery as memory.
func (d *delivery) size() int64 { return int64(len(d.event.DataEncoded)) + overhead }

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
	size := d.size()
	e.held.Add(size)
	defer e.held.Add(-size)
	t.record = r
	done := e.safely(t, func() result {
		e.enterJournal(t, d)
		return e.deliver(t, d)
	})
	if d.placed { // It did not come to an attempt.
		d.route.leave(size)
	}
	if t.record != nil {
		t.record.close()
	}
	e.tasks.end(t, done)
}

// safely makes a failed delivery of a panic. A router that died of one event would take others with it, and die again
// when it takes up the copy.
func (e *engine) safely(t *task, deliver func() result) (done result) {
	defer e.survive(t.calls, &done.err)
	return deliver()
}

// survive makes an error of a panic.
func (e *engine) survive(ctx context.Context, err *error) {
	if p := recover(); p != nil {
		e.log.ErrorContext(ctx, "router panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		*err = fmt.Errorf("internal error: %v", p)
	}
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
