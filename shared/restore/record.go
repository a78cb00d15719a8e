// Package restore is what makes containment undoable. A response that contains (isolate, taint, label) gives its change,
// in the same request, three marks on the object:
//
//	annotation riposte.dev/restore.NAME   the restore record: what was changed, from what, to what, why, when, until when
//	annotation riposte.dev/release-at     the earliest moment at which one of the object's records is due
//	label      riposte.dev/contained      "true", so that a release finds the object with a list by label
//
// NAME is the response, with a hash of the settings that tell two deployments of it apart (label-1a2b3c4d): each has a
// record of its own, with its own time, and is released on its own. When the last record goes, the marks go with it, and
// the object is what it was.
//
// A record is an annotation, and whoever may patch the object may write one. So it is a claim that is checked (Keys.Open):
// it can only ever speak of fields which its response could have changed, of this very object. With RESTORE_KEY records are
// signed, and those without a good signature are not believed.
package restore

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// The marks on a contained object.
const (
	Prefix    = "riposte.dev/restore."
	ReleaseAt = "riposte.dev/release-at"
	Contained = "riposte.dev/contained"
	// Isolated is the label by which isolate's policy selects its pod; its value is the pod's UID.
	Isolated = "riposte.dev/isolated"
)

// version is that of the form of a record.
const version = 1

// Record is what has to be put back to undo one response on one object.
type Record struct {
	Version int `json:"version"`
	// Response is NAME.
	Response string `json:"response"`
	// UID is that of the object: a copy of the record on another object says nothing about that one.
	UID   string `json:"uid"`
	Alert Alert  `json:"alert"`
	// Applied is when the object was contained, the last time.
	Applied time.Time `json:"applied"`
	// Times is how often it was, this time included.
	Times int `json:"times"`
	// ReleaseAt is when this record is due; nil is never.
	ReleaseAt *time.Time `json:"release_at,omitempty"`
	// Remember is for how many seconds after a release Times is to be known.
	Remember int64    `json:"remember_s,omitempty"`
	Changes  []Change `json:"changes"`
	// Signature is an HMAC of all else, in hexadecimal digits.
	Signature string `json:"signature,omitempty"`
}

// Change is one field as it was found and as it was left.
type Change struct {
	response.Change

	At time.Time `json:"at"`
}

// Name is the NAME of a response's records: the response itself, or, where deployments of it can differ, with a hash of
// the settings that make them differ.
func Name(response, settings string) string {
	if settings == "" {
		return response
	}
	sum := sha256.Sum256([]byte(settings))
	return response + "-" + hex.EncodeToString(sum[:4])
}

// ResponseOf is the response of a NAME.
func ResponseOf(name string) string {
	response, _, _ := strings.Cut(name, "-")
	return response
}

// Manager is the field manager of the response that writes records of that NAME.
func Manager(name string) string { return "riposte-" + name }

// Due says whether the record's time has come.
func (r Record) Due(now time.Time) bool { return r.ReleaseAt != nil && !now.Before(*r.ReleaseAt) }

// encode is the record as an annotation.
func (r Record) encode() (string, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("encode the restore record of %s: %w", r.Response, err)
	}
	return string(b), nil
}

// plain turns a value into what it is after a way through JSON, so that it can be compared with one that was read.
func plain(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a change: %w", err)
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("encode a change: %w", err)
	}
	return out, nil
}

// Alert is what a record keeps of the alert: enough for an outcome that belongs to it.
type Alert struct {
	ID       string            `json:"id"`
	Rule     string            `json:"rule"`
	Priority falco.Priority    `json:"priority"`
	Source   string            `json:"source"`
	Time     time.Time         `json:"time"`
	Hostname string            `json:"hostname,omitempty"`
	Fields   map[string]string `json:"fields,omitempty"`
}

// longest bounds each text of an alert in a record, in bytes.
const longest = 512

// keptFields tell which pod the alert was about, and one alert from another.
func keptFields() []string {
	return append(falco.EventFields(), "k8s.ns.name", "k8s.pod.name", "k8s.pod.uid", "container.id")
}

func aboutAlert(a falco.Alert) Alert {
	kept := Alert{ID: a.ID(), Rule: cut(a.Rule), Priority: a.Priority, Source: cut(a.Source), Time: a.Time, Hostname: cut(a.Hostname), Fields: map[string]string{}}
	for _, name := range keptFields() {
		if value, ok := a.Fields.String(name); ok {
			kept.Fields[name] = cut(value)
		}
	}
	return kept
}

func cut(s string) string { return strings.ToValidUTF8(s[:min(len(s), longest)], "") }

// Falco is the alert again, as far as it was kept. It has the ID of the original.
func (a Alert) Falco() falco.Alert {
	fields := falco.Fields{}
	for name, value := range a.Fields {
		fields[name] = value
	}
	if len(fields) == 0 {
		fields["riposte.alert_id"] = a.ID // an alert has at least one field
	}
	return falco.Alert{
		Rule: a.Rule, Priority: a.Priority, Source: a.Source, Time: a.Time.UTC(), Hostname: a.Hostname, Fields: fields,
		Output: "what is known of the alert " + a.ID + " from a restore record",
	}
}

// check says what is wrong with the alert of a record.
func (a Alert) check() error {
	for name, text := range map[string]string{"id": a.ID, "rule": a.Rule, "source": a.Source} {
		if strings.TrimSpace(text) == "" || len(text) > longest {
			return fmt.Errorf("alert.%s has %d bytes: want 1 to %d", name, len(text), longest)
		}
	}
	if len(a.Hostname) > longest || a.Time.IsZero() || a.Time.Year() > 9999 || a.Priority < falco.Emergency || a.Priority > falco.Debug {
		return fmt.Errorf("alert is of %s, priority %s: want a time and one of Falco's priorities", a.Time, a.Priority)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Fields)) {
		if !slices.Contains(keptFields(), name) || len(a.Fields[name]) > longest {
			return fmt.Errorf("alert.fields has %.80q with %d bytes: want the fields that name a pod", name, len(a.Fields[name]))
		}
	}
	return nil
}
