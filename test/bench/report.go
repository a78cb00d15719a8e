package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
)

// sorted goes through a map in the order of its keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}

// Read reads a report that was written.
func Read(file string) (*Report, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("read the benchmarks of %s: %w", file, err)
	}
	return &r, nil
}

// Write writes a report.
func (r *Report) Write(file string) error {
	slices.SortStableFunc(r.Figures, func(a, b Figure) int { return cmp.Compare(set(a), set(b)) })
	content, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(content, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the benchmarks: %w", err)
	}
	return nil
}

// With is the report with the figures that were not measured this time.
func (r *Report) With(before *Report) *Report {
	if before == nil {
		return r
	}
	for _, f := range before.Figures {
		if !slices.ContainsFunc(r.Figures, func(now Figure) bool { return now.ID == f.ID }) {
			r.Figures = append(r.Figures, f)
		}
	}
	return r
}

// set is the first part of a figure's ID.
func set(f Figure) string {
	first, _, _ := strings.Cut(f.ID, "/")
	return first
}

// Markdown is the report as docs/benchmarks.md has it: a table for each set.
func (r *Report) Markdown() string {
	var w strings.Builder
	m := r.Machine
	fmt.Fprintf(&w, "Measured on %s at commit `%s`: %s, %d cores, %s of memory, %s, %s.\n", r.Date, r.Commit, m.CPU, m.Cores, m.Memory, m.System, m.Go)
	last := ""
	for _, f := range r.Figures {
		if set(f) != last {
			last = set(f)
			fmt.Fprintf(&w, "\n### %s\n\n| what | figure | goal | |\n| --- | ---: | ---: | --- |\n", last)
		}
		goal, figure := f.Goal.String(), f.String()
		if !f.Met() {
			goal += ", missed"
			figure = "**" + figure + "**"
		}
		fmt.Fprintf(&w, "| %s | %s | %s | %s |\n", f.What, figure, goal, f.Detail)
	}
	return w.String()
}

// Worse are the figures of r that are worse than those of before, by more than chance.
func (r *Report) Worse(before *Report) []string {
	old := map[string]Figure{}
	for _, f := range before.Figures {
		old[f.ID] = f
	}
	var worse []string
	for _, f := range r.Figures {
		was, ok := old[f.ID]
		if !ok || f.Noise == 0 {
			continue
		}
		more := f.Value/was.Value - 1
		if f.Goal != nil && f.Goal.Least {
			more = was.Value/f.Value - 1
		}
		if was.Value == 0 {
			more = f.Value
		}
		if more > f.Noise {
			worse = append(worse, fmt.Sprintf("%s is %s, was %s: %.0f %% worse, and %.0f %% may be chance", f.ID, f, was, more*100, f.Noise*100))
		}
	}
	return worse
}
