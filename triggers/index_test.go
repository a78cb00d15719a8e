package triggers

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// generator makes triggers and events out of few names and values, so that many of them meet.
type generator struct{ *rand.Rand }

func pick[T any](g generator, from ...T) T { return from[g.IntN(len(from))] }

func (g generator) name() string {
	return pick(g, "rule", "priority", "eventsource", "type", "source", "subject", "hostname", "cluster", "specversion", "time", "count", "odd", "data", "Rule")
}

func (g generator) value(name string) string {
	switch name {
	case "type":
		return pick(g, TypeFalco, TypeAlert, TypeOutcome)
	case "specversion":
		return pick(g, "1.0", "0.3")
	case "count":
		return pick(g, "1", "2", "true")
	case "odd":
		return pick(g, "<nil>", "a")
	}
	return pick(g, "a", "b", "c", "ab", "https://falco.org")
}

// cesql includes expressions that are errors and ones that make Knative's filter panic.
func (g generator) cesql() string {
	return pick(g, "rule = 'a'", "NOT (rule = 'a')", "hostname = 'a'", "NOT (hostname = 'a')", "EXISTS hostname", "NOT EXISTS hostname OR hostname = 'b'",
		"rule LIKE 'a%'", "rule IN ('a', 'b')", "priority", "TRUE", "type = 'falco.rule.output.v1' AND EXISTS cluster", "count = 1")
}

func (g generator) values(most int) map[string]string {
	out := map[string]string{}
	for range 1 + g.IntN(most) {
		name := g.name()
		out[name] = g.value(name)
	}
	return out
}

func (g generator) filter(depth int) eventingv1.SubscriptionsAPIFilter {
	kinds := 9
	if depth == 0 {
		kinds = 6
	}
	switch g.IntN(kinds) {
	case 0, 1, 2:
		return eventingv1.SubscriptionsAPIFilter{Exact: g.values(2)}
	case 3:
		return eventingv1.SubscriptionsAPIFilter{Prefix: g.values(1)}
	case 4:
		return eventingv1.SubscriptionsAPIFilter{Suffix: g.values(1)}
	case 5:
		return eventingv1.SubscriptionsAPIFilter{CESQL: g.cesql()}
	case 6:
		return eventingv1.SubscriptionsAPIFilter{All: g.filters(depth - 1)}
	case 7:
		return eventingv1.SubscriptionsAPIFilter{Any: g.filters(depth - 1)}
	}
	not := g.filter(depth - 1)
	return eventingv1.SubscriptionsAPIFilter{Not: &not}
}

func (g generator) filters(depth int) []eventingv1.SubscriptionsAPIFilter {
	out := make([]eventingv1.SubscriptionsAPIFilter, 1+g.IntN(3))
	for i := range out {
		out[i] = g.filter(depth)
	}
	return out
}

func (g generator) trigger(t *testing.T, i int) *Trigger {
	t.Helper()
	manifest := &eventingv1.Trigger{}
	manifest.Namespace, manifest.Name = "riposte", fmt.Sprintf("t%03d", i)
	manifest.Spec.Subscriber = duckv1.Destination{Ref: &duckv1.KReference{APIVersion: "v1", Kind: "Service", Name: "f"}}
	switch g.IntN(12) {
	case 0: // No filter at all.
	case 1, 2:
		values := g.values(3)
		if g.IntN(2) == 0 {
			values[g.name()] = eventingv1.TriggerAnyFilter
		}
		manifest.Spec.Filter = &eventingv1.TriggerFilter{Attributes: values}
	default:
		manifest.Spec.Filters = g.filters(2)
	}
	trigger, err := newTrigger(manifest)
	if err != nil {
		t.Fatal(err)
	}
	return trigger
}

func (g generator) event() event.Event {
	e := event.New(pick(g, "1.0", "1.0", "1.0", "0.3"))
	e.SetID("1")
	e.SetType(g.value("type"))
	e.SetSource(g.value("source"))
	if g.IntN(2) == 0 {
		e.SetSubject(g.value("subject"))
	}
	for _, name := range []string{"rule", "priority", "eventsource", "hostname", "cluster"} {
		if g.IntN(4) > 0 {
			e.SetExtension(name, g.value(name))
		}
	}
	if g.IntN(2) == 0 { // Structured events have values that are no text.
		e.SetExtension("count", pick[any](g, 1, true, "1", []byte("1")))
	}
	if v1, ok := e.Context.(*event.EventContextV1); ok && g.IntN(3) == 0 {
		if v1.Extensions == nil {
			v1.Extensions = map[string]any{}
		}
		v1.Extensions["odd"] = nil
	}
	return e
}

// Select returns exactly what Match says has matched, whatever the triggers and the events.
func TestSelectIsMatch(t *testing.T) {
	var asked, all, taken int
	for seed := range uint64(150) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		triggers := make([]*Trigger, 1+g.IntN(40))
		for i := range triggers {
			triggers[i] = g.trigger(t, i)
		}
		set := &Set{triggers: triggers, index: newIndex(triggers)}
		for range 40 {
			e := g.event()
			var want []*Trigger
			for i, d := range set.Match(t.Context(), e) {
				if d.Matched {
					want = append(want, triggers[i])
				}
			}
			if got := set.Select(t.Context(), e); !slices.Equal(got, want) {
				t.Fatalf("seed %d: selected %v, Match says %v, of\n%s", seed, namesOf(got), namesOf(want), e)
			}
			asked += len(set.index.candidates(e, e.Extensions(), nil))
			all += len(triggers)
			taken += len(want)
		}
	}
	if asked == all || taken == 0 || taken == all {
		t.Fatalf("of %d triggers %d were asked and %d selected: nothing is shown", all, asked, taken)
	}
	t.Logf("%d triggers, %d asked, %d selected", all, asked, taken)
}

func TestSelectOfAnEmptyEvent(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(1, 1))}
	open, err := newTrigger(&eventingv1.Trigger{Spec: eventingv1.TriggerSpec{Subscriber: g.trigger(t, 0).Manifest.Spec.Subscriber}})
	if err != nil {
		t.Fatal(err)
	}
	set := &Set{triggers: []*Trigger{open}, index: newIndex([]*Trigger{open})}
	if got := set.Select(t.Context(), event.Event{}); len(got) != 1 {
		t.Errorf("selected %v, want the trigger without a filter", namesOf(got))
	}
}

func namesOf(triggers []*Trigger) []string {
	out := []string{}
	for _, t := range triggers {
		out = append(out, t.Name)
	}
	return out
}

// A trigger stands under the attribute that tells events apart best.
func TestIndexChooses(t *testing.T) {
	type filters = []eventingv1.SubscriptionsAPIFilter
	exact := func(pairs ...string) eventingv1.SubscriptionsAPIFilter {
		values := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			values[pairs[i]] = pairs[i+1]
		}
		return eventingv1.SubscriptionsAPIFilter{Exact: values}
	}
	anyOf := func(choices ...eventingv1.SubscriptionsAPIFilter) eventingv1.SubscriptionsAPIFilter {
		return eventingv1.SubscriptionsAPIFilter{Any: choices}
	}
	not := exact("rule", "a")
	for name, tc := range map[string]struct {
		sets []filters
		want string // the attributes of the index, with a star for triggers that are always asked.
	}{
		"a rule before a type":               {[]filters{{exact("type", "x"), exact("rule", "a")}}, "rule"},
		"choices of rules":                   {[]filters{{anyOf(exact("type", "x"), exact("type", "y")), anyOf(exact("rule", "a"), exact("rule", "b"))}}, "rule"},
		"rules inside of choices":            {[]filters{{anyOf(exact("type", "x", "rule", "a"), exact("type", "y", "rule", "b"))}}, "rule"},
		"a rule inside of all":               {[]filters{{{All: filters{exact("type", "x"), exact("rule", "a")}}}}, "rule"},
		"choices of attributes":              {[]filters{{anyOf(exact("type", "x", "rule", "a"), exact("type", "x", "hostname", "n")), exact("type", "x")}}, "hostname rule"},
		"a choice that can be anything":      {[]filters{{anyOf(exact("rule", "a"), eventingv1.SubscriptionsAPIFilter{CESQL: "TRUE"})}}, "*"},
		"what is left out":                   {[]filters{{{Not: &not}}}, "*"},
		"what is left out, of a type":        {[]filters{{{Not: &not}, exact("type", "x")}}, "type"},
		"one rule that all name":             {[]filters{{exact("rule", "a", "cluster", "x")}, {exact("rule", "a", "cluster", "y")}}, "cluster"},
		"a prefix":                           {[]filters{{{Prefix: map[string]string{"rule": "a"}}}}, "*"},
		"an expression beside an exact type": {[]filters{{{CESQL: "rule = 'a'"}, exact("type", "x")}}, "type"},
	} {
		t.Run(name, func(t *testing.T) {
			var triggers []*Trigger
			for _, f := range tc.sets {
				triggers = append(triggers, &Trigger{Manifest: &eventingv1.Trigger{Spec: eventingv1.TriggerSpec{Filters: f}}})
			}
			ix, got := newIndex(triggers), ""
			if len(ix.always) > 0 {
				got = "*"
			}
			for i, a := range ix.attributes {
				if i > 0 {
					got += " "
				}
				got += a.name
			}
			if got != tc.want {
				t.Errorf("the index has %q, want %q", got, tc.want)
			}
		})
	}
}
