// Package falco is one Falco detection as it really arrives: the JSON that Falco
// (http_output) and Falcosidekick send, decoded without trusting it.
//
// The envelope must be sound: a rule, a known priority, a time and at least one
// output field, as Falcosidekick itself demands. The output fields may hold any
// JSON type; an accessor that does not find the type it wants answers "absent".
// The free text in Output is written in part by the attacker and is never parsed.
package falco

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
)

// Event types that carry an alert.
const (
	// TypeFalcosidekick is the ce-type of Falcosidekick's CloudEvents output.
	TypeFalcosidekick = "falco.rule.output.v1"
	// TypeRiposte is the ce-type of an alert normalised by Riposte's router.
	TypeRiposte = "dev.riposte.alert.v1"
)

// defaultSource is what Falcosidekick fills in where Falco sent no source.
const defaultSource = "syscalls"

// Alert is one Falco detection.
type Alert struct {
	// UUID is Falcosidekick's; new for each POST, so no identity. Empty from Falco itself.
	UUID     string
	Rule     string
	Priority Priority
	// Time is the time of the system call or audit event, in UTC with nanoseconds.
	Time time.Time
	// Source is the event source: syscall, k8s_audit, aws_cloudtrail, internal, ...
	Source   string
	Hostname string
	Tags     []string
	// Output is the rendered message. Attackers write into it: show it, never parse it.
	Output string
	Fields Fields
}

// Decode reads one alert. The error names the field, its value and what is allowed.
func Decode(data []byte) (Alert, error) {
	envelope, err := object(data)
	if err != nil {
		return Alert{}, err
	}
	a := Alert{
		UUID:     text(envelope, "uuid"),
		Rule:     text(envelope, "rule"),
		Source:   text(envelope, "source"),
		Hostname: text(envelope, "hostname"),
		Output:   text(envelope, "output"),
		Tags:     list(envelope, "tags"),
	}
	if strings.TrimSpace(a.Rule) == "" {
		return Alert{}, fmt.Errorf("rule is %s: want the name of a Falco rule", show(envelope, "rule"))
	}
	if a.Priority, err = ParsePriority(text(envelope, "priority")); err != nil {
		return Alert{}, fmt.Errorf("priority is %s: want one of %s", show(envelope, "priority"), strings.Join(priorityNames[:], ", "))
	}
	if a.Time, err = time.Parse(time.RFC3339Nano, text(envelope, "time")); err != nil || a.Time.IsZero() {
		return Alert{}, fmt.Errorf("time is %s: want an RFC 3339 time such as 2026-01-01T00:00:00.123456789Z", show(envelope, "time"))
	}
	a.Time = a.Time.UTC()
	if year := a.Time.Year(); year < 0 || year > 9999 { // the zone can carry it out of what RFC 3339 can write
		return Alert{}, fmt.Errorf("time is %s: want a year from 0000 to 9999 in UTC", show(envelope, "time"))
	}
	fields, ok := envelope["output_fields"].(map[string]any)
	if !ok || len(fields) == 0 {
		return Alert{}, fmt.Errorf("output_fields is %s: want an object with at least one field", show(envelope, "output_fields"))
	}
	a.Fields = fields
	if a.Source == "" {
		a.Source = defaultSource
	}
	return a, nil
}

// ID identifies the detection itself, in 32 hexadecimal digits: the same Falco alert
// delivered twice, by whatever way, has the same ID although uuid and ce-id differ.
func (a Alert) ID() string {
	key := []string{a.Time.Format(time.RFC3339Nano), a.Hostname, a.Rule, a.Source, a.Fields.known("container.id")}
	if !a.ofSystemCall() {
		key = append(key, a.Fields.event())
	}
	sum := sha256.Sum256([]byte(strings.Join(key, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// ofSystemCall says whether the kernel is the source. Its times have nanoseconds, and a container's thread makes one
// call at a time; the events of plugins have whole seconds, or come many at an instant, and have no container.
func (a Alert) ofSystemCall() bool { return a.Source == "syscall" || a.Source == defaultSource }

// MarshalJSON writes the alert in Falcosidekick's form, so that an alert inside an outcome decodes again.
func (a Alert) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		UUID     string    `json:"uuid,omitempty"`
		Output   string    `json:"output"`
		Priority string    `json:"priority"`
		Rule     string    `json:"rule"`
		Time     time.Time `json:"time"`
		Fields   Fields    `json:"output_fields"`
		Source   string    `json:"source"`
		Tags     []string  `json:"tags,omitempty"`
		Hostname string    `json:"hostname,omitempty"`
	}{a.UUID, a.Output, a.Priority.String(), a.Rule, a.Time, a.Fields, a.Source, a.Tags, a.Hostname})
}

// UnmarshalJSON is Decode.
func (a *Alert) UnmarshalJSON(data []byte) error {
	decoded, err := Decode(data)
	if err != nil {
		return err
	}
	*a = decoded
	return nil
}

// object decodes exactly one JSON object, numbers kept as written: Falco sends int64 above 2^53.
func object(data []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("alert is not a JSON object: %w", err)
	}
	if m == nil {
		return nil, errors.New("alert is null: want a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("alert is followed by more data: want one JSON object")
	}
	return m, nil
}

func text(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func list(m map[string]any, key string) []string {
	values, _ := m[key].([]any)
	var out []string
	for _, v := range values {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// show quotes a value of the alert for an error, cut to a length that fits one line.
func show(m map[string]any, key string) string {
	v, ok := m[key]
	if !ok {
		return "missing"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%T", v)
	}
	if len(b) > 80 {
		return string(b[:80]) + "..."
	}
	return string(b)
}
