package triggers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/sql/v2/parser"
	"github.com/cloudevents/sdk-go/v2/event"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/attributes"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
)

// filter is one node of a trigger's filters: Knative's filter for it, and what is
// needed to say in words why it failed.
type filter struct {
	eventfilter.Filter
	dialect  string
	values   map[string]string // exact, prefix, suffix
	cesql    string
	children []*filter // all, any, not
}

// newFilter builds what subscriptionsapi.CreateSubscriptionsAPIFilters builds, from
// Knative's filters, and refuses what that would leave out. Only the loops of all
// and any are ours: Knative's reorder themselves in goroutines, and ending these
// while they do so panics.
func newFilter(spec *eventingv1.TriggerSpec) (*filter, error) {
	if len(spec.Filters) == 0 {
		values := map[string]string(nil)
		if spec.Filter != nil {
			values = spec.Filter.Attributes
		}
		return &filter{Filter: attributes.NewAttributesFilter(values), dialect: "exact", values: values}, nil
	}
	return newFilterList("all", spec.Filters)
}

func newFilterList(dialect string, list []eventingv1.SubscriptionsAPIFilter) (*filter, error) {
	f := &filter{dialect: dialect}
	for i := range list {
		child, err := newFilterNode(&list[i])
		if err != nil {
			return nil, err
		}
		f.children = append(f.children, child)
	}
	// Of all, the first that fails decides; of any, the first that does not.
	f.Filter = combined{filters: f.children, until: dialect == "all"}
	return f, nil
}

// combined asks its filters in turn until one fails, or until one does not.
type combined struct {
	filters []*filter
	until   bool
}

func (c combined) Filter(ctx context.Context, e event.Event) eventfilter.FilterResult {
	result := eventfilter.NoFilter
	for _, f := range c.filters {
		if result = f.Filter.Filter(ctx, e); (result == eventfilter.FailFilter) == c.until {
			return result
		}
	}
	return result
}

func (combined) Cleanup() {}

func newFilterNode(spec *eventingv1.SubscriptionsAPIFilter) (*filter, error) {
	f := &filter{}
	var err error
	switch {
	case len(spec.Exact) > 0:
		f.dialect, f.values = "exact", spec.Exact
		f.Filter, err = subscriptionsapi.NewExactFilter(spec.Exact)
	case len(spec.Prefix) > 0:
		f.dialect, f.values = "prefix", spec.Prefix
		f.Filter, err = subscriptionsapi.NewPrefixFilter(spec.Prefix)
	case len(spec.Suffix) > 0:
		f.dialect, f.values = "suffix", spec.Suffix
		f.Filter, err = subscriptionsapi.NewSuffixFilter(spec.Suffix)
	case len(spec.All) > 0:
		return newFilterList("all", spec.All)
	case len(spec.Any) > 0:
		return newFilterList("any", spec.Any)
	case spec.Not != nil:
		child, err := newFilterNode(spec.Not)
		if err != nil {
			return nil, err
		}
		return &filter{
			Filter: subscriptionsapi.NewNotFilter(child.Filter), dialect: "not", children: []*filter{child},
		}, nil
	case spec.CESQL != "":
		f.dialect, f.cesql = "cesql", spec.CESQL
		f.Filter, err = subscriptionsapi.NewCESQLFilter(spec.CESQL)
	default:
		return nil, errors.New("a filter is empty")
	}
	if err != nil {
		return nil, fmt.Errorf("%s filter: %w", f.dialect, err)
	}
	return f, nil
}

func (f *filter) fails(ctx context.Context, e event.Event) bool {
	return f.Filter.Filter(ctx, e) == eventfilter.FailFilter
}

// explain says why the event does not pass. It is called for filters that fail.
func (f *filter) explain(ctx context.Context, e event.Event) string {
	switch f.dialect {
	case "all":
		for _, child := range f.children {
			if child.fails(ctx, e) {
				return child.explain(ctx, e)
			}
		}
	case "any":
		return f.explainAny(ctx, e)
	case "not":
		return f.children[0].describe(ctx, e) + ", which is left out"
	case "cesql":
		return explainCondition(f.cesql, e)
	default:
		return f.explainValues(e)
	}
	return "it does not match"
}

func (f *filter) explainValues(e event.Event) string {
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		want := f.values[name]
		got, found := lookup(e, name)
		if !found {
			return "the event has no " + name
		}
		switch f.dialect {
		case "prefix":
			if !strings.HasPrefix(got, want) {
				return fmt.Sprintf("%s is %q and does not start with %q", name, got, want)
			}
		case "suffix":
			if !strings.HasSuffix(got, want) {
				return fmt.Sprintf("%s is %q and does not end with %q", name, got, want)
			}
		default:
			if got != want {
				return fmt.Sprintf("%s is %q, not %q", name, got, want)
			}
		}
	}
	return "it does not match"
}

// explainAny says it in one sentence where the choices are values of one
// attribute, as they mostly are.
func (f *filter) explainAny(ctx context.Context, e event.Event) string {
	common := ""
	for _, child := range f.children {
		names := slices.Collect(maps.Keys(child.values))
		if len(names) != 1 || (common != "" && names[0] != common) {
			return "none of " + plural(len(f.children), "choice") + ": " + f.children[0].explain(ctx, e)
		}
		common = names[0]
	}
	got, found := lookup(e, common)
	if !found {
		return "the event has no " + common
	}
	return fmt.Sprintf("%s is %q, which is not among the %d it names", common, got, len(f.children))
}

// describe says what an event that passes the filter is like.
func (f *filter) describe(ctx context.Context, e event.Event) string {
	switch f.dialect {
	case "exact", "prefix", "suffix":
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(f.values)) {
			got, _ := lookup(e, name)
			parts = append(parts, fmt.Sprintf("%s is %q", name, got))
		}
		return strings.Join(parts, " and ")
	case "cesql":
		return f.cesql
	}
	for _, child := range f.children {
		if f.dialect == "any" && child.fails(ctx, e) {
			continue
		}
		return child.describe(ctx, e)
	}
	return "the event is one"
}

func explainCondition(text string, e event.Event) string {
	expression, err := parser.Parse(text)
	if err == nil {
		_, err = expression.Evaluate(e)
	}
	if err != nil {
		return fmt.Sprintf("%s: %s", text, oneLine(err))
	}
	return text + " is false"
}

func lookup(e event.Event, name string) (string, bool) {
	value, found := attributes.LookupAttribute(e, name)
	if !found {
		return "", false
	}
	return fmt.Sprint(value), true
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
