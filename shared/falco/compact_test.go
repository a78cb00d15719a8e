package falco_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// most is the size in JSON that a compact alert stays below: a follow-up function accepts 1 MiB with the outcome around it.
const most = 768 << 10

func TestCompact(t *testing.T) {
	huge := strings.Repeat("<", 1<<20) // each byte of it takes six in JSON
	euros := strings.Repeat("€", 1<<19)
	identity := falco.Fields{
		"k8s.ns.name": "shop", "k8s.pod.name": "cart-0", "k8s.pod.uid": "u-1", "container.id": "3ad7b26ded6d",
		"container.full_id": strings.Repeat("0", 64), "container.name": "app",
	}
	with := func(more falco.Fields) falco.Fields {
		maps.Copy(more, identity)
		return more
	}
	many := falco.Fields{}
	for i := range 5000 {
		many[fmt.Sprintf("a.%d", i)] = strings.Repeat("<", 100)
	}
	deep := any("x")
	for range 9000 {
		deep = []any{deep}
	}
	cases := map[string]falco.Alert{
		"a long output":             {Output: huge, Fields: with(falco.Fields{})},
		"a long output in UTF-8":    {Output: euros, Fields: with(falco.Fields{})},
		"a long field":              {Fields: with(falco.Fields{"proc.cmdline": huge})},
		"a long name of a field":    {Fields: with(falco.Fields{huge: "x"})},
		"a long number":             {Fields: with(falco.Fields{"n": json.Number(strings.Repeat("1", 1<<20))})},
		"a long list":               {Fields: with(falco.Fields{"l": []any{huge}})},
		"a long object":             {Fields: with(falco.Fields{"o": map[string]any{"x": huge}})},
		"many fields":               {Fields: with(many)},
		"a deep field":              {Fields: with(falco.Fields{"d": deep, "long": huge})},
		"many long tags":            {Tags: strings.Split(strings.Repeat(strings.Repeat("<", 1000)+",", 1000), ","), Fields: with(falco.Fields{})},
		"a long uuid":               {UUID: huge, Fields: with(falco.Fields{})},
		"a long source":             {Source: huge, Fields: with(falco.Fields{})},
		"a field that is no JSON":   {Output: huge, Fields: with(falco.Fields{"c": make(chan int)})},
		"numbers, booleans, absent": {Output: huge, Fields: with(falco.Fields{"n": json.Number("1.0"), "b": true, "z": nil})},
	}
	for name, a := range cases {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprint(len(a.Fields), len(a.Tags), len(a.Output))
			compact := a.Compact()
			if after := fmt.Sprint(len(a.Fields), len(a.Tags), len(a.Output)); after != before {
				t.Errorf("the original changed from %s to %s", before, after)
			}
			encoded, err := json.Marshal(compact)
			if err != nil {
				t.Fatal(err)
			}
			if len(encoded) > most {
				t.Errorf("%d bytes are left, more than %d", len(encoded), most)
			}
			if diff := cmp.Diff(a.Pod(), compact.Pod()); diff != "" {
				t.Errorf("the pod is another one (-before +after):\n%s", diff)
			}
			if !utf8.ValidString(compact.Output) {
				t.Error("output is cut within a character")
			}
			if diff := cmp.Diff(compact, compact.Compact()); diff != "" {
				t.Errorf("compacting again changes it (-once +twice):\n%s", diff)
			}
		})
	}
	compact := cases["numbers, booleans, absent"].Compact()
	want := with(falco.Fields{"n": json.Number("1.0"), "b": true, "z": nil})
	if diff := cmp.Diff(want, compact.Fields); diff != "" {
		t.Errorf("short values changed (-want +got):\n%s", diff)
	}
	if !strings.HasSuffix(compact.Output, "<[...]") {
		t.Errorf("nothing says that output was cut: %q", compact.Output)
	}
}

func TestCompactKeepsOrdinaryAlerts(t *testing.T) {
	for _, c := range testkit.Captures(t) {
		if c.Rejected {
			continue
		}
		a, err := falco.Decode(c.Alert)
		if err != nil {
			t.Fatal(err)
		}
		compact := a.Compact()
		if compact.ID() != a.ID() {
			t.Errorf("%s has another id", c.Name)
		}
		if len(c.Alert) > 64<<10 {
			continue
		}
		if diff := cmp.Diff(a, compact); diff != "" {
			t.Errorf("%s changed (-before +after):\n%s", c.Name, diff)
		}
	}
}
