package triggers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"
	"knative.dev/eventing/pkg/eventfilter/attributes"
)

// index finds the triggers that may take an event without asking all of them. Each
// trigger stands under one of its clauses, in the lists of the values that the
// clause names; an event without one of these values does not pass its filters.
// Triggers without clauses are always asked.
//
// Which clause is decided by counting: the one whose commonest value is named by
// the fewest triggers, so that a thousand triggers with a type each and a rule of
// their own stand under their rules.
type index struct {
	always     []int32
	attributes []indexedAttribute
}

type indexedAttribute struct {
	name string
	// standard attributes are not extensions.
	standard bool
	// triggers are positions in the set, in order, by the attribute's value.
	triggers map[string][]int32
}

func newIndex(triggers []*Trigger) index {
	clauses := make([][]clause, len(triggers))
	naming := map[requirement]int{}
	for i, t := range triggers {
		clauses[i] = clausesOf(&t.Manifest.Spec)
		for r := range requirementsOf(clauses[i]) {
			naming[r]++
		}
	}
	commonest := func(c clause) (n int) {
		for _, r := range c {
			n = max(n, naming[r])
		}
		return n
	}
	var ix index
	lists := map[string]map[string][]int32{}
	for i := range triggers {
		position := int32(i)
		if len(clauses[i]) == 0 {
			ix.always = append(ix.always, position)
			continue
		}
		best := slices.MinFunc(clauses[i], func(a, b clause) int {
			return cmp.Or(commonest(a)-commonest(b), byRank(a, b), len(a)-len(b))
		})
		for r := range requirementsOf([]clause{best}) {
			if lists[r.attribute] == nil {
				lists[r.attribute] = map[string][]int32{}
			}
			lists[r.attribute][r.value] = append(lists[r.attribute][r.value], position)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lists)) {
		// Knative finds the standard attributes in every event, in an empty one too.
		_, standard := attributes.LookupAttribute(event.Event{}, name)
		ix.attributes = append(ix.attributes, indexedAttribute{name: name, standard: standard, triggers: lists[name]})
	}
	return ix
}

// requirementsOf returns each requirement once, however often it is named.
func requirementsOf(clauses []clause) map[requirement]struct{} {
	out := map[requirement]struct{}{}
	for _, c := range clauses {
		for _, r := range c {
			out[r] = struct{}{}
		}
	}
	return out
}

// candidates appends the positions of the triggers that may take the event, in
// order and each once. The extensions are those of the event.
func (ix *index) candidates(e event.Event, extensions map[string]any, out []int32) []int32 {
	out = append(out, ix.always...)
	parts := min(len(ix.always), 1)
	for i := range ix.attributes {
		a := &ix.attributes[i]
		value, found := extensions[a.name]
		if a.standard {
			value, found = attributes.LookupAttribute(e, a.name)
		}
		if !found {
			continue
		}
		text, ok := value.(string)
		if !ok {
			text = fmt.Sprint(value) // As Knative's exact filter compares it.
		}
		if triggers := a.triggers[text]; len(triggers) > 0 {
			out = append(out, triggers...)
			parts++
		}
	}
	if parts > 1 {
		slices.Sort(out)
		out = slices.Compact(out)
	}
	return out
}
