package captures

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/riposte-dev/riposte/shared/retarget"
)

// Target is a pod that an alert can be about.
type Target struct {
	Namespace   string
	Name        string
	UID         string
	ContainerID string // without the runtime's scheme, 64 digits
}

// Aim says what a capture is to be made into.
type Aim struct {
	// ID is the id of the event. It must not be empty.
	ID string
	// Time is when the alert happened; the zero time leaves that of the capture.
	Time time.Time
	// Target is the pod the alert is about; nil leaves that of the capture.
	Target *Target
	// Rule replaces the rule's name, for rules of which there is no capture.
	Rule string
	// Note is added to the command in the rendered output, where an attacker writes.
	Note string
}

// Change is one value that was replaced.
type Change struct {
	What string `json:"what"`
	From string `json:"from"`
	To   string `json:"to"`
}

// shortID is how many digits of a container's id Falco writes.
const shortID = 12

var command = regexp.MustCompile(`( command=[^ "]+)`)

// Aim returns the capture with what Aim names replaced, and the list of what was. It
// fails if the capture is about no pod and a target is named.
func (c Capture) Aim(a Aim) (Capture, []Change, error) {
	if a.ID == "" {
		return Capture{}, nil, errors.New("aim capture: the event's id is empty")
	}
	out := Capture{Name: c.Name, Header: c.Header.Clone(), Body: append([]byte(nil), c.Body...)}
	changes := []Change{{"event id", c.Header.Get("Ce-Id"), a.ID}}
	out.Header.Set("Ce-Id", a.ID)
	// The length follows from the body.
	out.Header.Del("Content-Length")
	e := editor{body: out.Body, changes: changes}
	var values retarget.Values
	if a.Target != nil {
		var err error
		if values, err = valuesFor(c, *a.Target); err != nil {
			return Capture{}, nil, fmt.Errorf("aim capture %s: %w", c.Name, err)
		}
	}
	if values.Time = a.Time; !a.Time.IsZero() {
		out.Header.Set("Ce-Time", values.TimeText())
	}
	e.values(values)
	if a.Rule != "" {
		e.note("rule", c.Alert.Rule, a.Rule)
		out.Header.Set("Ce-Rule", a.Rule)
		e.field("rule", c.Alert.Rule, a.Rule)
	}
	if a.Note != "" {
		e.note("text in the output", "", a.Note)
		quoted := quote(a.Note)
		e.body = command.ReplaceAll(e.body, []byte("${1} "+regexpLiteral(quoted[1:len(quoted)-1])))
	}
	out.Body = e.body
	if err := json.Unmarshal(out.Body, &out.Alert); err != nil {
		return Capture{}, nil, fmt.Errorf("aim capture %s: %w", c.Name, err)
	}
	return out, e.changes, nil
}

// editor replaces text in a body and notes what it did.
type editor struct {
	body    []byte
	changes []Change
}

func (e *editor) note(what, from, to string) {
	if from != to {
		e.changes = append(e.changes, Change{what, from, to})
	}
}

// values replaces time and pod in the fields, and the pod in the rendered output too, where a reader of the page
// compares them.
func (e *editor) values(v retarget.Values) {
	var changes []retarget.Change
	e.body, changes = retarget.Body(e.body, v)
	inOutput := map[string]string{"k8s.pod.name": "k8s_pod_name=", "k8s.ns.name": "k8s_ns_name=", "container.id": "container_id="}
	for _, c := range changes {
		from, to := unquote(c.From), unquote(c.To)
		if c.Field != "evt.time" { // the time again, as a number
			e.note(c.Field, from, to)
		}
		if prefix := inOutput[c.Field]; prefix != "" {
			e.body = replaceAll(e.body, prefix, from, to)
		}
	}
}

// valuesFor checks that the capture can be aimed at the pod.
func valuesFor(c Capture, t Target) (retarget.Values, error) {
	if c.Alert.Field("k8s.pod.name") == "" || c.Alert.Field("k8s.ns.name") == "" {
		return retarget.Values{}, errors.New("it is about no pod")
	}
	if len(t.ContainerID) < shortID {
		return retarget.Values{}, fmt.Errorf("the container id of pod %s/%s is %q: the pod does not run yet", t.Namespace, t.Name, t.ContainerID)
	}
	return retarget.Values{Namespace: t.Namespace, Pod: t.Name, ContainerID: t.ContainerID, UID: t.UID}, nil
}

// field replaces the value of a string field. The keys are those of Falco, which no
// other part of the body holds in this form: quotes inside of strings are escaped.
func (e *editor) field(name, from, to string) {
	e.body = replaceAll(e.body, quote(name)+":", quote(from), quote(to))
}

// quote is how Falcosidekick writes a string.
func quote(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil { // A string always has a form in JSON.
		return strconv.Quote(s)
	}
	return string(quoted)
}

// unquote is a JSON value as text: that of a string, or a number as it stands.
func unquote(s string) string {
	var text string
	if json.Unmarshal([]byte(s), &text) != nil {
		return s
	}
	return text
}

func regexpLiteral(s string) string { return regexp.MustCompile(`\$`).ReplaceAllString(s, "$$$$") }
