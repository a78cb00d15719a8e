// Package retarget makes a recorded alert point at another moment and another pod, and leaves
// every other byte as Falcosidekick sent it. Tests and the local run aim the captures with it.
package retarget

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values are what an alert is to say. Zero fields leave the alert's own values.
type Values struct {
	Time           time.Time
	Namespace, Pod string
	// ContainerID is the whole id, of 64 digits; container.id gets the first 12 of it, as from Falco.
	ContainerID string
	UID         string
}

// Change is one value that was replaced; From and To are JSON.
type Change struct{ Field, From, To string }

// Body replaces the values in an alert, or in a CloudEvent around one, and says what it replaced. A value that
// names nothing (null, "", <NA>, host, another type) stays, and nothing is added: what a capture does not say is
// often what it is about.
func Body(body []byte, r Values) ([]byte, []Change) {
	scalars, err := scan(body)
	if err != nil {
		return body, nil // no JSON; some captures are not
	}
	var out []byte
	var changes []Change
	last := 0
	for _, s := range scalars {
		text, ok := r.replacement(s, scalars)
		if !ok {
			continue
		}
		changes = append(changes, Change{s.path[strings.LastIndexByte(s.path, '/')+1:], string(body[s.start:s.end]), text})
		out = append(append(out, body[last:s.start]...), text...)
		last = s.end
	}
	return append(out, body[last:]...), changes
}

// TimeText is Time as Falcosidekick writes times.
func (r Values) TimeText() string { return r.Time.UTC().Format(time.RFC3339Nano) }

// replacement is the JSON that takes the place of a scalar, and whether there is one.
func (r Values) replacement(s scalar, all []scalar) (string, bool) {
	if field, ok := strings.CutPrefix(strings.TrimPrefix(s.path, "/data"), "/output_fields/"); ok {
		return r.field(field, s, all)
	}
	if s.path == "/time" || s.path == "/data/time" {
		return quote(r.TimeText()), s.isText() && !r.Time.IsZero()
	}
	return "", false
}

func (r Values) field(name string, s scalar, all []scalar) (string, bool) {
	if _, number := s.value.(json.Number); name == "evt.time" && number && !r.Time.IsZero() {
		return strconv.FormatInt(r.Time.UnixNano(), 10), true
	}
	var value string
	switch name {
	case "k8s.ns.name":
		value = r.Namespace
	case "k8s.pod.name":
		value = r.Pod
	case "k8s.pod.uid", "k8s.pod.id":
		value = r.UID
	case "container.id":
		if !has(all, "k8s.pod.sandbox_id", s.value) { // the pod's sandbox has an id of its own
			value = r.ContainerID[:min(12, len(r.ContainerID))]
		}
	case "container.full_id":
		value = r.ContainerID
	case "ka.target.namespace":
		if has(all, "ka.target.resource", "pods") {
			value = r.Namespace
		}
	case "ka.target.name":
		if has(all, "ka.target.resource", "pods") {
			value = r.Pod
		}
	}
	return quote(value), value != "" && s.isText()
}

// has says whether an output field has this value.
func has(all []scalar, field string, value any) bool {
	return slices.ContainsFunc(all, func(s scalar) bool {
		return strings.HasSuffix(s.path, "/output_fields/"+field) && s.value == value
	})
}

// scalar is a value in a JSON text, with its place. The names of the objects around it stand in path; elements of
// an array have the name of the array.
type scalar struct {
	path       string
	start, end int
	value      any
}

// isText says whether the value is text that names something.
func (s scalar) isText() bool {
	text, ok := s.value.(string)
	return ok && text != "" && text != "<NA>" && text != "host"
}

// scan lists the scalars of a JSON text in order.
func scan(body []byte) ([]scalar, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var found []scalar
	var value func(path string) error
	value = func(path string) error {
		before := int(d.InputOffset())
		token, err := d.Token()
		if err != nil {
			return err
		}
		delim, nested := token.(json.Delim)
		if !nested {
			gap := len(body[before:]) - len(bytes.TrimLeft(body[before:], ":, \t\r\n"))
			found = append(found, scalar{path: path, start: before + gap, end: int(d.InputOffset()), value: token})
			return nil
		}
		for d.More() {
			inner := path
			if delim == '{' {
				key, err := d.Token()
				if err != nil {
					return err
				}
				name, _ := key.(string)
				inner += "/" + name
			}
			if err := value(inner); err != nil {
				return err
			}
		}
		_, err = d.Token() // the closing one
		return err
	}
	return found, value("")
}

func quote(s string) string {
	b, _ := json.Marshal(s) // text is always encoded
	return string(b)
}
