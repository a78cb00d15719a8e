package falco_test

import (
	"encoding/json"
	"maps"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// written is an alert in Falcosidekick's form, as encoding/json writes it.
type written struct {
	UUID     string       `json:"uuid,omitempty"`
	Output   string       `json:"output"`
	Priority string       `json:"priority"`
	Rule     string       `json:"rule"`
	Time     time.Time    `json:"time"`
	Fields   falco.Fields `json:"output_fields"`
	Source   string       `json:"source"`
	Tags     []string     `json:"tags,omitempty"`
	Hostname string       `json:"hostname,omitempty"`
}

// What is written is byte for byte what encoding/json would write: outcomes that are kept elsewhere are given again as they were.
func TestAppendJSON(t *testing.T) {
	alerts := map[string]falco.Alert{
		"nothing": {}, "no tags": {Tags: []string{}}, "no fields": {Fields: falco.Fields{}},
		"everything odd": {
			UUID: "<&>\x00", Rule: "\u2028\xff", Priority: falco.Priority(9), Time: time.Unix(1, 5).In(time.FixedZone("", 3600)), Source: "\"\\\n", Hostname: "é",
			Tags: []string{"", "<", "\t"}, Fields: falco.Fields{"": nil, "b": []any{json.Number("1e5"), map[string]any{"<": false}}, "a": 0.25, "c": []string{"x"}},
		},
		"no number":             {Fields: falco.Fields{"a": json.Number("x")}},
		"nothing like a number": {Fields: falco.Fields{"a": math.NaN()}},
		"a year too late":       {Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	for _, c := range testkit.Captures(t) {
		if a, err := falco.Decode(c.Alert); err == nil {
			alerts[c.Name], alerts[c.Name+", compact"] = a, a.Compact()
		}
	}
	for name, a := range alerts {
		t.Run(name, func(t *testing.T) {
			want, wantErr := json.Marshal(written{a.UUID, a.Output, a.Priority.String(), a.Rule, a.Time, maps.Clone(a.Fields), a.Source, a.Tags, a.Hostname})
			got, err := a.AppendJSON([]byte("before"))
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("error is %v, want %v", err, wantErr)
			}
			if diff := cmp.Diff("before"+string(want), string(got)); err == nil && diff != "" {
				t.Errorf("it is not what encoding/json writes (-want +got):\n%s", diff)
			}
		})
	}
}
