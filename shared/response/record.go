package response

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/falco"
)

// TypeOutcome is the type of the outcome event.
const TypeOutcome = "dev.riposte.response.v1"

// Record is the data of an outcome event: the fields Riposte's own functions read, beside
// those of OCSF's Remediation Activity (class 7001), so that a SIEM can take it as it is.
type Record struct {
	// ID is deterministic: the same alert, function and target give the same one. So do no two deployments of a function.
	ID       string  `json:"id"`
	Response string  `json:"response"`
	Outcome  Verdict `json:"outcome"`
	Reason   Reason  `json:"reason,omitempty"`
	Message  string  `json:"message"`
	DryRun   bool    `json:"dry_run"`
	// Repeat says that an outcome like it was told of just before.
	Repeat bool `json:"repeat,omitempty"`
	// Hops is how many functions answered one another up to this outcome: 1 for the answer to an alert.
	Hops    int            `json:"hops"`
	AlertID string         `json:"alert_id"`
	Alert   falco.Alert    `json:"alert"`
	Target  *Target        `json:"target,omitempty"`
	Changes []Change       `json:"changes,omitempty"`
	Details map[string]any `json:"details,omitempty"`
	Timings Timings        `json:"timings"`

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

// newRecord completes an outcome into what is published. alertID is the alert's ID.
func (f *Function) newRecord(alert falco.Alert, alertID string, o Outcome, received time.Time) *Record {
	done := f.Now().UTC()
	if done.Before(received) { // The clock was set meanwhile.
		done = received
	}
	r := &Record{
		Response: f.Name,
		Outcome:  o.Verdict,
		Reason:   o.Reason,
		Message:  o.Message,
		DryRun:   f.DryRun,
		Repeat:   o.Repeat,
		Hops:     1,
		AlertID:  alertID,
		Alert:    alert,
		Changes:  o.Changes,
		Details:  o.Details,
		Timings: Timings{
			Alert: alert.Time, Received: received, Done: done,
			ResponseMS: float64(done.Sub(received).Microseconds()) / 1000,
		},
	}
	if o.Target.Name != "" {
		target := o.Target
		r.Target = &target
	}
	var room [256]byte
	key := append(room[:0], r.AlertID...)
	for _, part := range [...]string{f.Name, o.Target.Subject(), o.Target.UID} {
		key = append(append(key, 0), part...)
	}
	if o.Key != "" {
		key = append(append(key, 0), o.Key...)
	}
	if scope := f.Repeats.Scope; scope != "" {
		key = append(append(key, "\x00of\x00"...), scope...)
	}
	sum := sha256.Sum256(key)
	r.ID = hex.EncodeToString(sum[:16])
	f.Redaction.apply(r)
	r.bound()
	r.OCSF = f.ocsf(r)
	return r
}

// Event is the outcome event. A repeat has the same id, so receivers can drop it.
func (r Record) Event() (event.Event, error) {
	const usual = 4 << 10
	return r.eventIn(make([]byte, 0, usual))
}

// eventIn is Event with its data in room, where that is enough.
func (r *Record) eventIn(room []byte) (event.Event, error) {
	// The setters check, and copy, what is known to be right: an extension for instance is attribute's.
	c := &event.EventContextV1{Type: TypeOutcome, Extensions: map[string]any{}}
	e := event.Event{Context: c}
	e.SetID(r.ID)
	e.SetSource("/functions/" + r.Response)
	e.SetTime(r.Timings.Done)
	if r.Repeat {
		c.Extensions["repeat"] = "true"
	}
	SetHops(&e, max(r.Hops, 1))
	namespace := ""
	if r.Target != nil {
		e.SetSubject(r.Target.Subject())
		namespace = r.Target.Namespace
	}
	if namespace == "" {
		namespace = r.Alert.Pod().Namespace
	}
	for _, extension := range [...]struct{ name, value string }{
		{"response", r.Response},
		{"outcome", string(r.Outcome)},
		{"rule", r.Alert.Rule},
		{"priority", r.Alert.Priority.String()},
		{"eventsource", r.Alert.Source},
		{"k8snamespace", namespace},
		{"alertid", r.AlertID},
	} {
		if value := attribute(extension.value); value != "" {
			c.Extensions[extension.name] = value
		}
	}
	data, err := r.appendJSON(room[:0])
	if err != nil {
		return event.Event{}, fmt.Errorf("encode the outcome: %w", err)
	}
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = data // Not by SetData, which takes bytes for what is no JSON.
	return e, nil
}

// attribute makes text fit for an event attribute: CloudEvents strings hold neither control characters nor
// Unicode's noncharacters. Attributes travel as headers, which lose blanks at their ends and which
// servers accept to some length only.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system
func attribute(s string) string {
	const most = 512
	if len(s) <= most && isPlain(s) {
		return s
	}
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

// isPlain says that a text is printable ASCII without blanks at its ends, as nearly all are.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s == "" || s[0] != ' ' && s[len(s)-1] != ' '
}

// DecodeRecord reads the data of an outcome event. The error says what is wrong with it.
func DecodeRecord(data []byte) (Record, error) {
	var r Record
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // What is in details and changes is given again as it was.
	if err := d.Decode(&r); err != nil {
		return Record{}, fmt.Errorf("outcome is not readable: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Record{}, errors.New("outcome is followed by more data: want one JSON object")
	}
	if r.Response == "" || r.Outcome == "" {
		return Record{}, fmt.Errorf("outcome has response %q and outcome %q: want both", r.Response, r.Outcome)
	}
	if r.Alert.Rule == "" {
		return Record{}, errors.New("outcome has no alert")
	}
	return r, nil
}
