package triggers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
)

// maxWitnesses bounds the outcomes tried for one trigger.
const maxWitnesses = 20_000

// checkLoops finds triggers by which a function would get its own outcome back:
// Knative would call it 255 times. It tries outcomes of every function, with the
// values that the filters name, on every trigger.
func (l *loader) checkLoops(s *Set) {
	next := map[string]map[string]*Trigger{} // function -> function its outcomes reach -> by which trigger.
	for _, from := range s.Functions() {
		next[from] = map[string]*Trigger{}
		for _, t := range s.triggers {
			if next[from][t.Function] == nil && t.takesOutcomeOf(l.ctx, from) {
				next[from][t.Function] = t
			}
		}
	}
	for _, from := range s.Functions() {
		way := wayBack(next, from)
		if way == nil {
			continue
		}
		// The way is reported once, for the function that comes first by name.
		if slices.Min(way) != from {
			continue
		}
		t := next[way[len(way)-1]][from]
		d := l.triggers[nameOf(t)]
		r := &reporter{loader: l, doc: d.doc, object: "trigger " + t.Name}
		r.add("spec.filters",
			fmt.Sprintf("outcomes of %s would call %s again: Knative does it 255 times", strings.Join(way, " and of "), from),
			fmt.Sprintf("take alerts only (exact: {type: %s}) or leave the function's own outcomes out (not: {exact: {response: %s}})",
				TypeFalco, way[len(way)-1]))
	}
}

// wayBack returns the functions through which an outcome comes back to where it
// started, the shortest way, or nothing.
func wayBack(next map[string]map[string]*Trigger, start string) []string {
	ways := [][]string{{start}}
	seen := newSet()
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		for _, to := range slices.Sorted(maps.Keys(next[way[len(way)-1]])) {
			if to == start {
				return way
			}
			if !seen.has(to) {
				seen[to] = struct{}{}
				ways = append(ways, append(slices.Clone(way), to))
			}
		}
	}
	return nil
}

// takesOutcomeOf says whether some outcome of the function passes the filter.
func (t *Trigger) takesOutcomeOf(ctx context.Context, function string) bool {
	choices := map[string][]string{
		"rule": {"Some Rule"}, "priority": vocabulary("priority"), "outcome": vocabulary("outcome"),
		"eventsource": {"syscall", "k8s_audit"}, "subject": {"namespaces/shop/pods/cart-0"},
		"k8snamespace": {"shop"}, "alertid": {"a"},
	}
	collect(t.Manifest.Spec.Filters, choices)
	if t.Manifest.Spec.Filter != nil {
		for name, value := range t.Manifest.Spec.Filter.Attributes {
			choices[name] = append(choices[name], value)
		}
	}
	// What an outcome says of itself is not a choice.
	for _, fixed := range []string{"type", "source", "response", "id", "specversion", "time", "data"} {
		delete(choices, fixed)
	}
	e := event.New()
	e.SetType(TypeOutcome)
	e.SetSource("/functions/" + function)
	e.SetID("witness")
	e.SetExtension("response", function)
	tried := 0
	return t.try(ctx, e, slices.Sorted(maps.Keys(choices)), choices, &tried)
}

func (t *Trigger) try(ctx context.Context, e event.Event, names []string, choices map[string][]string, tried *int) bool {
	if len(names) == 0 {
		*tried++
		matched, _ := t.match(ctx, e)
		return matched
	}
	for _, value := range choices[names[0]] {
		if *tried >= maxWitnesses {
			return false
		}
		with := e.Clone()
		if names[0] == "subject" {
			with.SetSubject(value)
		} else {
			with.SetExtension(names[0], value)
		}
		if t.try(ctx, with, names[1:], choices, tried) {
			return true
		}
	}
	return false
}

// collect adds the values that filters name, by attribute.
func collect(filters []eventingv1.SubscriptionsAPIFilter, choices map[string][]string) {
	add := func(name, value string) {
		if attributeName.MatchString(name) && !slices.Contains(choices[name], value) {
			choices[name] = append(choices[name], value)
		}
	}
	for i := range filters {
		f := &filters[i]
		for _, values := range []map[string]string{f.Exact, f.Prefix, f.Suffix} {
			for name, value := range values {
				add(name, value)
			}
		}
		if c, err := parseCondition(f.CESQL); f.CESQL != "" && err == nil {
			for name := range c.used {
				for _, value := range c.literals {
					add(name, value)
				}
			}
		}
		collect(f.All, choices)
		collect(f.Any, choices)
		if f.Not != nil {
			collect([]eventingv1.SubscriptionsAPIFilter{*f.Not}, choices)
		}
	}
}
