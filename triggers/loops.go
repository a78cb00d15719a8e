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

// maxWitnesses bounds the outcomes tried for one trigger. A loop that it hides is ended by the hops that events count.
const maxWitnesses = 20_000

// absent is no value: the outcome does not have the attribute.
const absent = "\x00"

// lateHops is what an outcome says that went around nearly as often as any may. A trigger that takes only earlier ones
// ends a loop by itself.
const lateHops = "7"

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
	e := event.New()
	e.SetType(TypeOutcome)
	e.SetSource("/functions/" + function)
	e.SetID("witness")
	e.SetExtension("response", function)
	e.SetExtension("hops", lateHops)
	if t.refusesFixed(e) {
		return false
	}
	choices := map[string][]string{
		"rule": {"Some Rule"}, "priority": vocabulary("priority"), "outcome": vocabulary("outcome"),
		"eventsource": {"syscall", "k8s_audit"}, "subject": {"namespaces/shop/pods/cart-0"},
		"k8snamespace": {"shop"}, "alertid": {"a"},
	}
	named := newSet()
	collect(t.Manifest.Spec.Filters, choices, named)
	if t.Manifest.Spec.Filter != nil {
		for name, value := range t.Manifest.Spec.Filter.Attributes {
			choices[name] = append(choices[name], value)
			named[name] = struct{}{}
		}
	}
	for _, name := range []string{"rule", "eventsource", "k8snamespace", "subject", "alertid"} { // Something that no filter names.
		choices[name] = append(choices[name], "~"+strings.Join(choices[name], "~")+"~")
	}
	for name := range named {
		if !everywhere().has(name) && !ofType(TypeOutcome).has(name) && attributeName.MatchString(name) {
			choices[name] = append(choices[name], absent)
		}
	}
	// What no filter asks for changes nothing: one value is enough.
	for name, values := range choices {
		if !named.has(name) {
			choices[name] = values[:1]
		}
	}
	// What an outcome says of itself is not a choice.
	maps.DeleteFunc(choices, func(name string, _ []string) bool { return fixed(name) })
	tried := 0
	return t.try(ctx, e, slices.Sorted(maps.Keys(choices)), choices, &tried)
}

// fixed says of which attributes an outcome has one value only.
func fixed(attribute string) bool {
	return slices.Contains([]string{"type", "source", "response", "hops", "id", "specversion", "time", "data"}, attribute)
}

// refusesFixed says whether the trigger demands another type, source or response, as
// most do: no choice of the other attributes makes it take the outcome.
func (t *Trigger) refusesFixed(e event.Event) bool {
	return slices.ContainsFunc(clausesOf(&t.Manifest.Spec), func(c clause) bool {
		return !slices.ContainsFunc(c, func(r requirement) bool {
			got, found := lookup(e, r.attribute)
			return !fixed(r.attribute) || (found && got == r.value)
		})
	})
}

func (t *Trigger) try(ctx context.Context, e event.Event, names []string, choices map[string][]string, tried *int) bool {
	if len(names) == 0 {
		*tried++
		return t.takes(ctx, e)
	}
	for _, value := range choices[names[0]] {
		if *tried >= maxWitnesses {
			return false
		}
		with := e.Clone()
		switch {
		case value == absent:
		case names[0] == "subject":
			with.SetSubject(value)
		default:
			with.SetExtension(names[0], value)
		}
		if t.try(ctx, with, names[1:], choices, tried) {
			return true
		}
	}
	return false
}

// collect adds the values that filters name, by attribute, and the names.
func collect(filters []eventingv1.SubscriptionsAPIFilter, choices map[string][]string, named set) {
	add := func(name, value string) {
		named[name] = struct{}{}
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
		if f.CESQL != "" {
			collectCondition(f.CESQL, add, named)
		}
		collect(f.All, choices, named)
		collect(f.Any, choices, named)
		if f.Not != nil {
			collect([]eventingv1.SubscriptionsAPIFilter{*f.Not}, choices, named)
		}
	}
}

func collectCondition(text string, add func(name, value string), named set) {
	c, err := parseCondition(text)
	if err != nil {
		return // Refused where it was read.
	}
	maps.Copy(named, c.asked)
	for name := range c.used {
		named[name] = struct{}{}
		for _, value := range c.literals {
			add(name, value)
		}
	}
}
