package triggers_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/triggers"
)

// requests are all captures and outcomes there are.
func requests(tb testing.TB) map[string]event.Event {
	tb.Helper()
	out := map[string]event.Event{}
	for _, pattern := range []string{"../test/captures/*/*cloudevents.http", "testdata/outcomes/*.http"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			tb.Fatalf("found no %s: %v", pattern, err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				tb.Fatal(err)
			}
			out[file] = parse(tb, raw)
		}
	}
	return out
}

func TestSelectOfRequests(t *testing.T) {
	for _, dir := range []string{".", "testdata/good"} {
		set, err := triggers.LoadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for file, e := range requests(t) {
			var want []*triggers.Trigger
			for i, d := range set.Match(t.Context(), e) {
				if d.Matched {
					want = append(want, set.Triggers()[i])
				}
			}
			if got := set.Select(t.Context(), e); !slices.Equal(got, want) {
				t.Errorf("%s in %s: selected %v, want %v", file, dir, got, want)
			}
		}
	}
}

// many declares n triggers, each with rules of its own; the first takes the captured Critical alert.
func many(tb testing.TB, n int) *triggers.Set {
	tb.Helper()
	folder := fstest.MapFS{}
	for i := range n {
		rule := fmt.Sprintf("Rule number %d", i)
		if i == 0 {
			rule = "Drop and execute new binary in container"
		}
		folder[fmt.Sprintf("%04d.yaml", i)] = &fstest.MapFile{Data: fmt.Appendf(nil, `apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t%04d, namespace: riposte}
spec:
  broker: default
  filters:
    - any:
        - exact: {type: falco.rule.output.v1}
        - exact: {type: dev.riposte.alert.v1}
    - prefix: {eventsource: syscall}
    - any:
        - exact: {rule: %s}
        - exact: {rule: Second rule number %d}
        - exact: {rule: Third rule number %d}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: f%d}}
`, i, rule, i, i, i%20)}
	}
	set, err := triggers.Load(folder)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func BenchmarkSelect(b *testing.B) {
	e := requests(b)["../test/captures/03-drop-and-execute-critical/cloudevents.http"]
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("triggers=%d", n), func(b *testing.B) {
			set := many(b, n)
			b.ReportAllocs()
			for b.Loop() {
				if got := set.Select(b.Context(), e); len(got) != 1 {
					b.Fatalf("selected %v, want one trigger", got)
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	e := requests(b)["../test/captures/03-drop-and-execute-critical/cloudevents.http"]
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("triggers=%d", n), func(b *testing.B) {
			set := many(b, n)
			b.ReportAllocs()
			for b.Loop() {
				set.Match(b.Context(), e)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		many(b, 1000)
	}
}
