package platforms

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// full adds what takes long: the other architecture, and what is built twice to compare it.
var full = flag.Bool("full", false, "build for every architecture, and twice to compare")

func TestMain(m *testing.M) {
	flag.Parse()
	status := testkit.Main(m)
	figures.print()
	os.Exit(status)
}

// figure is how large a built function is, and how long it took from its start to its first answer.
type figure struct {
	function, platform string
	bytes              int64
	first              time.Duration
}

// table is what was measured, printed when all tests have run.
type table struct {
	mu   sync.Mutex
	rows []figure
}

var figures table

func (t *table) add(f figure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, f)
}

// print writes the rows as a table of Markdown, which docs/platforms.md has.
func (t *table) print() {
	if len(t.rows) == 0 {
		return
	}
	slices.SortFunc(t.rows, func(a, b figure) int {
		return cmp.Or(cmp.Compare(a.function, b.function), cmp.Compare(a.platform, b.platform))
	})
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| function\t| built as\t| MB\t| first answer, ms\t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---:\t| ---:\t|")
	for _, r := range t.rows {
		fmt.Fprintf(w, "| %s\t| %s\t| %.1f\t| %.0f\t|\n", r.function, r.platform, float64(r.bytes)/1e6, float64(r.first.Microseconds())/1000)
	}
	_ = w.Flush()
}
