// Package falco is one Falco detection as it really arrives: the JSON that Falco
// (http_output) and Falcosidekick send, decoded without trusting it.
//
// The envelope must be sound: a rule, a known priority, a time and at least one
// output field, as Falcosidekick itself demands. The output fields may hold any
// JSON type; an accessor that does not find the type it wants answers "absent".
// The free text in Output is written in part by the attacker and is never parsed.
package falco

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
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
	e, err := open(data)
	if err != nil {
		return Alert{}, err
	}
	a := Alert{
		UUID:     e.text("uuid"),
		Rule:     e.text("rule"),
		Source:   e.text("source"),
		Hostname: e.text("hostname"),
		Output:   e.text("output"),
		Tags:     e.list("tags"),
	}
	if strings.TrimSpace(a.Rule) == "" {
		return Alert{}, fmt.Errorf("rule is %s: want the name of a Falco rule", e.show("rule"))
	}
	if a.Priority, err = ParsePriority(e.text("priority")); err != nil {
		return Alert{}, fmt.Errorf("priority is %s: want one of %s", e.show("priority"), strings.Join(priorityNames[:], ", "))
	}
	if a.Time, err = time.Parse(time.RFC3339Nano, e.text("time")); err != nil || a.Time.IsZero() {
		return Alert{}, fmt.Errorf("time is %s: want an RFC 3339 time such as 2026-01-01T00:00:00.123456789Z", e.show("time"))
	}
	a.Time = a.Time.UTC()
	if year := a.Time.Year(); year < 0 || year > 9999 { // the zone can carry it out of what RFC 3339 can write
		return Alert{}, fmt.Errorf("time is %s: want a year from 0000 to 9999 in UTC", e.show("time"))
	}
	fields, ok := e.get("output_fields").(map[string]any)
	if !ok || len(fields) == 0 {
		return Alert{}, fmt.Errorf("output_fields is %s: want an object with at least one field", e.show("output_fields"))
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
	var room [256]byte
	key := a.Time.AppendFormat(room[:0], time.RFC3339Nano)
	for _, part := range [...]string{a.Hostname, a.Rule, a.Source, a.Fields.known("container.id")} {
		key = append(append(key, 0), part...)
	}
	if !a.ofSystemCall() {
		key = append(append(key, 0), a.Fields.event()...)
	}
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:16])
}

// ofSystemCall says whether the kernel is the source. Its times have nanoseconds, and a container's thread makes one
// call at a time; the events of plugins have whole seconds, or come many at an instant, and have no container.
func (a Alert) ofSystemCall() bool { return a.Source == "syscall" || a.Source == defaultSource }

// MarshalJSON is AppendJSON.
func (a Alert) MarshalJSON() ([]byte, error) { return a.AppendJSON(make([]byte, 0, a.room())) }

// UnmarshalJSON is Decode.
func (a *Alert) UnmarshalJSON(data []byte) error {
	decoded, err := Decode(data)
	if err != nil {
		return err
	}
	*a = decoded
	return nil
}
