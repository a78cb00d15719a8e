package response_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// defended is a response that knows its techniques.
type defended struct {
	*quarantine
	techniques []response.Technique
}

func (d defended) Techniques() []response.Technique { return d.techniques }

// plain is what a receiver decodes.
func plain(tb testing.TB, record response.Record) map[string]any {
	tb.Helper()
	encoded, err := json.Marshal(record)
	if err != nil {
		tb.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(encoded, &got); err != nil {
		tb.Fatal(err)
	}
	return got
}

// The names and numbers are those of https://schema.ocsf.io/1.5.0/classes/remediation_activity
func TestRecordIsRemediationActivity(t *testing.T) {
	severities := map[string]struct {
		id      float64
		caption string
	}{
		"27": {6, "Fatal"}, "29": {5, "Critical"}, "31": {3, "Medium"}, "32": {2, "Low"}, "35": {1, "Informational"}, "34": {1, "Informational"},
	}
	statuses := map[response.Verdict]struct {
		id      float64
		caption string
	}{
		response.Applied: {1, "Success"}, response.Unchanged: {1, "Success"}, response.Failed: {2, "Failure"},
		response.Skipped: {99, "skipped"}, response.Refused: {99, "refused"}, response.DryRun: {99, "dryrun"},
	}
	type disposition struct {
		actionID    float64
		action      string
		id          float64
		disposition string
	}
	activities := map[response.Activity]struct {
		caption string
		done    disposition
	}{
		1: {"Isolate", disposition{2, "Denied", 4, "Isolated"}}, 2: {"Evict", disposition{2, "Denied", 5, "Deleted"}},
		3: {"Restore", disposition{4, "Modified", 9, "Restored"}}, 4: {"Harden", disposition{4, "Modified", 18, "Tagged"}},
		5: {"Detect", disposition{3, "Observed", 17, "Logged"}}, 99: {"Other", disposition{3, "Observed", 17, "Logged"}},
	}
	for capture, severity := range severities {
		alert := alertEvent(t, capture)
		for verdict, status := range statuses {
			for activity, a := range activities {
				o := response.Outcome{Verdict: verdict, Reason: response.AlreadySo, Target: cart}
				record := answer(t, alert, o, func(f *response.Function) { f.Activity = activity })
				got := plain(t, record)
				done := a.done
				switch verdict {
				case response.Failed:
					done = disposition{0, "Unknown", 27, "Error"}
				case response.Skipped, response.Refused, response.DryRun:
					done = disposition{1, "Allowed", 16, "No Action"}
				case response.Applied, response.Unchanged:
				}
				want := map[string]any{
					"class_uid": 7001.0, "class_name": "Remediation Activity", "category_uid": 7.0, "category_name": "Remediation",
					"activity_id": float64(activity), "activity_name": a.caption, "type_uid": 700100 + float64(activity),
					"type_name": "Remediation Activity: " + a.caption, "severity_id": severity.id, "severity": severity.caption,
					"status_id": status.id, "status": status.caption, "status_code": "already-so", "status_detail": string(verdict) + ": already-so",
					"action_id": done.actionID, "action": done.action, "disposition_id": done.id, "disposition": done.disposition,
					"command_uid": record.ID, "time": float64(now.UnixMilli()), "start_time": float64(now.UnixMilli()),
					"end_time": float64(now.UnixMilli()), "duration": 0.0, "timezone_offset": 0.0,
					"observables": []any{
						map[string]any{"name": "target.name", "type_id": 38.0, "value": "cart-0"},
						map[string]any{"name": "target.uid", "type_id": 10.0, "value": "u-1"},
					},
					"metadata": map[string]any{
						"version": "1.5.0", "uid": record.ID, "correlation_uid": record.AlertID, "profiles": []any{"security_control"},
						"product": map[string]any{"name": "Riposte", "vendor_name": "Riposte", "version": "v1", "feature": map[string]any{"name": "quarantine"}},
					},
				}
				if activity != response.Notify {
					want["countermeasures"] = []any{map[string]any{
						"d3f_tactic": map[string]any{"name": a.caption, "src_url": "https://d3fend.mitre.org/tactic/d3f:" + a.caption + "/"}, "version": "1.2.0",
					}}
				}
				for _, own := range []string{
					"id", "response", "outcome", "reason", "message", "dry_run", "hops", "alert_id", "alert", "target", "timings", "attacks",
				} {
					delete(got, own)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("capture %s, %s, %s (-want +got):\n%s", capture, verdict, a.caption, diff)
				}
			}
		}
	}
	for p, want := range map[string]string{"Error": "4 High", "Alert": "5 Critical"} { // no capture has these
		e := alertEvent(t, "01")
		e.Data = bytes.Replace(e.Data, []byte(`"priority":"Notice"`), []byte(`"priority":"`+p+`"`), 1)
		record := answer(t, e, response.Outcome{Verdict: response.Applied}, nil)
		if got := fmt.Sprint(record.SeverityID, " ", record.Severity); got != want || record.StatusDetail != "applied" || record.StatusCode != "applied" {
			t.Errorf("severity of %s is %s with %s, %s: want %s", p, got, record.StatusDetail, record.StatusCode, want)
		}
	}
}

// OCSF has words of its own for some reasons.
func TestRecordStatusByReason(t *testing.T) {
	cases := map[response.Reason]struct {
		verdict response.Verdict
		want    string
	}{
		response.Gone:            {response.Skipped, "3 Does Not Exist"},
		response.Replaced:        {response.Skipped, "3 Does Not Exist"},
		response.ResidualTraffic: {response.Applied, "4 Partial"},
		response.EvidencePartial: {response.Applied, "4 Partial"},
		response.HostNetwork:     {response.Refused, "5 Unsupported"},
		response.Recovered:       {response.Applied, "1 Success"},
		response.OverBudget:      {response.Refused, "99 refused"},
	}
	for reason, c := range cases {
		t.Run(string(reason), func(t *testing.T) {
			record := answer(t, alertEvent(t, "01"), response.Outcome{Verdict: c.verdict, Reason: reason}, nil)
			if got := fmt.Sprint(record.StatusID, " ", record.Status); got != c.want {
				t.Errorf("status is %s, want %s", got, c.want)
			}
		})
	}
}

func TestRecordNamesTechniques(t *testing.T) {
	f := wrap(defended{&quarantine{outcome: response.Outcome{Verdict: response.Applied}}, []response.Technique{
		response.InboundTrafficFiltering, response.OutboundTrafficFiltering,
	}})
	record, err := f.Handle(t.Context(), alertEvent(t, "01"))
	if err != nil {
		t.Fatal(err)
	}
	tactic := map[string]any{"name": "Isolate", "src_url": "https://d3fend.mitre.org/tactic/d3f:Isolate/"}
	technique := func(name, uid, page string) map[string]any {
		return map[string]any{"name": name, "uid": uid, "src_url": "https://d3fend.mitre.org/technique/d3f:" + page + "/"}
	}
	want := []any{
		map[string]any{"d3f_tactic": tactic, "version": "1.2.0", "d3f_technique": technique("Inbound Traffic Filtering", "D3-ITF", "InboundTrafficFiltering")},
		map[string]any{"d3f_tactic": tactic, "version": "1.2.0", "d3f_technique": technique("Outbound Traffic Filtering", "D3-OTF", "OutboundTrafficFiltering")},
	}
	if diff := cmp.Diff(want, plain(t, *record)["countermeasures"]); diff != "" {
		t.Errorf("countermeasures (-want +got):\n%s", diff)
	}
}

func TestRecordNamesAttacks(t *testing.T) {
	tactic := func(name string) map[string]any { return map[string]any{"name": name} }
	technique := func(id, page string) map[string]any {
		return map[string]any{"uid": id, "src_url": "https://attack.mitre.org/techniques/" + page + "/"}
	}
	cases := map[string]struct {
		tags []string
		want []any
	}{
		"none":   {nil, nil},
		"others": {[]string{"container", "shell", "maturity_stable", "PCI_DSS_11.5.1", "T15555", "t1555", "TA00011", "mitre_", "mitre_X"}, nil},
		"a tactic and a technique": {
			[]string{"T1555", "mitre_credential_access"},
			[]any{map[string]any{"tactic": tactic("Credential Access"), "technique": technique("T1555", "T1555")}},
		},
		"a part of a technique": {
			[]string{"mitre_execution", "T1059.004"},
			[]any{map[string]any{
				"tactic": tactic("Execution"), "technique": technique("T1059", "T1059"), "sub_technique": technique("T1059.004", "T1059/004"),
			}},
		},
		"two tactics stay by themselves": {
			[]string{"mitre_persistence", "TA0011", "T1505.003"},
			[]any{
				map[string]any{"tactic": tactic("Persistence")},
				map[string]any{"tactic": map[string]any{"uid": "TA0011", "src_url": "https://attack.mitre.org/tactics/TA0011/"}},
				map[string]any{"technique": technique("T1505", "T1505"), "sub_technique": technique("T1505.003", "T1505/003")},
			},
		},
		"of and": {[]string{"mitre_command_and_control"}, []any{map[string]any{"tactic": tactic("Command and Control")}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			record := answer(t, tagged(t, c.tags), response.Outcome{Verdict: response.Applied}, nil)
			got, _ := plain(t, record)["attacks"].([]any)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("attacks (-want +got):\n%s", diff)
			}
		})
	}
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("T%04d", i))
	}
	if record := answer(t, tagged(t, many), response.Outcome{Verdict: response.Applied}, nil); len(record.Attacks) == 0 || len(record.Attacks) > 16 {
		t.Errorf("a thousand tags make %d attacks", len(record.Attacks))
	}
}

// tagged is capture 01 with other tags.
func tagged(t *testing.T, tags []string) response.Event {
	t.Helper()
	e := alertEvent(t, "01")
	a, err := falco.Decode(e.Data)
	if err != nil {
		t.Fatal(err)
	}
	a.Tags = tags
	if e.Data, err = json.Marshal(a); err != nil {
		t.Fatal(err)
	}
	return e
}

// Times are milliseconds, the duration too.
func TestRecordDuration(t *testing.T) {
	calls := 0
	record := answer(t, alertEvent(t, "01"), response.Outcome{Verdict: response.Applied}, func(f *response.Function) {
		f.Now = func() time.Time { calls++; return now.Add(time.Duration(calls) * 250 * time.Millisecond) }
	})
	if record.Duration <= 0 || record.Duration != record.EndTime-record.StartTime || record.Time != record.EndTime {
		t.Errorf("from %d to %d it took %d", record.StartTime, record.EndTime, record.Duration)
	}
}

func TestActivityHasACaption(t *testing.T) {
	for _, activity := range []response.Activity{0, 6, 7} {
		if got := activity.String(); got != "Unknown" {
			t.Errorf("activity %d is %s", activity, got)
		}
	}
}
