package response

import (
	"strings"

	"github.com/riposte-dev/riposte/shared/falco"
)

// Activity is what kind of answer a response is: the activity of OCSF's Remediation
// Activity class, which are the tactics of MITRE D3FEND.
// https://schema.ocsf.io/classes/remediation_activity
type Activity int

// The activities, with OCSF's numbers.
const (
	Isolate Activity = 1
	Evict   Activity = 2
	Restore Activity = 3
	Harden  Activity = 4
	Detect  Activity = 5
	// Notify is what remediates nothing: to tell people, to keep evidence. OCSF has 99, Other, for it.
	Notify Activity = 99
)

// String is OCSF's caption.
func (a Activity) String() string {
	switch a {
	case Isolate:
		return "Isolate"
	case Evict:
		return "Evict"
	case Restore:
		return "Restore"
	case Harden:
		return "Harden"
	case Detect:
		return "Detect"
	case Notify:
		return "Other"
	}
	return "Unknown"
}

// OCSF are the attributes of the Remediation Activity class, OCSF 1.5.0, with those of its profile security_control.
// docs/outcome.md says which ones are left out.
// https://schema.ocsf.io/1.5.0/classes/remediation_activity
type OCSF struct {
	ClassUID     int      `json:"class_uid"`
	ClassName    string   `json:"class_name"`
	CategoryUID  int      `json:"category_uid"`
	CategoryName string   `json:"category_name"`
	ActivityID   Activity `json:"activity_id"`
	ActivityName string   `json:"activity_name"`
	TypeUID      int      `json:"type_uid"`
	TypeName     string   `json:"type_name"`
	SeverityID   int      `json:"severity_id"`
	Severity     string   `json:"severity"`
	StatusID     int      `json:"status_id"`
	Status       string   `json:"status"`
	StatusCode   string   `json:"status_code"`
	StatusDetail string   `json:"status_detail"`
	CommandUID   string   `json:"command_uid"`
	// Time, StartTime and EndTime are milliseconds since 1970, in UTC; Duration is in milliseconds.
	Time           int64 `json:"time"`
	StartTime      int64 `json:"start_time"`
	EndTime        int64 `json:"end_time"`
	Duration       int64 `json:"duration"`
	TimezoneOffset int   `json:"timezone_offset"`

	Countermeasures []d3fend     `json:"countermeasures,omitempty"`
	Observables     []observable `json:"observables,omitempty"`
	Metadata        ocsfMetadata `json:"metadata"`

	// Of the profile security_control.
	ActionID      int      `json:"action_id"`
	Action        string   `json:"action"`
	DispositionID int      `json:"disposition_id"`
	Disposition   string   `json:"disposition"`
	Attacks       []attack `json:"attacks,omitempty"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	UID            string      `json:"uid"`
	CorrelationUID string      `json:"correlation_uid"`
	Profiles       []string    `json:"profiles"`
	Product        ocsfProduct `json:"product"`
}

type ocsfProduct struct {
	Name       string      `json:"name"`
	VendorName string      `json:"vendor_name"`
	Version    string      `json:"version,omitempty"`
	Feature    ocsfFeature `json:"feature"`
}

// ocsfFeature is the function.
type ocsfFeature struct {
	Name string `json:"name"`
}

// observable points to an attribute of the event that is worth searching for.
type observable struct {
	Name   string `json:"name"`
	TypeID int    `json:"type_id"`
	Value  string `json:"value"`
}

// countermeasures are the same in all outcomes of a function.
func (f *Function) countermeasures() []d3fend {
	f.measured.Do(func() { f.measures = countermeasures(f.Activity, f.Responder) })
	return f.measures
}

func (f *Function) ocsf(r *Record) OCSF {
	const class, name = 7001, "Remediation Activity"
	o := OCSF{
		ClassUID: class, ClassName: name, CategoryUID: 7, CategoryName: "Remediation",
		ActivityID: f.Activity, ActivityName: f.Activity.String(),
		TypeUID: class*100 + int(f.Activity), TypeName: name + ": " + f.Activity.String(),
		CommandUID: r.ID, StatusDetail: strings.TrimSuffix(string(r.Outcome)+": "+string(r.Reason), ": "),
		Time: r.Timings.Done.UnixMilli(), StartTime: r.Timings.Received.UnixMilli(), EndTime: r.Timings.Done.UnixMilli(),
		Duration:        max(0, r.Timings.Done.UnixMilli()-r.Timings.Received.UnixMilli()),
		Countermeasures: f.countermeasures(), Observables: observables(r.Target), Attacks: attacks(r.Alert),
		Metadata: ocsfMetadata{
			Version: "1.5.0", UID: r.ID, CorrelationUID: r.AlertID, Profiles: []string{"security_control"},
			Product: ocsfProduct{Name: "Riposte", VendorName: "Riposte", Version: f.Version, Feature: ocsfFeature{f.Name}},
		},
	}
	o.SeverityID, o.Severity = ocsfSeverity(r.Alert.Priority)
	o.StatusID, o.Status = ocsfStatus(r)
	if o.StatusCode = string(r.Reason); o.StatusCode == "" {
		o.StatusCode = string(r.Outcome)
	}
	o.ActionID, o.Action, o.DispositionID, o.Disposition = ocsfDisposition(f.Activity, r.Outcome)
	return o
}

// ocsfStatus is what became of the remediation. Other, 99, has Riposte's own word for a caption.
func ocsfStatus(r *Record) (int, string) {
	switch r.Reason { //nolint:exhaustive // Those that OCSF has a word for.
	case Gone, Replaced:
		return 3, "Does Not Exist"
	case ResidualTraffic, EvidencePartial:
		return 4, "Partial"
	case HostNetwork:
		return 5, "Unsupported"
	}
	switch r.Outcome {
	case Applied, Unchanged:
		return 1, "Success"
	case Failed:
		return 2, "Failure"
	case Skipped, Refused, DryRun: // Nothing was remediated, and nothing broke.
	}
	return 99, string(r.Outcome)
}

// ocsfDisposition is what became of the activity that the alert is about.
func ocsfDisposition(a Activity, v Verdict) (actionID int, action string, dispositionID int, disposition string) {
	if v == Failed {
		return 0, "Unknown", 27, "Error"
	}
	if v != Applied && v != Unchanged {
		return 1, "Allowed", 16, "No Action"
	}
	switch a {
	case Isolate:
		return 2, "Denied", 4, "Isolated"
	case Evict:
		return 2, "Denied", 5, "Deleted"
	case Restore:
		return 4, "Modified", 9, "Restored"
	case Harden:
		return 4, "Modified", 18, "Tagged"
	case Detect, Notify:
		return 3, "Observed", 17, "Logged"
	}
	return 0, "Unknown", 0, "Unknown"
}

// observables are the target, in OCSF's types of observables.
func observables(t *Target) []observable {
	if t == nil {
		return nil
	}
	const hostname, resourceUID, resourceName = 1, 10, 38
	named := observable{Name: "target.name", TypeID: resourceName, Value: t.Name}
	if t.Kind == "Node" {
		named.TypeID = hostname
	}
	all := []observable{named}
	if t.UID != "" {
		all = append(all, observable{Name: "target.uid", TypeID: resourceUID, Value: t.UID})
	}
	return all
}

// ocsfSeverity maps a priority to OCSF's severity_id and caption.
func ocsfSeverity(p falco.Priority) (int, string) {
	switch p {
	case falco.Emergency:
		return 6, "Fatal"
	case falco.Alarm, falco.Critical:
		return 5, "Critical"
	case falco.Error:
		return 4, "High"
	case falco.Warning:
		return 3, "Medium"
	case falco.Notice:
		return 2, "Low"
	case falco.Informational, falco.Debug:
		return 1, "Informational"
	}
	return 0, "Unknown"
}
