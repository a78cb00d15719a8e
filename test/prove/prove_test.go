//go:build prove

// Package prove backs the claims of the README with measured rows: claim, figure, bound,
// verdict. It is a test binary of its own, run by make prove; docs/proof.md says what each
// row does. Each set is a function in sets; later features add theirs.
package prove

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/riposte-dev/riposte/shared/testkit"
)

var (
	set  = flag.String("set", "", "run this set only")
	rows []row
)

// row is one demonstration.
type row struct {
	set, claim, figure, bound string
	holds                     bool
}

// proof is where a set puts its rows.
type proof struct {
	*testing.T
	set string
}

// row adds a row; it fails the run where the claim does not hold.
func (p proof) row(claim, figure, bound string, holds bool) {
	p.Helper()
	rows = append(rows, row{p.set, claim, figure, bound, holds})
	if !holds {
		p.Errorf("%s: %s, want %s", claim, figure, bound)
	}
}

func sets() map[string]func(proof) {
	return map[string]func(proof){"main-job": mainJob, "delivery": delivery, "safety": safety, "platforms": platforms, "performance": performance}
}

func TestMain(m *testing.M) {
	flag.Parse()
	if _, ok := sets()[*set]; *set != "" && !ok {
		fmt.Fprintf(os.Stderr, "prove: SET is %q: want one of %s\n", *set, strings.Join(slices.Sorted(maps.Keys(sets())), ", "))
		os.Exit(2)
	}
	status := testkit.Main(m)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SET\tCLAIM\tFIGURE\tBOUND\tVERDICT")
	missed := 0
	for _, r := range rows {
		verdict := "holds"
		if !r.holds {
			verdict, missed = "MISSED", missed+1
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.set, r.claim, r.figure, r.bound, verdict)
	}
	w.Flush()
	fmt.Printf("%d passed, %d failed\n", len(rows)-missed, missed)
	if status == 0 && (missed > 0 || len(rows) == 0) {
		status = 1
	}
	os.Exit(status)
}

// alone is the set that is run by its name only: beside others it would measure them too.
const alone = "performance"

func TestProve(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(sets())) {
		if *set == name || *set == "" && name != alone {
			t.Run(name, func(t *testing.T) { sets()[name](proof{t, name}) })
		}
	}
}
