//go:build bench

package bench_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/bench"
)

var (
	set     = flag.String("set", "", "measure this set only")
	samples = flag.Int("samples", 300, "how often a time is taken")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if _, ok := bench.Sets()[*set]; *set != "" && !ok {
		fmt.Fprintf(os.Stderr, "bench: SET is %q: want one of %s\n", *set, strings.Join(slices.Sorted(maps.Keys(bench.Sets())), ", "))
		os.Exit(2)
	}
	os.Exit(testkit.Main(m))
}

func TestBench(t *testing.T) {
	report := bench.NewReport(t)
	for _, name := range slices.Sorted(maps.Keys(bench.Sets())) {
		if *set == "" || *set == name {
			t.Run(name, func(t *testing.T) {
				bench.Sets()[name](&bench.B{T: t, Env: testkit.Cluster(t), Samples: *samples, Report: report})
			})
		}
	}
}
