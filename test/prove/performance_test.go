//go:build prove

package prove

import (
	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/bench"
)

// performance measures what has a goal, and adds a row for each.
func performance(p proof) {
	const samples = 200
	report := bench.NewReport(p)
	for _, name := range bench.Goals() {
		bench.Sets()[name](&bench.B{T: p.T, Env: testkit.Cluster(p), Samples: samples, Report: report})
	}
	for _, f := range report.Figures {
		if f.Goal != nil {
			p.row(f.What, f.String()+" ("+f.Detail+")", f.Goal.String(), f.Met())
		}
	}
}
