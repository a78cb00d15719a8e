package function

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// attempt calls the function until that succeeds or the Trigger's policy gives up. The error is errHandedOver, or says
// why the attempts ended before their time.
func (e *engine) attempt(t *task, d *delivery) (answer, error) {
	r := d.route
	if !d.placed {
		if err := r.enter(d.size()); err != nil {
			a := answer{}
			a.fail(http.StatusServiceUnavailable, fmt.Sprintf("%s: %v", r.function, err))
			return a, nil
		}
	}
	d.placed = false
	defer r.leave(d.size())
	for {
		if d.last.err != nil {
			if !r.policy.again(t.calls, d.attempts, d.last) {
				return d.last, nil
			}
			pause, asked := r.policy.pause(d.attempts, d.last)
			if asked > 0 {
				r.hold(asked)
			}
			e.metrics.deliveries.WithLabelValues(r.function, "retried").Inc()
			e.log.DebugContext(t.calls, "attempt failed", "function", r.function, "event_id", d.event.ID(), "attempts", d.attempts, "pause", pause, "error", d.last.err.Error())
			e.save(t, d, d.last)
			if err := e.waitFor(t, r, func(ctx context.Context) error { return sleep(ctx, pause) }); err != nil {
				return d.last, err
			}
		}
		if err := e.waitFor(t, r, r.acquire); err != nil {
			return d.last, err
		}
		a, err := e.callOnce(t, d)
		if err != nil {
			return a, err
		}
		if a.err == nil {
			return a, nil
		}
		d.last = a
	}
}

// waitFor waits for a call or for the next attempt, as the metrics show.
func (e *engine) waitFor(t *task, r *route, wait func(context.Context) error) error {
	waiting := e.metrics.waiting.WithLabelValues(r.function)
	waiting.Inc()
	defer waiting.Dec()
	if err := wait(t.waits); err != nil {
		return fmt.Errorf("wait for %s: %w", r.function, context.Cause(t.waits))
	}
	return nil
}

// callOnce makes one attempt with the slot that was acquired, and gives it back.
func (e *engine) callOnce(t *task, d *delivery) (answer, error) {
	r := d.route
	defer r.release()
	header, err := e.header(t, d)
	if err != nil {
		return answer{}, err
	}
	calls := e.metrics.calls.WithLabelValues(r.function)
	calls.Inc()
	defer calls.Dec()
	d.attempts++
	if async := e.isAsync(r); async {
		d.due = time.Now().Add(e.settings.CallbackTimeout)
		if err := e.journal.save(t.calls, t.record, d); err != nil { // What calls back must find it.
			return answer{}, fmt.Errorf("journal: %w", err)
		}
	}
	a, span := e.call(t.calls, d, header)
	defer func() { endCall(span, a) }()
	if t.calls.Err() != nil && a.err != nil {
		return a, fmt.Errorf("call %s: %w", r.function, context.Cause(t.calls))
	}
	if e.isAsync(r) && a.err == nil && a.status == http.StatusAccepted {
		return a, errHandedOver
	}
	d.due = time.Time{}
	if r.trigger != "" {
		a.read(t.calls)
	}
	return a, nil
}

// header is what a call carries beside the event.
func (e *engine) header(t *task, d *delivery) (http.Header, error) {
	header := http.Header{}
	token, err := e.token()
	if err != nil {
		return nil, err
	}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	if e.isAsync(d.route) {
		if t.record == nil {
			return nil, fmt.Errorf("journal: it has no copy, which a result that comes later needs")
		}
		address, err := e.settings.callbackURL(t.key, d.attempts+1)
		if err != nil {
			return nil, err
		}
		header.Set("X-Callback-Url", address)
	}
	return header, nil
}

// isAsync says whether calls of the route are answered before they are made.
func (e *engine) isAsync(r *route) bool {
	return e.settings.CallbackURL != "" && r.trigger != ""
}
