package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/triggers"
)

// What -expect can be, beside names of functions.
const (
	expectSome     = "some"
	expectNone     = "none"
	expectAnything = "anything"
)

// expectation is what every alert has to reach.
type expectation struct {
	kind      string
	functions []string // in order; without a kind.
}

func newExpectation(text string, known []string) (expectation, error) {
	switch text {
	case expectSome, expectNone, expectAnything:
		return expectation{kind: text}, nil
	}
	known = slices.Sorted(slices.Values(known))
	var functions []string
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		if !slices.Contains(known, name) {
			return expectation{}, fmt.Errorf("-expect names %q: want %s, %s, %s, or functions that the triggers call: %s",
				name, expectSome, expectNone, expectAnything, strings.Join(known, ", "))
		}
		functions = append(functions, name)
	}
	slices.Sort(functions)
	return expectation{functions: slices.Compact(functions)}, nil
}

func (x expectation) met(functions []string) bool {
	switch x.kind {
	case expectAnything:
		return true
	case expectNone:
		return len(functions) == 0
	case expectSome:
		return len(functions) > 0
	}
	return slices.Equal(functions, x.functions)
}

func (x expectation) String() string {
	switch x.kind {
	case expectNone:
		return "no function"
	case expectSome:
		return "at least one function"
	}
	return list(x.functions)
}

// verdict is what becomes of one alert.
type verdict struct {
	alert
	want       expectation
	decisions  []triggers.Decision
	functions  []string // in order, each once.
	asExpected bool
}

func judge(ctx context.Context, set *triggers.Set, a alert, want expectation) verdict {
	v := verdict{alert: a, want: want, decisions: set.Match(ctx, a.event), functions: []string{}}
	for _, d := range v.decisions {
		if d.Matched {
			v.functions = append(v.functions, d.Function)
		}
	}
	slices.Sort(v.functions)
	v.functions = slices.Compact(v.functions)
	v.asExpected = want.met(v.functions)
	return v
}

func (v verdict) failure() string {
	return fmt.Sprintf("expected %s, but it reaches %s", v.want, list(v.functions))
}

func list(functions []string) string {
	if len(functions) == 0 {
		return "none"
	}
	return strings.Join(functions, ", ")
}
