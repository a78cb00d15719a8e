package platforms

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
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

// print writes a table of Markdown, which docs/platforms.md has: for each function and way of building it the size in MB, and
// the milliseconds from its start to its first answer.
func (t *table) print() {
	if len(t.rows) == 0 {
		return
	}
	cells, functions, platforms := map[[2]string]string{}, map[string]bool{}, map[string]bool{}
	for _, r := range t.rows {
		cells[[2]string{r.function, r.platform}] = fmt.Sprintf("%.1f MB, %.0f ms", float64(r.bytes)/1e6, float64(r.first.Microseconds())/1000)
		functions[r.function], platforms[r.platform] = true, true
	}
	columns := slices.Sorted(maps.Keys(platforms))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "| function\t| %s\t|\n", strings.Join(columns, "\t| "))
	fmt.Fprintln(w, "| ---\t"+strings.Repeat("| ---:\t", len(columns))+"|")
	for _, f := range slices.Sorted(maps.Keys(functions)) {
		fmt.Fprintf(w, "| `%s`\t", f)
		for _, c := range columns {
			fmt.Fprintf(w, "| %s\t", cells[[2]string{f, c}])
		}
		fmt.Fprintln(w, "|")
	}
	_ = w.Flush()
}
