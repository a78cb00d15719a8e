package triggers

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	cesql "github.com/cloudevents/sdk-go/sql/v2"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
)

const typeCure = "name at least the type and the rules: exact: {type: " + TypeFalco + "}"

// checkFilters finds filters that Knative accepts and that let through something
// else than they seem to.
func checkFilters(r *reporter, spec *eventingv1.TriggerSpec) {
	legacy := spec.Filter != nil && len(spec.Filter.Attributes) > 0
	switch {
	case legacy && len(spec.Filters) > 0:
		r.add("spec.filter", "filter and filters are both set, and Knative then ignores filter", "move it into filters")
	case legacy:
		w := filterWalker{r: r, falcoOnly: falcoOnly(spec)}
		w.values("spec.filter.attributes", spec.Filter.Attributes, everywhere(), false, true)
	case len(spec.Filters) == 0:
		r.add("spec.filters", "there is no filter, so every event of the broker would be delivered", typeCure)
	}
	w := filterWalker{r: r, falcoOnly: falcoOnly(spec)}
	w.all("spec.filters", spec.Filters, everywhere(), false)
}

type filterWalker struct {
	r *reporter
	// falcoOnly says that the trigger takes alerts as Falcosidekick sends them and no
	// other events.
	falcoOnly bool
}

// falcoOnly says whether one of the exact filters leaves that type only.
func falcoOnly(spec *eventingv1.TriggerSpec) bool {
	return slices.ContainsFunc(clausesOf(spec), func(c clause) bool {
		return !slices.ContainsFunc(c, func(r requirement) bool { return r != requirement{"type", TypeFalco} })
	})
}

// all checks filters that must all pass. What one of them makes certain the
// others may rely on, but not under a not, where a failure of one is a match.
func (w *filterWalker) all(path string, filters []eventingv1.SubscriptionsAPIFilter, known set, negated bool) {
	if !negated {
		for i := range filters {
			known = known.union(guarantees(&filters[i]))
		}
	}
	for i := range filters {
		w.one(fmt.Sprintf("%s[%d]", path, i), &filters[i], known, negated)
	}
}

func (w *filterWalker) one(path string, f *eventingv1.SubscriptionsAPIFilter, known set, negated bool) {
	switch found := dialects(f); {
	case len(found) == 0:
		w.r.add(path, "the filter is empty, so every event passes it", "remove it, or write one of "+strings.Join(allDialects(), ", "))
		return
	case len(found) > 1:
		w.r.add(path, fmt.Sprintf("one filter has the dialects %s", strings.Join(found, " and ")),
			"make each a filter of its own in the list: all of them must pass")
		return
	}
	switch {
	case f.Exact != nil:
		w.values(path+".exact", f.Exact, known, negated, true)
	case f.Prefix != nil:
		w.values(path+".prefix", f.Prefix, known, negated, false)
	case f.Suffix != nil:
		w.values(path+".suffix", f.Suffix, known, negated, false)
	case f.All != nil:
		w.some(path+".all", f.All)
		w.all(path+".all", f.All, known, negated)
	case f.Any != nil:
		w.some(path+".any", f.Any)
		for i := range f.Any {
			w.one(fmt.Sprintf("%s.any[%d]", path, i), &f.Any[i], known, negated)
		}
	case f.Not != nil:
		w.one(path+".not", f.Not, known, true)
	default:
		w.condition(path+".cesql", f.CESQL, known)
	}
}

func (w *filterWalker) some(path string, filters []eventingv1.SubscriptionsAPIFilter) {
	if len(filters) == 0 {
		w.r.add(path, "the list is empty, so every event passes", "name at least one filter")
	}
}

func (w *filterWalker) values(path string, values map[string]string, known set, negated, exact bool) {
	if len(values) == 0 {
		w.r.add(path, "it names no attribute, so every event passes", "name at least one attribute and its value")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		field, value := path+key(name), values[name]
		if message, cure := impossible(name); message != "" {
			w.r.add(field, message, cure)
			continue
		}
		if value == "" {
			w.r.add(field, "the value is empty, so every event passes", "write the value, or remove the filter")
			continue
		}
		if allowed := vocabulary(name); exact && allowed != nil && !slices.Contains(allowed, value) {
			w.r.add(field, fmt.Sprintf("%q is no %s, so the filter never matches", value, name),
				"write one of "+strings.Join(allowed, ", "))
		}
		if name == "ruleslug" && exact && !ruleSlug.MatchString(value) {
			w.r.add(field, fmt.Sprintf("%q is no slug of a rule, so the filter never matches", value),
				fmt.Sprintf("write small letters, digits and single _ between them (%s), or filter by rule", slugOf(value)))
		}
		switch {
		case negated && !known.has(name):
			w.missing(field, name)
		case !negated && w.falcoOnly && routerOnly(name):
			w.routerOnly(field, name)
		}
	}
}

func (w *filterWalker) missing(field, name string) {
	w.r.add(field, fmt.Sprintf("an event without the attribute %s passes as well", name),
		fmt.Sprintf("say which you mean, with cesql: \"EXISTS %s\" or \"NOT EXISTS %s OR ...\"", name, name))
}

func (w *filterWalker) routerOnly(field, name string) {
	w.r.add(field, fmt.Sprintf("only the router gives alerts the attribute %s, and the trigger takes those of Falcosidekick alone, so it never matches", name),
		"take the router's: exact: {type: "+TypeAlert+"}, or test the field in the function's WHEN condition")
}

func (w *filterWalker) condition(path, text string, known set) {
	c, err := parseCondition(text)
	if err != nil {
		w.r.add(path, oneLine(err), "filters see attributes only, in the form: rule = 'Terminal shell in container'")
		return
	}
	for _, name := range c.used.union(c.asked).without(newSet()) {
		if message, cure := impossible(name); message != "" {
			w.r.add(path, message, cure)
		}
	}
	for _, name := range c.unknown {
		w.r.add(path, "there is no function "+name+", so the expression never matches", "use one of CESQL's own")
	}
	for _, t := range c.traps {
		w.r.add(path, t.message, t.cure)
	}
	if c.result != cesql.BooleanType && len(c.unknown) == 0 {
		w.r.add(path, "the expression is not a condition: Knative's broker panics on every event", "compare it with something: "+text+" = '...'")
	}
	for _, name := range c.certain.without(newSet()) {
		if w.falcoOnly && routerOnly(name) {
			w.routerOnly(path, name)
		}
	}
	for _, name := range c.unsure.without(known) {
		w.r.add(path, fmt.Sprintf("an event without the attribute %s makes the expression an error, which is no match, even under NOT", name),
			fmt.Sprintf("put EXISTS %s AND, or NOT EXISTS %s OR, before it", name, name))
	}
}

// guarantees returns the attributes that an event must have to pass the filter.
func guarantees(f *eventingv1.SubscriptionsAPIFilter) set {
	switch {
	case len(f.Exact) > 0:
		return newSet(slices.Collect(maps.Keys(f.Exact))...).union(ofType(f.Exact["type"]))
	case len(f.Prefix) > 0:
		return newSet(slices.Collect(maps.Keys(f.Prefix))...)
	case len(f.Suffix) > 0:
		return newSet(slices.Collect(maps.Keys(f.Suffix))...)
	case len(f.All) > 0:
		out := newSet()
		for i := range f.All {
			out = out.union(guarantees(&f.All[i]))
		}
		return out
	case len(f.Any) > 0:
		out := guarantees(&f.Any[0])
		for i := range f.Any[1:] {
			out = out.intersect(guarantees(&f.Any[i+1]))
		}
		return out
	case f.CESQL != "":
		if c, err := parseCondition(f.CESQL); err == nil {
			return c.certain
		}
	}
	return nil
}

func allDialects() []string {
	return []string{"exact", "prefix", "suffix", "all", "any", "not", "cesql"}
}

func dialects(f *eventingv1.SubscriptionsAPIFilter) []string {
	present := []bool{f.Exact != nil, f.Prefix != nil, f.Suffix != nil, f.All != nil, f.Any != nil, f.Not != nil, f.CESQL != ""}
	var out []string
	for i, name := range allDialects() {
		if present[i] {
			out = append(out, name)
		}
	}
	return out
}

// filterField says whether an unknown field stands where a dialect should.
func filterField(path string) (name string, allowed []string, ok bool) {
	parts := keys(path)
	if len(parts) < 4 || parts[0] != "spec" || parts[1] != "filters" {
		return "", nil, false
	}
	parent := parts[len(parts)-2]
	if _, err := strconv.Atoi(parent); err != nil && parent != "not" {
		return "", nil, false
	}
	return parts[len(parts)-1], allDialects(), true
}

// key is how a name is written in a path.
func key(name string) string {
	if attributeName.MatchString(name) {
		return "." + name
	}
	return "[" + name + "]"
}
