package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// isCallback says whether a request is the result of an asynchronous call. Only the query tells: OpenFaaS's template
// hands on no path.
func isCallback(q serve.Request) bool { return q.Query.Has("delivery") && q.Query.Has("signature") }

// callback takes the result of an asynchronous call: what the function answered, with its status in a header. One for a
// delivery that is over is counted and no more. https://docs.openfaas.com/reference/async/
func (e *engine) callback(ctx context.Context, q serve.Request) (serve.Reply, error) {
	key, attempt, err := e.settings.verify(q.Query)
	if err != nil {
		e.metrics.callbacks.WithLabelValues("forged").Inc()
		return serve.Reply{}, err
	}
	status, err := strconv.Atoi(q.Header.Get("X-Function-Status"))
	if err != nil || status < 100 || status > 599 {
		return serve.Reply{}, response.InvalidError(fmt.Errorf("X-Function-Status is %q: want the status that the function answered with", q.Header.Get("X-Function-Status")))
	}
	a := answer{status: status, header: q.Header, body: q.Body}
	if status/100 != 2 {
		a.err = fmt.Errorf("answered %d", status)
	}
	a.read(ctx)
	return serve.Reply{Status: http.StatusNoContent}, e.settle(ctx, key, attempt, a)
}

// settle ends a delivery by a result that came later, or goes on with it.
func (e *engine) settle(ctx context.Context, key string, attempt int, a answer) error {
	if _, err := e.awaited(ctx, key, attempt, a); err != nil { // Before waiting for a later attempt.
		return e.late(err)
	}
	t, err := e.own(ctx, key, a.err == nil)
	if err != nil {
		return err
	}
	in, err := e.awaited(ctx, key, attempt, a)
	if err != nil {
		e.tasks.end(t, result{err: err}) // Who sent the event again meanwhile has to do so once more.
		return e.late(err)
	}
	d := in.delivery(e.table.Load())
	t.record = &record{key: key}
	if a.err == nil {
		e.metrics.callbacks.WithLabelValues("success").Inc()
		done := e.safely(t, func() result { return e.succeed(t, d, a) })
		e.tasks.end(t, done)
		if done.err != nil {
			return response.TransientError(done.err, 0)
		}
		return nil
	}
	e.metrics.callbacks.WithLabelValues("failure").Inc()
	if d.due = (time.Time{}); e.table.Load().named[in.Trigger] != nil { // Else the Trigger is gone, which counts more.
		d.last = a
	}
	e.save(t, d, d.last)
	if d.placed = d.route.enterIfRoomy(d.size()); !d.placed { // The journal has it, and gives it back when there is room.
		e.tasks.end(t, result{})
		return nil
	}
	go e.carryOut(t, d, t.record)
	return nil
}

// own is the task of a delivery for the caller alone. What goes on under it is waited for; ended first, where it is
// known to be of no use.
func (e *engine) own(ctx context.Context, key string, useless bool) (*task, error) {
	for {
		t, fresh := e.tasks.begin(ctx, key)
		if fresh {
			return t, nil
		}
		if useless {
			t.cancel(errSuperseded)
		}
		select {
		case <-t.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the delivery %s: %w", key, ctx.Err())
		}
	}
}

// awaited is the copy of a delivery that the result is about, or errNotFound. The failure of an attempt that was given
// up already changes nothing; a success always does.
func (e *engine) awaited(ctx context.Context, key string, attempt int, a answer) (in entry, err error) {
	defer e.survive(ctx, &err)
	body, err := e.journal.read(ctx, nameOf(key))
	if err != nil {
		return entry{}, err
	}
	in, err = decodeEntry(body)
	if err == nil && a.err != nil && (attempt != in.Attempts || in.Due.IsZero()) {
		err = errNotFound
	}
	return in, err
}

// late answers a result that nobody waits for, with success: it must not come again.
func (e *engine) late(err error) error {
	if errors.Is(err, errNotFound) {
		e.metrics.callbacks.WithLabelValues("late").Inc()
		return nil
	}
	return response.TransientError(fmt.Errorf("journal: %w", err), 0)
}
