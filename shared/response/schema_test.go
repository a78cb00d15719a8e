package response_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// Every outcome that a function could give is as docs/outcome.schema.json says.
func TestSchemaTakesEveryOutcome(t *testing.T) {
	targets := map[string]response.Target{
		"a pod": cart, "a node": {Kind: "Node", Resource: "nodes", Name: "n1", UID: "u-2"}, "a channel": {Kind: "SlackChannel", Name: "C012"}, "nothing": {},
	}
	verdicts := []response.Verdict{response.Applied, response.Unchanged, response.Skipped, response.Refused, response.DryRun, response.Failed}
	for _, activity := range []response.Activity{response.Isolate, response.Evict, response.Restore, response.Harden, response.Detect, response.Notify} {
		for _, verdict := range verdicts {
			for on, target := range targets {
				for _, dry := range []bool{false, true} {
					o := response.Outcome{Verdict: verdict, Reason: response.Conflict, Message: "so it is", Target: target, Repeat: dry}
					if target.Name != "" {
						o.Changes = []response.Change{{Field: "metadata.labels[a]", After: "b"}, {Field: "spec.taints", Before: []any{1, "x"}, After: map[string]any{}}}
						o.Details = map[string]any{"anything": []int{1}, "artifacts": map[string]any{"url": "file:///x/", "files": nil}}
					}
					record := answer(t, alertEvent(t, "01"), o, func(f *response.Function) { f.Activity, f.DryRun = activity, dry || verdict == response.DryRun })
					validate(t, fmt.Sprint(activity, " ", verdict, " on ", on), record)
				}
			}
		}
	}
	for _, c := range testkit.Captures(t) {
		if !c.Rejected {
			e := alertEvent(t, "01")
			e.Data = c.Alert
			validate(t, c.Name, answer(t, e, response.Outcome{Verdict: response.Applied, Message: "done"}, nil))
		}
	}
	for _, reason := range reasons(t) {
		o := response.Outcome{Verdict: response.Skipped, Reason: reason, Message: "so it is"}
		validate(t, string(reason), answer(t, alertEvent(t, "01"), o, nil))
	}
	techniques := []response.Technique{
		response.ExecutionIsolation, response.NetworkTrafficFiltering, response.InboundTrafficFiltering, response.OutboundTrafficFiltering,
		response.ProcessTermination, response.CredentialRevocation, response.RestoreConfiguration, response.RestoreNetworkAccess,
	}
	record, err := wrap(defended{&quarantine{outcome: response.Outcome{Verdict: response.Applied, Message: "done"}}, techniques}).Handle(t.Context(), alertEvent(t, "01"))
	if err != nil {
		t.Fatal(err)
	}
	validate(t, "every technique", *record)
}

func validate(t *testing.T, name string, record response.Record) {
	t.Helper()
	encoded, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	if err := testkit.ValidateOutcome(t, encoded); err != nil {
		t.Errorf("%s: %v\n%s", name, err, encoded)
	}
}

// What would mislead a receiver is no outcome.
func TestSchemaRefuses(t *testing.T) {
	set := func(path ...any) func(map[string]any) {
		return func(m map[string]any) {
			for _, step := range path[:len(path)-2] {
				m, _ = m[step.(string)].(map[string]any)
			}
			m[path[len(path)-2].(string)] = path[len(path)-1]
		}
	}
	without := func(name string) func(map[string]any) { return func(m map[string]any) { delete(m, name) } }
	for name, change := range map[string]func(map[string]any){
		"another field":                     set("extra", 1),
		"another field of the alert":        set("alert", "extra", 1),
		"another field of the target":       set("target", "extra", 1),
		"another field of the timings":      set("timings", "extra", 1),
		"another field of the product":      set("metadata", "product", "extra", 1),
		"a change without after":            set("changes", []any{map[string]any{"field": "x", "before": 1}}),
		"no changes, said so":               set("changes", []any{}),
		"a verdict of its own":              set("outcome", "ok"),
		"a reason of its own":               set("reason", "because"),
		"an empty reason":                   set("reason", ""),
		"no message":                        set("message", ""),
		"an id in capitals":                 set("id", "ABCDEF00000000000000000000000000"),
		"a short alert id":                  set("alert_id", "abc"),
		"hops from nowhere":                 set("hops", 0),
		"hops without an end":               set("hops", 9),
		"half a hop":                        set("hops", 1.5),
		"hops as text":                      set("hops", "1"),
		"applied in a dry run":              set("dry_run", true),
		"a priority in small letters":       set("alert", "priority", "critical"),
		"an alert without fields":           set("alert", "output_fields", map[string]any{}),
		"a time that is local":              set("timings", "done", "2026-01-01T00:00:00+01:00"),
		"a time in words":                   set("timings", "done", "yesterday"),
		"seconds":                           set("time", 1.5),
		"another class":                     set("class_uid", 2004),
		"a type of another activity":        set("type_uid", 700102),
		"an activity by another name":       set("activity_name", "Evict"),
		"a severity by another name":        set("severity", "Fatal"),
		"success by another name":           set("status", "Failure"),
		"success that failed":               set("outcome", "failed"),
		"a disposition by another name":     set("disposition", "Deleted"),
		"an action by another name":         set("action", "Observed"),
		"another profile":                   set("metadata", "profiles", []any{"cloud"}),
		"another version of ocsf":           set("metadata", "version", "1.6.0"),
		"a countermeasure without a tactic": set("countermeasures", []any{map[string]any{"version": "1.2.0"}}),
		"an attack that is none":            set("attacks", []any{map[string]any{}}),
		"an observable that points nowhere": set("observables", []any{map[string]any{"name": "target.kind", "type_id": 1, "value": "x"}}),
		"details of nothing":                set("details", map[string]any{}),
		"artifacts nowhere":                 set("details", map[string]any{"artifacts": map[string]any{"files": 1}}),
		"a repeat that is none":             set("repeat", false),
		"changes of nothing":                without("target"),
		"no countermeasure":                 without("countermeasures"),
		"no time":                           without("time"),
		"no hops":                           without("hops"),
		"no alert":                          without("alert"),
		"a refusal without a reason":        func(m map[string]any) { m["outcome"], m["status_id"], m["status"] = "refused", 99, "refused" },
		"a refusal with another's name": func(m map[string]any) {
			m["status_id"], m["status"], m["outcome"], m["reason"] = 99, "skipped", "refused", "gone"
		},
		"a refusal that isolated": func(m map[string]any) {
			m["status_id"], m["status"], m["outcome"], m["reason"] = 99, "refused", "refused", "gone"
		},
		"a countermeasure by one who only tells": func(m map[string]any) {
			m["activity_id"], m["activity_name"], m["type_uid"], m["type_name"] = 99, "Other", 700199, "Remediation Activity: Other"
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := response.Outcome{Verdict: response.Applied, Message: "done", Target: cart, Changes: []response.Change{{Field: "x"}}}
			m := plain(t, answer(t, alertEvent(t, "01"), o, nil))
			check := func() error {
				encoded, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				return testkit.ValidateOutcome(t, encoded)
			}
			if err := check(); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			if change(m); check() == nil {
				t.Error("it is accepted")
			}
		})
	}
}

// The schema's lists are those of the code.
func TestSchemaHasTheListsOfTheCode(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "outcome.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Reason struct{ Enum []response.Reason }
			Hops   struct{ Maximum int }
		}
	}
	if err := json.Unmarshal(b, &schema); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(reasons(t), schema.Properties.Reason.Enum); diff != "" {
		t.Errorf("reasons (-reasons.go +schema):\n%s", diff)
	}
	if schema.Properties.Hops.Maximum != response.MaxHops {
		t.Errorf("the most hops are %d, in the schema %d", response.MaxHops, schema.Properties.Hops.Maximum)
	}
}

// reasons are the constants of reasons.go, in its order.
func reasons(t *testing.T) []response.Reason {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var all []response.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Reason" {
			value, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				t.Fatalf("%s has no plain value", spec.Names[0])
			}
			reason, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, response.Reason(reason))
		}
		return true
	})
	if len(all) == 0 {
		t.Fatal("reasons.go has no reasons")
	}
	return all
}

// A clock that runs backwards while a response runs makes no outcome that nobody takes.
func TestSchemaTakesOutcomesOfOddClocks(t *testing.T) {
	calls := 0
	record := answer(t, alertEvent(t, "01"), response.Outcome{Verdict: response.Applied, Message: "done"}, func(f *response.Function) {
		f.Now = func() time.Time { calls++; return now.Add(-time.Duration(calls) * time.Second) }
	})
	validate(t, "backwards", record)
}
