package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// No name is every function; a list without a name in it is a mistake, which undeploy must not take for every function.
func TestFunctions(t *testing.T) {
	for text, want := range map[string]struct {
		names []string
		fails bool
	}{
		"":                    {nil, false},
		"label":               {[]string{"label"}, false},
		"label, taint,,slack": {[]string{"label", "taint", "slack"}, false},
		",":                   {nil, true},
		" ":                   {nil, true},
	} {
		o, err := read(nil, func(name string) string { return map[string]string{"FUNCTION": text}[name] })
		if fails := err != nil; fails != want.fails {
			t.Errorf("%q: the error is %v, want one: %t", text, err, want.fails)
			continue
		}
		if diff := cmp.Diff(len(want.names), len(o.Functions)); err == nil && (diff != "" || !cmp.Equal(want.names, append([]string(nil), o.Functions...))) {
			t.Errorf("%q: functions are %q, want %q", text, o.Functions, want.names)
		}
	}
}
