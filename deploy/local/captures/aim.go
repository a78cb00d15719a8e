package captures

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
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

const (
	// shortID is how many digits of a container's id Falco writes.
	shortID = 12
	// timeLayout is how Falcosidekick writes times: nine digits always.
	timeLayout = "2006-01-02T15:04:05.000000000Z07:00"
)

var (
	evtTime = regexp.MustCompile(`("evt\.time":)\d+`)
	command = regexp.MustCompile(`( command=[^ "]+)`)
)

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
	if !a.Time.IsZero() {
		e.time(c, out, a.Time.UTC())
	}
	if a.Target != nil {
		if err := e.target(c, *a.Target); err != nil {
			return Capture{}, nil, fmt.Errorf("aim capture %s: %w", c.Name, err)
		}
	}
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

func (e *editor) time(c, out Capture, now time.Time) {
	text := now.Format(timeLayout)
	e.note("time", c.Alert.Time, text)
	out.Header.Set("Ce-Time", text)
	e.field("time", c.Alert.Time, text)
	nanos := strconv.FormatInt(now.UnixNano(), 10)
	e.body = evtTime.ReplaceAll(e.body, []byte("${1}"+nanos))
}

func (e *editor) target(c Capture, t Target) error {
	pod, namespace, container := c.Alert.Field("k8s.pod.name"), c.Alert.Field("k8s.ns.name"), c.Alert.Field("container.id")
	if pod == "" || namespace == "" {
		return errors.New("it is about no pod")
	}
	if len(t.ContainerID) < shortID {
		return fmt.Errorf("the container id of pod %s/%s is %q: the pod does not run yet", t.Namespace, t.Name, t.ContainerID)
	}
	// The longer id first: the shorter is its beginning.
	if full := c.Alert.Field("container.full_id"); full != "" {
		e.note("container.full_id", full, t.ContainerID)
		e.field("container.full_id", full, t.ContainerID)
	}
	if uid := c.Alert.Field("k8s.pod.uid"); uid != "" {
		e.note("k8s.pod.uid", uid, t.UID)
		e.field("k8s.pod.uid", uid, t.UID)
	}
	e.named("k8s.pod.name", "k8s_pod_name=", pod, t.Name)
	e.named("k8s.ns.name", "k8s_ns_name=", namespace, t.Namespace)
	// The sandbox of a pod has an id of its own, which the API server does not tell.
	if container != "" && container != c.Alert.Field("k8s.pod.sandbox_id") {
		e.named("container.id", "container_id=", container, t.ContainerID[:shortID])
	}
	return nil
}

// named replaces a value in its field and in the rendered output.
func (e *editor) named(field, inOutput, from, to string) {
	e.note(field, from, to)
	e.field(field, from, to)
	e.body = replaceAll(e.body, inOutput, from, to)
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

func regexpLiteral(s string) string { return regexp.MustCompile(`\$`).ReplaceAllString(s, "$$$$") }
