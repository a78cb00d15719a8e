package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/response"
)

// follow delivers what a function answered with, and returns when that is safe. The router counts for functions that do
// not count themselves, and ends what none of Riposte's functions would take any more.
func (e *engine) follow(t *task, d *delivery, reply event.Event) ([]hop, error) {
	reply = inherit(reply, d.event)
	next := max(response.HopsOf(d.event)+1, response.HopsOf(reply))
	response.SetHops(&reply, next)
	routes := e.table.Load().selected(t.calls, reply)
	if len(routes) > 0 && next >= response.MaxHops {
		a := answer{}
		a.fail(http.StatusLoopDetected, fmt.Sprintf("the event is the answer to an answer, %d times over: Triggers call functions with their own outcomes", next))
		e.log.ErrorContext(t.calls, "answers to answers have no end", "function", d.route.function, "event_id", reply.ID(), "hops", next)
		if err := e.bury(t.calls, &delivery{event: reply, route: d.route}, a); err != nil {
			return nil, response.PermanentError(err)
		}
		return []hop{{name: d.route.function, desc: "dead-letter"}}, nil
	}
	var all []*task
	for _, r := range routes {
		all = append(all, e.start(t.calls, &delivery{event: reply, route: r}))
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
