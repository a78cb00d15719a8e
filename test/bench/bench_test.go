//go:build bench

package bench_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/bench"
)

var (
	set     = flag.String("set", "", "measure the sets whose names begin like this")
	samples = flag.Int("samples", 300, "how often a time is taken")
	check   = flag.Bool("check", false, "compare with what is written, and write nothing")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if len(chosen()) == 0 {
		fmt.Fprintf(os.Stderr, "bench: SET is %q: want the beginning of one of %s\n", *set, strings.Join(slices.Sorted(maps.Keys(bench.Sets())), ", "))
		os.Exit(2)
	}
	os.Exit(testkit.Main(m))
}

// chosen are the sets to measure, in order: the one of that name, or all that begin so.
func chosen() []string {
	if _, ok := bench.Sets()[*set]; ok {
		return []string{*set}
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(bench.Sets())), func(name string) bool { return !strings.HasPrefix(name, *set) })
}

// TestBench writes what it measures beside what is written already, or compares it with that.
func TestBench(t *testing.T) {
	file := filepath.Join(testkit.Root(t), "test", "bench", "results.json")
	before, err := bench.Read(file)
	if err != nil && (*check || !os.IsNotExist(err)) {
		t.Fatal(err)
	}
	report := bench.NewReport(t)
	for _, name := range chosen() {
		t.Run(name, func(t *testing.T) {
			bench.Sets()[name](&bench.B{T: t, Env: testkit.Cluster(t), Samples: *samples, Report: report})
		})
	}
	fmt.Println(report.Markdown())
	switch {
	case t.Failed():
	case *check:
		for _, worse := range report.Worse(before) {
			t.Error(worse)
		}
	default:
		if err := report.With(before).Write(file); err != nil {
			t.Fatal(err)
		}
	}
}
