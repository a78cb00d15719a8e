package response

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/falco"
)

// Event is one event as an adapter received it.
type Event struct {
	ID   string
	Type string
	Data []byte
	// Hops is how many functions answered one another up to this event: 0 for an alert.
	Hops int
}

// MaxHops is how many functions may answer one another: an alert's outcome is the first. More than that is a loop that
// somebody's Triggers make.
const MaxHops = 8

// AlertGuard is a guardrail that looks at the alert alone. A non-nil Outcome stops the response.
type AlertGuard interface {
	CheckAlert(alert falco.Alert, now time.Time) *Outcome
}

// TargetGuard is a guardrail that looks at the alert and its target. A non-nil Outcome stops the response.
type TargetGuard interface {
	CheckTarget(ctx context.Context, alert falco.Alert, target Target) *Outcome
}

// Function is a response with everything around it. It is safe for concurrent use.
type Function struct {
	Name      string
	Version   string
	Activity  Activity
	Responder Responder
	// Alerts and Targets are the guardrails, in order.
	Alerts  []AlertGuard
	Targets []TargetGuard
	Repeats Repeats
	// Redaction is what is left out of outcomes.
	Redaction Redaction
	// Tells says that the response tells people: it sees alerts and outcomes redacted.
	Tells bool
	// DryRun says that Responder was built to change nothing.
	DryRun bool
	// Timeout bounds one event; what is not done by then is Transient.
	Timeout time.Duration
	Log     *slog.Logger
	Observe func(Observation)
	Now     func() time.Time

	recent   recent
	measured sync.Once
	measures []d3fend
}

// Observation is one handled event, for metrics.
type Observation struct {
	Function  string
	Outcome   Verdict // empty where Err is set
	Reason    Reason
	Guardrail string // the guardrail that refused
	Err       error
	Duration  time.Duration
	// AlertAge is how long after the system call the event arrived; zero if the event was not readable.
	AlertAge time.Duration
}

// Handle takes one event through decoding, guardrails and the response. It returns nil
// and no error where there is nothing to publish: a function's own outcome that came back to it.
func (f *Function) Handle(ctx context.Context, e Event) (*Record, error) {
	a, err := f.Answer(ctx, e)
	return a.Record, err
}

// Answer is what Handle comes to, with what is known of it already.
type Answer struct {
	*Record

	f     *Function
	again *remembered
}

// Event is the outcome event. It may be the answer to others, too: who changes it changes a copy. Its data may be in room,
// which is the caller's, and may be nil: the event is good for as long as nobody else writes there.
func (a Answer) Event(room []byte) (event.Event, error) {
	switch {
	case a.again != nil:
		return a.f.recent.publish(a.again, a.Record)
	case room != nil:
		return a.eventIn(room)
	}
	return a.Record.Event()
}

// Answer is Handle for those who publish the outcome.
func (f *Function) Answer(ctx context.Context, e Event) (Answer, error) {
	received := f.Now().UTC()
	h := handling{f: f, received: received, hops: e.Hops}
	record, err := h.run(ctx, e)
	if err == nil && record == nil {
		return Answer{}, nil
	}
	if record != nil && record.Hops != h.hops+1 { // One that is given again has the hops of the first time, and would go around without an end.
		record = record.after(h.hops)
	}
	h.report(ctx, e, record, err)
	return Answer{record, f, h.again}, err
}

// handling is one event on its way.
type handling struct {
	f        *Function
	received time.Time
	hops     int
	alert    falco.Alert
	// alertID is the alert's ID. eventID identifies what is answered, however it came: that, or the outcome's. eventKey is its name in
	// the store.
	alertID, eventID, eventKey string
	guardrail                  string
	// again is what this process remembers of the same event, where it is answered with that.
	again *remembered
}

// is says what is answered.
func (h *handling) is(alert falco.Alert, id string) {
	h.alert, h.alertID, h.eventID, h.eventKey = alert, "", id, h.f.key("event", id)
}

// isItself says that it is the alert, by whatever way it came.
func (h *handling) isItself(alert falco.Alert) {
	id := alert.ID()
	h.is(alert, id)
	h.alertID = id
}

func (h *handling) run(ctx context.Context, e Event) (record *Record, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.f.Log.ErrorContext(ctx, "response panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			record, err = nil, errors.New("internal error")
		}
	}()
	types := h.f.Types()
	if !slices.Contains(types, e.Type) {
		return nil, InvalidError(fmt.Errorf("event type is %q: want %s", e.Type, strings.Join(types, " or ")))
	}
	if e.Hops >= MaxHops {
		return nil, endless(e.Hops)
	}
	r, other := h.f.Responder.(EventResponder)
	isAlert := !other && e.Type != TypeOutcome
	if isAlert {
		if record, err := h.runAlert(e.Data); record != nil || err != nil {
			return record, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, h.f.Timeout)
	defer cancel()
	switch {
	case other:
		return h.runEvent(ctx, r, e)
	case isAlert:
		return h.proceed(ctx)
	}
	return h.runOutcome(ctx, e.Data)
}

// runEvent hands over an event that is neither an alert nor an outcome.
func (h *handling) runEvent(ctx context.Context, r EventResponder, e Event) (*Record, error) {
	alert, o, err := r.RespondEvent(ctx, e)
	if err != nil || o == nil {
		return nil, err
	}
	h.is(alert, e.ID)
	record := h.record(h.declined("response", *o, o.Target))
	(&attempt{handling: h}).announce(ctx, record)
	return record, nil
}

// runAlert answers an alert that nobody has to be asked about; both are nil for the others.
func (h *handling) runAlert(data []byte) (*Record, error) {
	alert, err := falco.Decode(data)
	if err != nil {
		return nil, InvalidError(err)
	}
	h.isItself(alert)
	if o := h.checkAlert(); o != nil {
		return h.record(*o), nil
	}
	record, _ := h.recalled()
	return record, nil
}

// respond runs the guardrails in their order, then the response: docs/safety.md.
func (h *handling) respond(ctx context.Context) (*Record, error) {
	if o := h.checkAlert(); o != nil {
		return h.record(*o), nil
	}
	return h.proceed(ctx)
}

// proceed goes on with a sane alert.
func (h *handling) proceed(ctx context.Context) (*Record, error) {
	f := h.f
	if record, err := h.remembered(ctx); record != nil || err != nil {
		return record, err
	}
	if d, ok := f.Responder.(Deferrer); ok {
		if err := d.Defer(ctx, h.alert, h.received); err != nil {
			return h.deferred(ctx, err)
		}
	}
	var target Target
	if t, ok := f.Responder.(Targeter); ok {
		found, declined, err := t.Target(ctx, h.alert)
		if err != nil {
			return nil, err
		}
		target = found
		if declined != nil {
			return h.missing(ctx, *declined, target)
		}
	}
	for _, g := range f.Targets {
		if o := g.CheckTarget(ctx, h.alert, target); o != nil {
			return h.record(h.declined("condition", *o, target)), nil
		}
	}
	return h.once(ctx, target, func(ctx context.Context) (Outcome, error) { return f.Responder.Respond(ctx, f.shown(h.alert)) })
}

func (h *handling) checkAlert() *Outcome {
	for _, g := range h.f.Alerts {
		if o := g.CheckAlert(h.alert, h.received); o != nil {
			refused := h.declined("sane-alert", *o, Target{})
			return &refused
		}
	}
	return nil
}

// declined notes who refused, and gives an outcome without a target the one that was found.
func (h *handling) declined(guardrail string, o Outcome, target Target) Outcome {
	if o.Verdict == Refused {
		h.guardrail = guardrail
	}
	if o.Target.Name == "" {
		o.Target = target
	}
	return o
}

func (h *handling) runOutcome(ctx context.Context, data []byte) (*Record, error) {
	cause, err := DecodeRecord(data)
	if err != nil {
		return nil, InvalidError(err)
	}
	// Not every way keeps the attributes of an event, so its data says the same.
	if h.hops = max(h.hops, cause.Hops); h.hops >= MaxHops {
		return nil, endless(h.hops)
	}
	if cause.Response == h.f.Name {
		return nil, nil //nolint:nilnil // Answering our own outcome with another would never end.
	}
	// The alert guardrails are not asked again: the function that made the outcome did, and its very refusal of an
	// old or odd alert is what people must hear of.
	h.is(cause.Alert, cause.ID)
	if h.alert.IsCanary() { // The one thing that no function acts on, nor tells anybody of.
		return h.record(Skip(Canary, "%s answered a canary", cause.Response)), nil
	}
	switch r := h.f.Responder.(type) {
	case Follower:
		if o := r.Follow(ctx, cause); o != nil {
			return h.record(*o), nil
		}
		// The same as if the alert had come by itself: one claim for both.
		h.isItself(cause.Alert) // Not what the outcome says: anybody may have written that.
		return h.respond(context.WithValue(ctx, causeKey{}, &cause))
	case OutcomeResponder:
		return h.tell(ctx, r, cause)
	}
	return nil, fmt.Errorf("%s takes no outcomes", h.f.Name)
}

// tell hands an outcome to a response that acts on it.
func (h *handling) tell(ctx context.Context, r OutcomeResponder, cause Record) (*Record, error) {
	for _, g := range h.f.Targets {
		if o := g.CheckTarget(ctx, h.alert, Target{}); o != nil {
			return h.record(h.declined("condition", *o, Target{})), nil
		}
	}
	if record, err := h.remembered(ctx); record != nil || err != nil {
		return record, err
	}
	return h.once(ctx, Target{}, func(ctx context.Context) (Outcome, error) {
		shown := cause
		if h.f.Tells {
			shown = h.f.Redaction.Apply(cause)
		}
		o, err := r.RespondOutcome(ctx, shown)
		if err == nil && o.Target.Name == "" && cause.Target != nil {
			o.Target = *cause.Target
		}
		return o, err
	})
}

func (h *handling) record(o Outcome) *Record {
	if h.f.DryRun && o.Verdict == Applied {
		o.Verdict = DryRun
	}
	if h.alertID == "" {
		h.alertID = h.alert.ID()
	}
	r := h.f.newRecord(h.alert, h.alertID, o, h.received)
	r.Hops = h.hops + 1
	return r
}

// shown is the alert as the response sees it.
func (f *Function) shown(a falco.Alert) falco.Alert {
	if f.Tells {
		return f.Redaction.Alert(a)
	}
	return a
}

// Types are the event types this function takes; the first is that of a body without an envelope.
func (f *Function) Types() []string {
	switch r := f.Responder.(type) {
	case EventResponder:
		return r.Types()
	case OutcomeResponder, Follower:
		return []string{falco.TypeFalcosidekick, falco.TypeRiposte, TypeOutcome}
	}
	return []string{falco.TypeFalcosidekick, falco.TypeRiposte}
}

// report writes the one log line of an alert and its metrics.
func (h *handling) report(ctx context.Context, e Event, record *Record, err error) {
	f := h.f
	obs := Observation{Function: f.Name, Err: err, Guardrail: h.guardrail, Duration: f.Now().Sub(h.received)}
	if !h.alert.Time.IsZero() {
		obs.AlertAge = h.received.Sub(h.alert.Time)
	}
	const most = 12
	attrs := append(make([]slog.Attr, 0, most),
		slog.String("response", f.Name), slog.String("event_id", e.ID), slog.Duration("duration", obs.Duration))
	if h.alert.Rule != "" { // else it could not be read
		attrs = append(attrs, slog.String("rule", h.alert.Rule), slog.String("priority", h.alert.Priority.String()))
	}
	if err != nil {
		attrs = append(attrs, slog.String("kind", KindOf(err).String()), slog.String("error", err.Error()))
		f.line(ctx, slog.LevelError, "response failed", attrs)
	} else {
		obs.Outcome, obs.Reason = record.Outcome, record.Reason
		attrs = append(attrs, slog.String("alert_id", record.AlertID), slog.String("outcome", string(record.Outcome)),
			slog.String("reason", string(record.Reason)), slog.String("message", record.Message), slog.Bool("dry_run", record.DryRun))
		if record.Target != nil {
			attrs = append(attrs, slog.String("target", record.Target.Subject()), slog.String("uid", record.Target.UID))
		}
		f.line(ctx, slog.LevelInfo, "response", attrs)
	}
	f.Observe(obs)
}

// line is Logger.LogAttrs without looking for the line of code that calls it, which nobody writes down.
func (f *Function) line(ctx context.Context, level slog.Level, message string, attrs []slog.Attr) {
	if !f.Log.Enabled(ctx, level) {
		return
	}
	r := slog.NewRecord(time.Now(), level, message, 0)
	r.AddAttrs(attrs...)
	_ = f.Log.Handler().Handle(ctx, r) // As in package slog, there is nowhere to say that it failed.
}
