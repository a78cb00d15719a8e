// Package flow puts together, from what the Broker reports, the story of each alert:
// which triggers took it, how each call of a function went, what the function did, and
// where its outcome went next.
package flow

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/deploy/local/captures"
	"github.com/riposte-dev/riposte/triggers"
)

// maxAlerts is how many alerts are kept.
const maxAlerts = 200

// Alert is one event that came in from outside, and all that followed.
type Alert struct {
	ID          string    `json:"id"`
	At          time.Time `json:"at"`
	EventID     string    `json:"eventId"`
	Type        string    `json:"type"`
	Source      string    `json:"source"`
	Rule        string    `json:"rule"`
	Priority    string    `json:"priority"`
	EventSource string    `json:"eventSource"`
	AlertTime   string    `json:"alertTime"`
	Pod         string    `json:"pod"`
	Output      string    `json:"output"`
	// Sent is set for alerts that this program has sent itself.
	Sent *Sent `json:"sent,omitempty"`
	Passage
}

// Sent says from what an alert was made.
type Sent struct {
	At      time.Time         `json:"at"`
	Capture string            `json:"capture"`
	Title   string            `json:"title"`
	Expect  string            `json:"expect,omitempty"`
	Changes []captures.Change `json:"changes"`
}

// Passage is one way through the Broker.
type Passage struct {
	Decisions  []Decision  `json:"decisions"`
	Deliveries []*Delivery `json:"deliveries"`
}

// Decision is whether a trigger took the event, and if not, why.
type Decision struct {
	Trigger  string `json:"trigger"`
	Function string `json:"function"`
	Matched  bool   `json:"matched"`
	Reason   string `json:"reason,omitempty"`
}

// The states of a delivery.
const (
	Calling = "calling"
	Waiting = "waiting" // for the next attempt
	Done    = "done"
	Failed  = "failed" // and not tried again
)

// Delivery is the calls of one function for one trigger.
type Delivery struct {
	Trigger  string   `json:"trigger"`
	Function string   `json:"function"`
	State    string   `json:"state"`
	Calls    []*Call  `json:"calls"`
	Outcome  *Outcome `json:"outcome,omitempty"`
	// DeadLetter says that the event is in the dead-letter sink.
	DeadLetter bool `json:"deadLetter"`
	// Next is the way of the outcome through the Broker.
	Next *Passage `json:"next,omitempty"`
}

// Call is one attempt. Times are milliseconds.
type Call struct {
	Number int     `json:"number"`
	Start  float64 `json:"start"` // since the alert was sent
	Took   float64 `json:"took"`
	Status int     `json:"status"` // 0 while it lasts
	Answer string  `json:"answer,omitempty"`
	Again  float64 `json:"again,omitempty"` // until the next attempt
}

// Outcome is what a function did, in the words of its outcome event.
type Outcome struct {
	EventID string          `json:"eventId"`
	Outcome string          `json:"outcome"`
	Reason  string          `json:"reason"`
	Message string          `json:"message"`
	Target  *Target         `json:"target,omitempty"`
	DryRun  bool            `json:"dryRun"`
	Changes json.RawMessage `json:"changes,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
	// Took is the function's own time, At the time since the alert was sent.
	Took float64 `json:"took"`
	At   float64 `json:"at"`
}

// Target is the object that was acted on.
type Target struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
}

// Store is the alerts of this run.
type Store struct {
	onChange func(id string, alert Alert)
	onDrop   func(id string)

	mu       sync.Mutex
	alerts   []*Alert
	passages map[string]place
	sent     map[string]Sent
	changed  chan struct{}
}

// place is where an event of the Broker stands.
type place struct {
	alert   *Alert
	passage *Passage
}

// NewStore returns an empty store. The functions are called with a copy of each alert
// that has changed and for each that is forgotten; they may be nil.
func NewStore(onChange func(id string, alert Alert), onDrop func(id string)) *Store {
	return &Store{
		onChange: onChange, onDrop: onDrop, passages: map[string]place{}, sent: map[string]Sent{}, changed: make(chan struct{}),
	}
}

// Hooks returns the hooks for the Broker.
func (s *Store) Hooks() broker.Hooks {
	return broker.Hooks{Accepted: s.accepted, Calling: s.calling, Delivered: s.delivered, DeadLettered: s.deadLettered}
}

// Expect notes from what the event with this id is made, before it is sent.
func (s *Store) Expect(eventID string, sent Sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[eventID] = sent
}

// Find returns a copy of the alert with this event id.
func (s *Store) Find(eventID string) (Alert, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.alerts {
		if a.EventID == eventID {
			return a.clone(), true
		}
	}
	return Alert{}, false
}

// Changed returns a channel that is closed at the next change.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// change tells of a change of the alert and gives up the lock.
func (s *Store) change(a *Alert) {
	close(s.changed)
	s.changed = make(chan struct{})
	copied := a.clone()
	s.mu.Unlock()
	if s.onChange != nil {
		s.onChange(a.ID, copied)
	}
}

func (s *Store) accepted(e broker.Accepted) {
	passage := Passage{Deliveries: []*Delivery{}, Decisions: make([]Decision, 0, len(e.Decisions))}
	for _, d := range e.Decisions {
		passage.Decisions = append(passage.Decisions, Decision{d.Trigger, d.Function, d.Matched, d.Reason})
	}
	s.mu.Lock()
	if parent, ok := s.passages[e.Parent]; ok && e.Parent != "" {
		for _, d := range parent.passage.Deliveries {
			if d.Outcome != nil && d.Outcome.EventID == e.Event.ID() && d.Next == nil {
				d.Next = &passage
				s.passages[e.Key] = place{parent.alert, d.Next}
				s.change(parent.alert)
				return
			}
		}
	}
	a := newAlert(e, passage)
	if sent, ok := s.sent[a.EventID]; ok {
		a.Sent, a.At = &sent, sent.At
		delete(s.sent, a.EventID)
	}
	s.alerts = append(s.alerts, a)
	s.passages[e.Key] = place{a, &a.Passage}
	var dropped string
	if len(s.alerts) > maxAlerts {
		dropped = s.alerts[0].ID
		gone := s.alerts[0]
		s.alerts = slices.Delete(s.alerts, 0, 1)
		for key, p := range s.passages {
			if p.alert == gone {
				delete(s.passages, key)
			}
		}
	}
	s.change(a)
	if dropped != "" && s.onDrop != nil {
		s.onDrop(dropped)
	}
}

func newAlert(e broker.Accepted, passage Passage) *Alert {
	a := &Alert{
		ID: e.Key, At: e.At, EventID: e.Event.ID(), Type: e.Event.Type(), Source: e.Event.Source(),
		Rule: extension(e.Event, "rule"), Priority: extension(e.Event, "priority"), EventSource: extension(e.Event, "eventsource"),
		Passage: passage,
	}
	var alert captures.Alert
	if err := json.Unmarshal(e.Event.Data(), &alert); err == nil { // Else it is no alert of Falco.
		a.AlertTime, a.Output = alert.Time, alert.Output
		if pod := alert.Field("k8s.pod.name"); pod != "" {
			a.Pod = alert.Field("k8s.ns.name") + "/" + pod
		}
	}
	return a
}

func extension(e event.Event, name string) string {
	value, _ := e.Extensions()[name].(string)
	return value
}

func (s *Store) calling(c broker.Attempt) {
	s.mu.Lock()
	at, ok := s.passages[c.Key]
	if !ok {
		s.mu.Unlock()
		return
	}
	d := at.passage.delivery(c.Trigger)
	if d == nil {
		d = &Delivery{Trigger: c.Trigger, Function: c.Function}
		at.passage.Deliveries = append(at.passage.Deliveries, d)
	}
	d.State = Calling
	d.Calls = append(d.Calls, &Call{Number: c.Number, Start: ms(c.At.Sub(at.alert.At))})
	s.change(at.alert)
}

func (s *Store) delivered(b broker.Delivery) {
	s.mu.Lock()
	at, ok := s.passages[b.Key]
	d := (*Delivery)(nil)
	if ok {
		d = at.passage.delivery(b.Trigger)
	}
	if d == nil || len(d.Calls) == 0 {
		s.mu.Unlock()
		return
	}
	call := d.Calls[len(d.Calls)-1]
	call.Status, call.Took, call.Answer = b.Status, ms(b.Duration), b.Answer
	switch {
	case b.Again:
		d.State, call.Again = Waiting, ms(b.In)
	case b.Status/100 == 2:
		d.State = Done
	default:
		d.State = Failed
	}
	if b.Reply != nil && b.Reply.Type() == triggers.TypeOutcome {
		d.Outcome = newOutcome(b, at.alert.At)
	}
	s.change(at.alert)
}

func newOutcome(b broker.Delivery, start time.Time) *Outcome {
	var data struct {
		Reason  string          `json:"reason"`
		Message string          `json:"message"`
		DryRun  bool            `json:"dry_run"`
		Target  *Target         `json:"target"`
		Changes json.RawMessage `json:"changes"`
		Details json.RawMessage `json:"details"`
		Timings struct {
			Response float64 `json:"response_ms"`
		} `json:"timings"`
	}
	o := &Outcome{
		EventID: b.Reply.ID(), Outcome: extension(*b.Reply, "outcome"), At: ms(b.At.Add(b.Duration).Sub(start)), Took: ms(b.Duration),
	}
	if err := json.Unmarshal(b.Reply.Data(), &data); err != nil {
		o.Message = "its data cannot be read: " + err.Error()
		return o
	}
	o.Reason, o.Message, o.DryRun, o.Target, o.Changes, o.Details = data.Reason, data.Message, data.DryRun, data.Target, data.Changes, data.Details
	if data.Timings.Response > 0 {
		o.Took = data.Timings.Response
	}
	return o
}

func (s *Store) deadLettered(b broker.DeadLetter) {
	s.mu.Lock()
	at, ok := s.passages[b.Key]
	if !ok {
		s.mu.Unlock()
		return
	}
	for _, d := range at.passage.Deliveries {
		if d.State == Failed && (b.Function == "" || d.Function == b.Function) {
			d.DeadLetter = true
		}
	}
	s.change(at.alert)
}

func (p *Passage) delivery(trigger string) *Delivery {
	for _, d := range p.Deliveries {
		if d.Trigger == trigger {
			return d
		}
	}
	return nil
}

func (a *Alert) clone() Alert {
	out := *a
	out.Passage = *a.Passage.clone()
	return out
}

func (p *Passage) clone() *Passage {
	if p == nil {
		return nil
	}
	out := &Passage{Decisions: p.Decisions, Deliveries: make([]*Delivery, 0, len(p.Deliveries))}
	for _, d := range p.Deliveries {
		copied := *d
		copied.Calls = make([]*Call, 0, len(d.Calls))
		for _, c := range d.Calls {
			call := *c
			copied.Calls = append(copied.Calls, &call)
		}
		copied.Next = d.Next.clone()
		out.Deliveries = append(out.Deliveries, &copied)
	}
	return out
}

// Settled says that nothing of the alert's story is under way any more.
func (p *Passage) Settled() bool {
	matched := 0
	for _, d := range p.Decisions {
		if d.Matched {
			matched++
		}
	}
	if len(p.Deliveries) < matched {
		return false
	}
	for _, d := range p.Deliveries {
		if d.State == Calling || d.State == Waiting || (d.Outcome != nil && (d.Next == nil || !d.Next.Settled())) {
			return false
		}
	}
	return true
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
