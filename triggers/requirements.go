package triggers

import (
	"maps"
	"slices"

	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
)

// requirement is the value that an event must have in an attribute, as text.
type requirement struct {
	attribute, value string
}

// clause is a list of requirements of which an event must meet at least one to
// pass. Every clause of a trigger must hold, but an event for which all of them hold
// does not always pass: there can be filters that no clause speaks of.
type clause []requirement

// clausesOf reads the clauses that follow from the exact filters of a trigger.
func clausesOf(spec *eventingv1.TriggerSpec) []clause {
	if len(spec.Filters) > 0 {
		return clausesOfAll(spec.Filters)
	}
	if spec.Filter != nil {
		return clausesOfExact(spec.Filter.Attributes)
	}
	return nil
}

func clausesOfAll(filters []eventingv1.SubscriptionsAPIFilter) []clause {
	var out []clause
	for i := range filters {
		out = append(out, clausesOfFilter(&filters[i])...)
	}
	return out
}

// clausesOfFilter looks at the dialects in the order of newFilterNode.
func clausesOfFilter(f *eventingv1.SubscriptionsAPIFilter) []clause {
	switch {
	case len(f.Exact) > 0:
		return clausesOfExact(f.Exact)
	case len(f.Prefix) > 0, len(f.Suffix) > 0:
		return nil
	case len(f.All) > 0:
		return clausesOfAll(f.All)
	case len(f.Any) > 0:
		return clausesOfAny(f.Any)
	}
	return nil // What not and cesql demand is no value of one attribute.
}

// clausesOfExact leaves empty values out: in a legacy filter they mean any value.
func clausesOfExact(values map[string]string) []clause {
	var out []clause
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if value := values[name]; value != "" {
			out = append(out, clause{{name, value}})
		}
	}
	return out
}

// clausesOfAny joins a clause of each choice. Where every choice demands the same
// attribute that makes one clause, and the most telling of each makes another.
func clausesOfAny(choices []eventingv1.SubscriptionsAPIFilter) []clause {
	var joined clause
	common := map[string]clause{}
	for i := range choices {
		own := clausesOfFilter(&choices[i])
		if len(own) == 0 {
			return nil // This choice demands no value, so the list does not either.
		}
		joined = append(joined, slices.MinFunc(own, byRank)...)
		of := map[string]clause{}
		for _, c := range own {
			if name := c.attribute(); name != "" && of[name] == nil {
				of[name] = c
			}
		}
		for name, c := range of {
			if i == 0 || common[name] != nil {
				common[name] = append(common[name], c...)
			}
		}
		maps.DeleteFunc(common, func(name string, _ clause) bool { return of[name] == nil })
	}
	out := []clause{joined}
	for _, name := range slices.Sorted(maps.Keys(common)) {
		out = append(out, common[name])
	}
	return out
}

// attribute is the one attribute that the clause speaks of, or nothing.
func (c clause) attribute() string {
	for _, r := range c[1:] {
		if r.attribute != c[0].attribute {
			return ""
		}
	}
	return c[0].attribute
}

// rank is that of the attribute that tells events apart least.
func (c clause) rank() int {
	worst := 0
	for _, r := range c {
		worst = max(worst, rank(r.attribute))
	}
	return worst
}

func byRank(a, b clause) int { return a.rank() - b.rank() }

// rank orders attributes by how well they tell events apart, the best first.
func rank(attribute string) int {
	switch attribute {
	case "specversion", "datacontenttype", "datamediatype", "dataschema", "schemaurl", "datacontentencoding":
		return 6 // The same in all events.
	case "source":
		return 5
	case "type":
		return 4
	case "eventsource", "cluster":
		return 3
	case "priority", "outcome":
		return 2
	case "rule", "ruleslug", "id", "alertid", "subject", "k8spod":
		return 0
	}
	return 1
}
