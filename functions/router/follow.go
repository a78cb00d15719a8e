package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/response"
)

// maxGenerations bounds how often an answer leads to an answer.
const maxGenerations = 8

// follow delivers what a function answered with, and returns when that is safe.
func (e *engine) follow(t *task, d *delivery, reply event.Event) ([]hop, error) {
	next := d.generation + 1
	routes := e.table.Load().selected(t.calls, reply)
	if len(routes) > 0 && next > maxGenerations {
		a := answer{}
		a.fail(http.StatusLoopDetected, fmt.Sprintf("the event is the answer to an answer, %d times over: Triggers call functions with their own outcomes", next))
		e.log.ErrorContext(t.calls, "answers to answers have no end", "function", d.route.function, "event_id", reply.ID(), "generation", next)
		if err := e.bury(t.calls, &delivery{event: reply, route: d.route, generation: next}, a); err != nil {
			return nil, response.PermanentError(err)
		}
		return []hop{{name: d.route.function, desc: "dead-letter"}}, nil
	}
	var all []*task
	for _, r := range routes {
		all = append(all, e.start(t.calls, &delivery{event: reply, route: r, generation: next}))
	}
	var hops []hop
	var failed []error
	for i, one := range all {
		select {
		case <-one.safe:
		case <-t.calls.Done():
			return hops, context.Cause(t.calls)
		}
		if one.queued {
			hops = append(hops, hop{name: routes[i].function, desc: "queued"})
			continue
		}
		hops, failed = append(hops, one.result.hops...), append(failed, one.result.err)
	}
	return hops, errors.Join(failed...)
}
