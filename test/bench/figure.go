package bench

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// Figure is one number.
type Figure struct {
	// ID names it from run to run: warm/delete-pod/p50.
	ID string `json:"id"`
	// What says it to people.
	What string `json:"what"`
	// Value is the number, in Unit: x is how many times the floor; MB is a million bytes.
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Detail is what Value was made of: 4.1 ms against 3.6 ms.
	Detail string `json:"detail,omitempty"`
	// Goal is where Value should be; nil where there is none.
	Goal *Goal `json:"goal,omitempty"`
	// Noise is how much worse a run may be by chance, as a part of Value. 0 is for figures that say more of the machine than
	// of the program: those are not compared.
	Noise float64 `json:"noise,omitempty"`
}

// Goal is a bound.
type Goal struct {
	Value float64 `json:"value"`
	// Least says that more is better.
	Least bool `json:"least,omitempty"`
}

// AtMost is a goal for what should be small.
func AtMost(v float64) *Goal { return &Goal{Value: v} }

// AtLeast is a goal for what should be large.
func AtLeast(v float64) *Goal { return &Goal{Value: v, Least: true} }

// String is the goal as people write it.
func (g *Goal) String() string {
	switch {
	case g == nil:
		return ""
	case g.Least:
		return "≥ " + number(g.Value)
	}
	return "≤ " + number(g.Value)
}

// Met says whether the figure is where it should be.
func (f Figure) Met() bool {
	switch {
	case f.Goal == nil:
		return true
	case f.Goal.Least:
		return f.Value >= f.Goal.Value
	}
	return f.Value <= f.Goal.Value
}

// String is the number with its unit.
func (f Figure) String() string { return number(f.Value) + " " + f.Unit }

// number writes a number with three digits that count.
func number(v float64) string {
	digits := 2 - int(math.Floor(math.Log10(math.Max(math.Abs(v), 1e-3))))
	return fmt.Sprintf("%.*f", min(max(digits, 0), 3), v)
}

// Machine is where a run took place.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	System string `json:"system"`
	Go     string `json:"go"`
}

// Report is a run.
type Report struct {
	Date    string   `json:"date"`
	Commit  string   `json:"commit"`
	Machine Machine  `json:"machine"`
	Figures []Figure `json:"figures"`
}

// B is a run under way.
type B struct {
	*testing.T

	Env *testkit.Env
	// Samples is how often a time is taken.
	Samples int
	Report  *Report
}

// Add adds a figure.
func (b *B) Add(f Figure) {
	b.Helper()
	b.Logf("%s: %s (%s)", f.ID, f, f.Detail)
	b.Report.Figures = append(b.Report.Figures, f)
}

// NewReport describes the run.
func NewReport(tb testing.TB) *Report {
	tb.Helper()
	return &Report{Date: time.Now().UTC().Format(time.DateOnly), Commit: commit(tb), Machine: Machine{
		CPU: fieldOf(tb, "/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Memory: fieldOf(tb, "/proc/meminfo", "MemTotal"),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
	}}
}

func commit(tb testing.TB) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "git", "-C", testkit.Root(tb), "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown" // An archive without its history can be measured as well.
	}
	return strings.TrimSpace(string(out))
}

// fieldOf is the first value of a name in a file of /proc.
func fieldOf(tb testing.TB, file, name string) string {
	tb.Helper()
	content, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
