package response

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/falco"
)

// TypeOutcome is the type of the outcome event.
const TypeOutcome = "dev.riposte.response.v1"

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
	// Notify is not a remediation; OCSF has 99, Other, for it.
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
		return "Notify"
	}
	return "Unknown"
}

// Record is the data of an outcome event: the fields Riposte's own functions read, beside
// those of OCSF's Remediation Activity (class 7001), so that a SIEM can take it as it is.
type Record struct {
	// ID is deterministic: the same alert, function and target give the same one.
	ID       string         `json:"id"`
	Response string         `json:"response"`
	Outcome  Verdict        `json:"outcome"`
	Reason   Reason         `json:"reason,omitempty"`
	Message  string         `json:"message"`
	DryRun   bool           `json:"dry_run"`
	AlertID  string         `json:"alert_id"`
	Alert    falco.Alert    `json:"alert"`
	Target   *Target        `json:"target,omitempty"`
	Changes  []Change       `json:"changes,omitempty"`
	Details  map[string]any `json:"details,omitempty"`
	Timings  Timings        `json:"timings"`

	OCSF
}

// Timings are the moments of one alert, in UTC.
type Timings struct {
	// Alert is when the system call or audit event happened.
	Alert time.Time `json:"alert"`
	// Received is when this function got the event.
	Received time.Time `json:"received"`
	// Done is when the response was complete.
	Done time.Time `json:"done"`
	// ResponseMS is Done minus Received in milliseconds.
	ResponseMS float64 `json:"response_ms"`
}

// OCSF are the attributes of the Remediation Activity class, OCSF 1.5.0.
// https://schema.ocsf.io/1.5.0/classes/remediation_activity
type OCSF struct {
	ClassUID     int      `json:"class_uid"`
	ClassName    string   `json:"class_name"`
	CategoryUID  int      `json:"category_uid"`
	CategoryName string   `json:"category_name"`
	ActivityID   Activity `json:"activity_id"`
	ActivityName string   `json:"activity_name"`
	TypeUID      int      `json:"type_uid"`
	SeverityID   int      `json:"severity_id"`
	Severity     string   `json:"severity"`
	StatusID     int      `json:"status_id"`
	Status       string   `json:"status"`
	StatusDetail string   `json:"status_detail,omitempty"`
	CommandUID   string   `json:"command_uid"`
	// Time, StartTime and EndTime are milliseconds since 1970.
	Time      int64        `json:"time"`
	StartTime int64        `json:"start_time"`
	EndTime   int64        `json:"end_time"`
	Metadata  ocsfMetadata `json:"metadata"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	UID            string      `json:"uid"`
	CorrelationUID string      `json:"correlation_uid"`
	Product        ocsfProduct `json:"product"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

// newRecord completes an outcome into what is published.
func (f *Function) newRecord(alert falco.Alert, o Outcome, received time.Time) Record {
	done := f.Now().UTC()
	r := Record{
		Response: f.Name,
		Outcome:  o.Verdict,
		Reason:   o.Reason,
		Message:  o.Message,
		DryRun:   f.DryRun,
		AlertID:  alert.ID(),
		Alert:    alert.Compact(),
		Changes:  o.Changes,
		Details:  o.Details,
		Timings: Timings{
			Alert: alert.Time, Received: received, Done: done,
			ResponseMS: float64(done.Sub(received).Microseconds()) / 1000,
		},
	}
	if o.Target.Name != "" {
		r.Target = &o.Target
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{r.AlertID, f.Name, o.Target.Subject(), o.Target.UID}, "\x00")))
	r.ID = hex.EncodeToString(sum[:16])
	r.OCSF = f.ocsf(r)
	return r
}

func (f *Function) ocsf(r Record) OCSF {
	const class = 7001
	o := OCSF{
		ClassUID: class, ClassName: "Remediation Activity",
		CategoryUID: 7, CategoryName: "Remediation",
		ActivityID: f.Activity, ActivityName: f.Activity.String(), TypeUID: class*100 + int(f.Activity),
		CommandUID: r.ID, StatusDetail: strings.TrimSuffix(string(r.Outcome)+": "+string(r.Reason), ": "),
		Time: r.Timings.Done.UnixMilli(), StartTime: r.Timings.Received.UnixMilli(), EndTime: r.Timings.Done.UnixMilli(),
		Metadata: ocsfMetadata{
			Version: "1.5.0", UID: r.ID, CorrelationUID: r.AlertID,
			Product: ocsfProduct{Name: "Riposte", VendorName: "Riposte", Version: f.Version},
		},
	}
	o.SeverityID, o.Severity = ocsfSeverity(r.Alert.Priority)
	switch r.Outcome {
	case Applied, Unchanged:
		o.StatusID, o.Status = 1, "Success"
	case Failed:
		o.StatusID, o.Status = 2, "Failure"
	case Skipped, Refused, DryRun:
		o.StatusID, o.Status = 99, "Other" // nothing was remediated, and nothing broke
	}
	return o
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

// Event is the outcome event. A repeat has the same id, so receivers can drop it.
func (r Record) Event() (event.Event, error) {
	e := event.New()
	e.SetID(r.ID)
	e.SetType(TypeOutcome)
	e.SetSource("/functions/" + r.Response)
	e.SetTime(r.Timings.Done)
	namespace := r.Alert.Pod().Namespace
	if r.Target != nil {
		e.SetSubject(r.Target.Subject())
		if r.Target.Namespace != "" {
			namespace = r.Target.Namespace
		}
	}
	for name, value := range map[string]string{
		"response": r.Response, "outcome": string(r.Outcome), "rule": r.Alert.Rule, "priority": r.Alert.Priority.String(),
		"eventsource": r.Alert.Source, "k8snamespace": namespace, "alertid": r.AlertID,
	} {
		if value = attribute(value); value != "" {
			e.SetExtension(name, value)
		}
	}
	if err := e.SetData(event.ApplicationJSON, r); err != nil {
		return event.Event{}, fmt.Errorf("encode the outcome: %w", err)
	}
	return e, nil
}

// attribute makes text fit for an event attribute: CloudEvents strings hold neither control characters nor
// Unicode's noncharacters. Attributes travel as headers, which lose blanks at their ends and which
// servers accept to some length only.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system
func attribute(s string) string {
	const most = 512
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, s))
	if len(s) <= most {
		return s
	}
	end := most
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return strings.TrimSpace(s[:end])
}

// DecodeRecord reads the data of an outcome event. The error says what is wrong with it.
func DecodeRecord(data []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("outcome is not readable: %w", err)
	}
	if r.Response == "" || r.Outcome == "" {
		return Record{}, fmt.Errorf("outcome has response %q and outcome %q: want both", r.Response, r.Outcome)
	}
	if r.Alert.Rule == "" {
		return Record{}, errors.New("outcome has no alert")
	}
	return r, nil
}
