package response_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// now is the test's clock: a second after the captures' alerts.
var now = time.Date(2026, 1, 1, 0, 0, 1, 123456789, time.UTC)

// cart is the pod all responses of these tests act on.
var cart = response.Target{
	Kind: "Pod", Resource: "pods", Namespace: "shop", Name: "cart-0", UID: "u-1", Facts: map[string]any{"namespace": "shop"},
}

// quarantine is a small response: it notes what it is called for and answers what the test wants.
type quarantine struct {
	calls   []string
	alert   falco.Alert
	ctx     context.Context
	outcome response.Outcome
	err     error
	respond func(context.Context) (response.Outcome, error)
}

func (q *quarantine) Respond(ctx context.Context, a falco.Alert) (response.Outcome, error) {
	q.calls, q.alert, q.ctx = append(q.calls, "respond"), a, ctx
	if q.respond != nil {
		return q.respond(ctx)
	}
	return q.outcome, q.err
}

// onPod is a response that looks for its target.
type onPod struct {
	*quarantine
	target   func() (response.Target, *response.Outcome, error)
	targeted falco.Alert
}

func (p *onPod) Target(_ context.Context, a falco.Alert) (response.Target, *response.Outcome, error) {
	p.calls, p.targeted = append(p.calls, "target"), a
	if p.target != nil {
		return p.target()
	}
	return cart, nil, nil
}

// follower is a response that takes outcomes too.
type follower struct {
	*quarantine
	cause response.Record
}

func (f *follower) RespondOutcome(ctx context.Context, r response.Record) (response.Outcome, error) {
	f.calls, f.cause = append(f.calls, "respond to outcome"), r
	if f.respond != nil {
		return f.respond(ctx)
	}
	return f.outcome, f.err
}

// watched is a guardrail that notes when it is asked.
type watched struct {
	name    string
	calls   *[]string
	outcome *response.Outcome
}

func (w watched) CheckAlert(falco.Alert, time.Time) *response.Outcome {
	*w.calls = append(*w.calls, w.name)
	return w.outcome
}

func (w watched) CheckTarget(context.Context, falco.Alert, response.Target) *response.Outcome {
	*w.calls = append(*w.calls, w.name)
	return w.outcome
}

// observed is a function with its log and its observations.
type observed struct {
	*response.Function
	log  *bytes.Buffer
	seen []response.Observation
}

func wrap(r response.Responder) *observed {
	o := &observed{log: &bytes.Buffer{}}
	o.Function = &response.Function{
		Name: "quarantine", Version: "v1", Activity: response.Isolate, Responder: r, Timeout: time.Minute,
		Log: slog.New(slog.NewJSONHandler(o.log, nil)), Observe: func(seen response.Observation) { o.seen = append(o.seen, seen) },
		Now: func() time.Time { return now },
	}
	return o
}

// lines are the log lines with these messages.
func (o *observed) lines(t *testing.T, messages ...string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(o.log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if message, _ := entry["msg"].(string); slices.Contains(messages, message) {
			found = append(found, entry)
		}
	}
	return found
}

func alertEvent(tb testing.TB, capture string) response.Event {
	tb.Helper()
	body, err := io.ReadAll(testkit.Find(tb, capture).Webhook(tb, "").Body)
	if err != nil {
		tb.Fatal(err)
	}
	return response.Event{ID: "e-1", Type: falco.TypeFalcosidekick, Data: body}
}

// outcomeEvent is what a function of another name answers to capture 01.
func outcomeEvent(tb testing.TB, function string) (response.Event, response.Record) {
	tb.Helper()
	f := wrap(&onPod{quarantine: &quarantine{outcome: response.Outcome{Verdict: response.Applied, Message: "done"}}})
	f.Name = function
	record, err := f.Handle(tb.Context(), alertEvent(tb, "01"))
	if err != nil {
		tb.Fatal(err)
	}
	e, err := record.Event()
	if err != nil {
		tb.Fatal(err)
	}
	return response.Event{ID: e.ID(), Type: e.Type(), Data: e.Data()}, *record
}

func TestHandleAsksGuardrailsInOrder(t *testing.T) {
	refusal := response.Refuse(response.ConditionFalse, "no")
	declined := response.Refuse(response.ProtectedNamespace, "no")
	gone := response.Skip(response.Gone, "gone")
	cases := map[string]struct {
		alert, condition *response.Outcome
		target           func() (response.Target, *response.Outcome, error)
		outcome          response.Outcome
		err              error

		calls     []string
		verdict   response.Verdict
		reason    response.Reason
		guardrail string
		on        string
	}{
		"everything allows it": {
			outcome: response.Outcome{Verdict: response.Applied},
			calls:   []string{"alert 1", "alert 2", "target", "condition 1", "condition 2", "respond"},
			verdict: response.Applied, on: "namespaces/shop/pods/cart-0",
		},
		"the alert is refused before the target is looked for": {
			alert: &refusal, calls: []string{"alert 1"}, verdict: response.Refused, reason: response.ConditionFalse, guardrail: "sane-alert",
		},
		"a protected target is refused before the condition": {
			target:  func() (response.Target, *response.Outcome, error) { return cart, &declined, nil },
			calls:   []string{"alert 1", "alert 2", "target"},
			verdict: response.Refused, reason: response.ProtectedNamespace, guardrail: "protected", on: "namespaces/shop/pods/cart-0",
		},
		"a target that is gone is no guardrail's doing": {
			target:  func() (response.Target, *response.Outcome, error) { return response.Target{}, &gone, nil },
			calls:   []string{"alert 1", "alert 2", "target"},
			verdict: response.Skipped, reason: response.Gone,
		},
		"the condition refuses before the response": {
			condition: &refusal, calls: []string{"alert 1", "alert 2", "target", "condition 1"},
			verdict: response.Refused, reason: response.ConditionFalse, guardrail: "condition", on: "namespaces/shop/pods/cart-0",
		},
		"the response itself refuses": {
			outcome: response.Refuse(response.StandalonePod, "no"),
			calls:   []string{"alert 1", "alert 2", "target", "condition 1", "condition 2", "respond"},
			verdict: response.Refused, reason: response.StandalonePod, guardrail: "response", on: "namespaces/shop/pods/cart-0",
		},
		"the response acts on another target": {
			outcome: response.Outcome{Verdict: response.Applied, Target: response.Target{Kind: "Node", Resource: "nodes", Name: "n1"}},
			calls:   []string{"alert 1", "alert 2", "target", "condition 1", "condition 2", "respond"},
			verdict: response.Applied, on: "nodes/n1",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			q := &quarantine{outcome: c.outcome, err: c.err}
			f := wrap(&onPod{quarantine: q, target: c.target})
			f.Alerts = []response.AlertGuard{watched{"alert 1", &q.calls, c.alert}, watched{"alert 2", &q.calls, nil}}
			f.Targets = []response.TargetGuard{watched{"condition 1", &q.calls, c.condition}, watched{"condition 2", &q.calls, nil}}
			record, err := f.Handle(t.Context(), alertEvent(t, "01"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.calls, q.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			on := ""
			if record.Target != nil {
				on = record.Target.Subject()
			}
			if record.Outcome != c.verdict || record.Reason != c.reason || on != c.on {
				t.Errorf("%s, %q on %q: want %s, %q on %q", record.Outcome, record.Reason, on, c.verdict, c.reason, c.on)
			}
			want := []response.Observation{{
				Function: "quarantine", Outcome: c.verdict, Reason: c.reason, Guardrail: c.guardrail, AlertAge: time.Second,
			}}
			if diff := cmp.Diff(want, f.seen); diff != "" {
				t.Errorf("observations (-want +got):\n%s", diff)
			}
			if lines := f.lines(t, "response"); len(lines) != 1 || lines[0]["outcome"] != string(c.verdict) || lines[0]["rule"] != "Terminal shell in container" {
				t.Errorf("log: %v", lines)
			}
		})
	}
}

// The real guardrails, on the real alerts.
func TestHandleWithRealGuardrails(t *testing.T) {
	var when guard.Condition
	if err := when.UnmarshalText([]byte(`alert.rule != "Drop and execute new binary in container" && target.namespace == "shop"`)); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		capture string
		now     time.Time
		reason  response.Reason
	}{
		"an alert a second old":          {"01", now, ""},
		"ten minutes and a second old":   {"01", now.Add(10 * time.Minute), response.TooOld},
		"two minutes ahead":              {"01", now.Add(-2 * time.Minute), response.FromTheFuture},
		"Falcosidekick's test":           {"45", now, response.TestRule},
		"Falco about itself":             {"41", now, response.InternalSource},
		"too little":                     {"34", now, response.BelowMinPriority},
		"one the condition does not let": {"03", now, response.ConditionFalse},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			q := &quarantine{outcome: response.Outcome{Verdict: response.Applied}}
			f := wrap(&onPod{quarantine: q})
			f.Alerts = []response.AlertGuard{guard.Sane{MinPriority: falco.Informational, MaxAge: 10 * time.Minute}}
			f.Targets = []response.TargetGuard{when}
			f.Now = func() time.Time { return c.now }
			record, err := f.Handle(t.Context(), alertEvent(t, c.capture))
			if err != nil {
				t.Fatal(err)
			}
			if record.Reason != c.reason || slices.Contains(q.calls, "respond") != (c.reason == "") {
				t.Errorf("%s, %q after %v: want %q", record.Outcome, record.Reason, q.calls, c.reason)
			}
		})
	}
}

func TestHandleGivesTheResponderWhatItNeeds(t *testing.T) {
	q := &quarantine{outcome: response.Outcome{Verdict: response.Applied}}
	p := &onPod{quarantine: q}
	f := wrap(p)
	event := alertEvent(t, "01")
	if _, err := f.Handle(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	want, err := falco.Decode(event.Data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, q.alert); diff != "" {
		t.Errorf("alert in Respond (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, p.targeted); diff != "" {
		t.Errorf("alert in Target (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(cart, response.TargetFrom(q.ctx)); diff != "" {
		t.Errorf("target in Respond (-want +got):\n%s", diff)
	}
	if deadline, ok := q.ctx.Deadline(); !ok || time.Until(deadline) > time.Minute {
		t.Errorf("deadline is %s, %v: want one within RESPONSE_TIMEOUT", deadline, ok)
	}
	if got := response.TargetFrom(t.Context()); !cmp.Equal(got, response.Target{}) {
		t.Errorf("outside of Respond the target is %v", got)
	}
	// A large alert reaches the response whole; only what is published is cut.
	large := alertEvent(t, "25")
	large.Data = bytes.Replace(large.Data, []byte(`"output":"`), append([]byte(`"output":"`), bytes.Repeat([]byte("x"), 100<<10)...), 1)
	record, err := f.Handle(t.Context(), large)
	if err != nil {
		t.Fatal(err)
	}
	if len(q.alert.Output) < 100<<10 || len(record.Alert.Output) > 1<<10 || record.AlertID != q.alert.ID() {
		t.Errorf("output has %d bytes in Respond and %d in the outcome", len(q.alert.Output), len(record.Alert.Output))
	}
}

func TestHandleDryRun(t *testing.T) {
	want := map[response.Verdict]response.Verdict{
		response.Applied: response.DryRun, response.DryRun: response.DryRun, response.Unchanged: response.Unchanged,
		response.Skipped: response.Skipped, response.Refused: response.Refused, response.Failed: response.Failed,
	}
	for verdict, relabelled := range want {
		for _, dry := range []bool{false, true} {
			t.Run(fmt.Sprint(verdict, " with dry run ", dry), func(t *testing.T) {
				f := wrap(&follower{quarantine: &quarantine{outcome: response.Outcome{Verdict: verdict}}})
				f.DryRun = dry
				expected := verdict
				if dry {
					expected = relabelled
				}
				outcome, _ := outcomeEvent(t, "other")
				for _, e := range []response.Event{alertEvent(t, "01"), outcome} {
					record, err := f.Handle(t.Context(), e)
					if err != nil {
						t.Fatal(err)
					}
					if record.Outcome != expected || record.DryRun != dry {
						t.Errorf("%s: outcome is %s, dry run %v: want %s", e.Type, record.Outcome, record.DryRun, expected)
					}
				}
			})
		}
	}
}

func TestHandleOutcomes(t *testing.T) {
	other, cause := outcomeEvent(t, "other")
	own, _ := outcomeEvent(t, "quarantine")

	t.Run("another function's outcome is taken", func(t *testing.T) {
		r := &follower{quarantine: &quarantine{outcome: response.Outcome{Verdict: response.Applied, Message: "posted"}}}
		f := wrap(r)
		record, err := f.Handle(t.Context(), other)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(cause, r.cause, cmpopts.IgnoreFields(response.Target{}, "Facts", "Object")); diff != "" {
			t.Errorf("record (-published +received):\n%s", diff)
		}
		if record.AlertID != cause.AlertID || record.Target == nil || record.Target.Subject() != "namespaces/shop/pods/cart-0" || record.ID == cause.ID {
			t.Errorf("record is %+v: want the same alert and target, and another id", record)
		}
	})
	t.Run("its refusal is counted", func(t *testing.T) {
		f := wrap(&follower{quarantine: &quarantine{outcome: response.Refuse(response.ConditionFalse, "no")}})
		if _, err := f.Handle(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if len(f.seen) != 1 || f.seen[0].Guardrail != "response" {
			t.Errorf("observed %+v", f.seen)
		}
	})
	t.Run("the own outcome is dropped without a word", func(t *testing.T) {
		q := &quarantine{}
		f := wrap(&follower{quarantine: q})
		record, err := f.Handle(t.Context(), own)
		if record != nil || err != nil || len(q.calls) > 0 || len(f.seen) > 0 || f.log.Len() > 0 {
			t.Errorf("record %v, error %v, calls %v, observed %v, log %s", record, err, q.calls, f.seen, f.log)
		}
	})
	t.Run("the alert's guardrails are not asked again for an outcome", func(t *testing.T) {
		q := &quarantine{outcome: response.Outcome{Verdict: response.Applied}}
		f := wrap(&follower{quarantine: q})
		f.Alerts = []response.AlertGuard{guard.Sane{MinPriority: falco.Emergency}}
		record, err := f.Handle(t.Context(), other)
		if err != nil || record.Reason == response.BelowMinPriority || len(q.calls) != 1 {
			t.Errorf("record %+v, error %v after %v", record, err, q.calls)
		}
	})
	t.Run("a canary's outcome is nobody's business", func(t *testing.T) {
		q := &quarantine{}
		f := wrap(&follower{quarantine: q})
		canary := other
		canary.Data = bytes.Replace(canary.Data, []byte(`"rule":"`), []byte(`"rule":"`+falco.CanaryRule+`","was":"`), 1)
		record, err := f.Handle(t.Context(), canary)
		if err != nil || record == nil || record.Outcome != response.Skipped || record.Reason != response.Canary || len(q.calls) != 0 {
			t.Errorf("record %+v, error %v after %v", record, err, q.calls)
		}
	})
	t.Run("the condition holds for outcomes", func(t *testing.T) {
		q := &quarantine{}
		f := wrap(&follower{quarantine: q})
		refusal := response.Refuse(response.ConditionFalse, "no")
		f.Targets = []response.TargetGuard{watched{"condition", &q.calls, &refusal}}
		record, err := f.Handle(t.Context(), other)
		if err != nil || record.Reason != response.ConditionFalse || !slices.Equal(q.calls, []string{"condition"}) || f.seen[0].Guardrail != "condition" {
			t.Errorf("record %+v, error %v after %v", record, err, q.calls)
		}
	})
	t.Run("an error of the response is passed on", func(t *testing.T) {
		f := wrap(&follower{quarantine: &quarantine{err: response.TransientError(errors.New("busy"), time.Second)}})
		if record, err := f.Handle(t.Context(), other); record != nil || response.KindOf(err) != response.Transient {
			t.Errorf("record %v, error %v", record, err)
		}
	})
	for name, data := range map[string]string{
		"nothing":                 ``,
		"no object":               `[]`,
		"null":                    `null`,
		"no alert":                `{"response":"other","outcome":"applied"}`,
		"an alert that is null":   `{"response":"other","outcome":"applied","alert":null}`,
		"an alert without a time": `{"response":"other","outcome":"applied","alert":{"rule":"R","priority":"Notice","output_fields":{"a":"b"}}}`,
		"no response":             strings.Replace(string(other.Data), `"response":"other"`, `"response":""`, 1),
		"no outcome":              strings.Replace(string(other.Data), `"outcome":"applied"`, `"outcome":""`, 1),
	} {
		t.Run("data with "+name+" is invalid", func(t *testing.T) {
			q := &quarantine{}
			record, err := wrap(&follower{quarantine: q}).Handle(t.Context(), response.Event{Type: response.TypeOutcome, Data: []byte(data)})
			if record != nil || response.KindOf(err) != response.Invalid || err == nil || len(q.calls) > 0 {
				t.Errorf("record %v, error %v, calls %v", record, err, q.calls)
			}
		})
	}
}

func TestHandleRefusesOtherEvents(t *testing.T) {
	outcome, _ := outcomeEvent(t, "other")
	alert := alertEvent(t, "01")
	answers := func() *quarantine { return &quarantine{outcome: response.Outcome{Verdict: response.Applied}} }
	ofType := func(e response.Event, name string) response.Event { e.Type = name; return e }
	cases := map[string]struct {
		responder response.Responder
		event     response.Event
		invalid   bool
	}{
		"an alert":                                 {answers(), alert, false},
		"an alert of the router":                   {answers(), ofType(alert, falco.TypeRiposte), false},
		"an outcome, where outcomes are taken":     {&follower{quarantine: answers()}, outcome, false},
		"an outcome, where they are not":           {&quarantine{}, outcome, true},
		"an outcome that says it is an alert":      {&follower{quarantine: &quarantine{}}, ofType(outcome, falco.TypeFalcosidekick), true},
		"an alert that says it is an outcome":      {&follower{quarantine: &quarantine{}}, ofType(alert, response.TypeOutcome), true},
		"another type":                             {&follower{quarantine: &quarantine{}}, ofType(alert, "com.example.created"), true},
		"a type that only begins so":               {&quarantine{}, ofType(alert, falco.TypeFalcosidekick+"x"), true},
		"no type":                                  {&quarantine{}, ofType(alert, ""), true},
		"an alert that Falcosidekick would refuse": {&quarantine{}, response.Event{Type: falco.TypeFalcosidekick, Data: testkit.Find(t, "53").Alert}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			f := wrap(c.responder)
			record, err := f.Handle(t.Context(), c.event)
			if c.invalid {
				if record != nil || response.KindOf(err) != response.Invalid {
					t.Errorf("record %v, error %v", record, err)
				}
				if len(f.seen) != 1 || f.seen[0].Err == nil || f.seen[0].Outcome != "" || len(f.lines(t, "response failed")) != 1 {
					t.Errorf("observed %+v, logged %s", f.seen, f.log)
				}
			} else if err != nil || record == nil {
				t.Errorf("record %v, error %v", record, err)
			}
		})
	}
}

func TestHandleSurvivesPanics(t *testing.T) {
	explode := func() { panic("boom: xoxb-secret") }
	var none map[string]string
	outcome, _ := outcomeEvent(t, "other")
	cases := map[string]struct {
		function *observed
		event    response.Event
	}{
		"in Respond": {wrap(&quarantine{respond: func(context.Context) (response.Outcome, error) { explode(); return response.Outcome{}, nil }}), alertEvent(t, "01")},
		"of the runtime": {
			wrap(&quarantine{respond: func(context.Context) (response.Outcome, error) { none["a"] = "b"; return response.Outcome{}, nil }}), alertEvent(t, "01"),
		},
		"in Target": {
			wrap(&onPod{quarantine: &quarantine{}, target: func() (response.Target, *response.Outcome, error) { explode(); return cart, nil, nil }}), alertEvent(t, "01"),
		},
		"in RespondOutcome": {
			wrap(&follower{quarantine: &quarantine{respond: func(context.Context) (response.Outcome, error) { explode(); return response.Outcome{}, nil }}}), outcome,
		},
		"with an error": {
			wrap(&quarantine{respond: func(context.Context) (response.Outcome, error) { panic(response.InvalidError(errors.New("x"))) }}), alertEvent(t, "01"),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			record, err := c.function.Handle(t.Context(), c.event)
			if record != nil || err == nil || response.KindOf(err) != response.Unknown || strings.Contains(err.Error(), "boom") {
				t.Errorf("record %v, error %v: want an error of kind unknown that says nothing", record, err)
			}
			if lines := c.function.lines(t, "response panicked"); len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0]["stack"]), "function_test.go") {
				t.Errorf("the panic is not in the log: %s", c.function.log)
			}
			if len(c.function.seen) != 1 || c.function.seen[0].Err == nil {
				t.Errorf("observed %+v", c.function.seen)
			}
		})
	}
}

func TestHandlePassesErrorsOn(t *testing.T) {
	cause := errors.New("the cause")
	for name, want := range map[string]error{
		"invalid": response.InvalidError(cause), "permanent": response.PermanentError(cause),
		"transient": response.TransientError(cause, 3*time.Second), "unknown": cause,
	} {
		t.Run(name, func(t *testing.T) {
			onTarget := func() (response.Target, *response.Outcome, error) { return response.Target{}, nil, want }
			for where, f := range map[string]*observed{
				"Respond": wrap(&quarantine{err: want}), "Target": wrap(&onPod{quarantine: &quarantine{}, target: onTarget}),
			} {
				record, err := f.Handle(t.Context(), alertEvent(t, "01"))
				if record != nil || !errors.Is(err, cause) || response.KindOf(err).String() != name {
					t.Errorf("%s: record %v, error %v of kind %s", where, record, err, response.KindOf(err))
				}
				if lines := f.lines(t, "response failed"); len(lines) != 1 || lines[0]["kind"] != name {
					t.Errorf("%s: log %s", where, f.log)
				}
			}
		})
	}
}

func TestHandleEndsInTime(t *testing.T) {
	f := wrap(&quarantine{respond: func(ctx context.Context) (response.Outcome, error) {
		<-ctx.Done()
		return response.Outcome{}, fmt.Errorf("wait for the API server: %w", ctx.Err())
	}})
	f.Timeout = time.Nanosecond
	if record, err := f.Handle(t.Context(), alertEvent(t, "01")); record != nil || response.KindOf(err) != response.Transient {
		t.Errorf("record %v, error %v: want a transient error", record, err)
	}
	f.Timeout = time.Hour
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if record, err := f.Handle(gone, alertEvent(t, "01")); record != nil || response.KindOf(err) != response.Transient {
		t.Errorf("record %v, error %v: want a transient error", record, err)
	}
}
