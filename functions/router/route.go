package function

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/riposte-dev/riposte/triggers"
)

// route is one way an event can take: by a Trigger to its function, or to K_SINK.
type route struct {
	// function is its name in logs, metrics and dead letters.
	function string
	// trigger is namespace/name; empty for K_SINK.
	trigger string
	to      duckv1.Addressable
	policy  policy
	// deadLetter is the Trigger's own; nil if it has none.
	deadLetter *duckv1.Addressable
	*destination
}

// table is every way there is, by one generation of the Triggers.
type table struct {
	set    *triggers.Set
	routes map[*triggers.Trigger]*route
	named  map[string]*route
	sink   *route
	// extensions are those that K_CE_OVERRIDES adds to every event.
	extensions map[string]string
}

// selected are the ways that the event takes.
func (t *table) selected(ctx context.Context, e event.Event) []*route {
	if t.sink != nil {
		return []*route{t.sink}
	}
	found := t.set.Select(ctx, e)
	out := make([]*route, len(found))
	for i, trigger := range found {
		out[i] = t.routes[trigger]
	}
	return out
}

// newTable finds the way of each Trigger. The error names the Trigger that has none.
func (e *engine) newTable(set *triggers.Set) (*table, error) {
	t := &table{set: set, routes: map[*triggers.Trigger]*route{}, named: map[string]*route{}}
	for _, trigger := range set.Triggers() {
		r, err := e.newRoute(set, trigger)
		if err != nil {
			return nil, fmt.Errorf("trigger %s/%s: %w", trigger.Namespace, trigger.Name, err)
		}
		t.routes[trigger], t.named[r.trigger] = r, r
	}
	return t, nil
}

func (e *engine) newRoute(set *triggers.Set, t *triggers.Trigger) (*route, error) {
	r := &route{function: t.Function, trigger: t.Namespace + "/" + t.Name, to: duckv1.Addressable{URL: t.Subscriber, CACerts: t.Manifest.Spec.Subscriber.CACerts}}
	if e.settings.FunctionURL != "" {
		u, err := fill(e.settings.FunctionURL, t.Function, t.Namespace)
		if err != nil {
			return nil, fmt.Errorf("FUNCTION_URL for the function %q: %w", t.Function, err)
		}
		r.to = duckv1.Addressable{URL: u}
	}
	// As in Knative, a Trigger without a delivery has the Broker's, and one without a dead-letter sink the Broker's.
	broker := brokerOf(set, t).Spec.Delivery
	delivery := t.Manifest.Spec.Delivery
	if delivery == nil {
		delivery = broker
	}
	var err error
	if r.policy, err = newPolicy(delivery); err != nil {
		return nil, err
	}
	for _, d := range []*eventingduckv1.DeliverySpec{delivery, broker} {
		if d == nil || d.DeadLetterSink == nil || r.deadLetter != nil {
			continue
		}
		u, err := triggers.SubscriberURI(d.DeadLetterSink, t.Namespace)
		if err != nil {
			return nil, fmt.Errorf("deadLetterSink: %w", err)
		}
		r.deadLetter = &duckv1.Addressable{URL: u, CACerts: d.DeadLetterSink.CACerts}
	}
	if e.settings.JournalURL != "" && r.deadLetter == nil && e.settings.DeadLetterURL == "" {
		return nil, fmt.Errorf("it has no deadLetterSink, and DEAD_LETTER_URL is not set: with JOURNAL_URL one of them must be, since nobody is left to tell that an event could not be delivered")
	}
	r.destination = e.destination(r.to.URL.String())
	return r, nil
}

func brokerOf(set *triggers.Set, t *triggers.Trigger) *eventingv1.Broker {
	for _, b := range set.Brokers() {
		if b.Namespace == t.Namespace && b.Name == t.Broker {
			return b
		}
	}
	return &eventingv1.Broker{}
}

// sinkRoute is the one way there is with K_SINK. The policy is Knative's default for Brokers: a sink is often one.
func (e *engine) sinkRoute() (*table, error) {
	u, err := webAddress(e.settings.Sink)
	if err != nil {
		return nil, fmt.Errorf("K_SINK: %w", err)
	}
	r := &route{function: "sink", to: duckv1.Addressable{URL: u}, policy: steady(10), destination: e.destination(u.String())}
	if e.settings.SinkCA != "" {
		r.to.CACerts = &e.settings.SinkCA
	}
	extensions, err := overrides(e.settings.Overrides)
	if err != nil {
		return nil, fmt.Errorf("K_CE_OVERRIDES: %w", err)
	}
	return &table{sink: r, named: map[string]*route{"": r}, extensions: extensions}, nil
}

// destination is the one at an address, the same for every generation of the Triggers.
func (e *engine) destination(address string) *destination {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.destinations[address]
	if d == nil {
		d = newDestination(e.settings.Concurrency, e.settings.Queue, &e.held)
		e.destinations[address] = d
	}
	return d
}
