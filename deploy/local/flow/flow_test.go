package flow_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/deploy/local/flow"
	"github.com/riposte-dev/riposte/triggers"
)

func alert(id string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetType(triggers.TypeFalco)
	e.SetSource("https://falco.org")
	e.SetExtension("rule", "Some Rule")
	e.SetExtension("priority", "Critical")
	_ = e.SetData("application/json", map[string]any{
		"output": "text", "output_fields": map[string]any{"k8s.ns.name": "shop", "k8s.pod.name": "cart-0", "container.id": "host"},
	})
	return e
}

func outcome(id, function string) *event.Event {
	e := event.New()
	e.SetID(id)
	e.SetType(triggers.TypeOutcome)
	e.SetSource("/functions/" + function)
	e.SetExtension("outcome", "applied")
	_ = e.SetData("application/json", map[string]any{
		"message": "done", "target": map[string]string{"kind": "Pod", "namespace": "shop", "name": "cart-0", "uid": "u"},
		"timings": map[string]any{"response_ms": 12.5},
	})
	return &e
}

func decide(matched string) []triggers.Decision {
	var out []triggers.Decision
	for _, name := range []string{"one", "two"} {
		d := triggers.Decision{Trigger: name, Function: "f" + name, Matched: name == matched}
		if !d.Matched {
			d.Reason = "another rule"
		}
		out = append(out, d)
	}
	return out
}

func attempt(key, trigger string, number int) broker.Attempt {
	return broker.Attempt{Key: key, Namespace: "riposte", Trigger: trigger, Function: "f" + trigger, Number: number, At: time.Now()}
}

func find(t *testing.T, s *flow.Store, id string) flow.Alert {
	t.Helper()
	a, ok := s.Find(id)
	if !ok {
		t.Fatalf("no alert %s", id)
	}
	return a
}

func TestStory(t *testing.T) {
	changes := 0
	s := flow.NewStore(func(string, flow.Alert) { changes++ }, nil)
	hooks := s.Hooks()
	s.Expect("a", flow.Sent{At: time.Now(), Capture: "03", Title: "Malware"})
	hooks.Accepted(broker.Accepted{Key: "a@1", At: time.Now(), Event: alert("a"), Decisions: decide("one")})

	a := find(t, s, "a")
	if a.Rule != "Some Rule" || a.Pod != "shop/cart-0" || a.Output != "text" || a.Sent == nil || a.Sent.Title != "Malware" {
		t.Errorf("the alert is %+v", a)
	}
	if a.Decisions[1].Reason != "another rule" || a.Settled() {
		t.Errorf("the decisions are %+v", a.Decisions)
	}

	first := attempt("a@1", "one", 1)
	hooks.Calling(first)
	if d := find(t, s, "a").Deliveries[0]; d.State != flow.Calling || d.Function != "fone" {
		t.Errorf("while it is called: %+v", d)
	}
	hooks.Delivered(broker.Delivery{Attempt: first, Status: http.StatusInternalServerError, Answer: "away", Again: true, In: time.Second})
	if d := find(t, s, "a").Deliveries[0]; d.State != flow.Waiting || d.Calls[0].Again != 1000 || d.Calls[0].Answer != "away" {
		t.Errorf("after a failure: %+v", d)
	}
	second := attempt("a@1", "one", 2)
	hooks.Calling(second)
	hooks.Delivered(broker.Delivery{Attempt: second, Status: http.StatusOK, Duration: time.Second, Reply: outcome("o", "fone")})
	story := find(t, s, "a")
	d := story.Deliveries[0]
	if d.State != flow.Done || len(d.Calls) != 2 || d.Outcome == nil || d.Outcome.Outcome != "applied" || d.Outcome.Message != "done" ||
		d.Outcome.Target.Name != "cart-0" || d.Outcome.Took != 12.5 {
		t.Errorf("after success: %+v", d)
	}
	if story.Settled() {
		t.Error("it is settled before its outcome is in the broker")
	}

	hooks.Accepted(broker.Accepted{Key: "o@2", Parent: "a@1", At: time.Now(), Event: *outcome("o", "fone"), Decisions: decide("two")})
	told := attempt("o@2", "two", 1)
	hooks.Calling(told)
	hooks.Delivered(broker.Delivery{Attempt: told, Status: http.StatusNoContent})
	story = find(t, s, "a")
	if next := story.Deliveries[0].Next; next == nil || len(next.Deliveries) != 1 || next.Deliveries[0].State != flow.Done {
		t.Errorf("the outcome's own way is %+v", next)
	}
	if !story.Settled() {
		t.Error("it is not settled")
	}
	if changes != 8 {
		t.Errorf("told of %d changes", changes)
	}
	if _, known := s.Find("o"); known {
		t.Error("the outcome stands as an alert of its own")
	}
}

func TestDeadLetter(t *testing.T) {
	s := flow.NewStore(nil, nil)
	hooks := s.Hooks()
	hooks.Accepted(broker.Accepted{Key: "a@1", At: time.Now(), Event: alert("a"), Decisions: decide("one")})
	call := attempt("a@1", "one", 1)
	hooks.Calling(call)
	hooks.Delivered(broker.Delivery{Attempt: call, Status: http.StatusBadRequest, Answer: "no"})
	hooks.DeadLettered(broker.DeadLetter{Key: "a@1", Function: "fone", Status: http.StatusBadRequest})
	a := find(t, s, "a")
	if d := a.Deliveries[0]; d.State != flow.Failed || !d.DeadLetter || !a.Settled() {
		t.Errorf("the delivery is %+v", d)
	}
}

func TestCopiesStay(t *testing.T) {
	s := flow.NewStore(nil, nil)
	hooks := s.Hooks()
	hooks.Accepted(broker.Accepted{Key: "a@1", At: time.Now(), Event: alert("a"), Decisions: decide("one")})
	call := attempt("a@1", "one", 1)
	hooks.Calling(call)
	before := find(t, s, "a")
	hooks.Delivered(broker.Delivery{Attempt: call, Status: http.StatusNoContent})
	if before.Deliveries[0].State != flow.Calling || before.Deliveries[0].Calls[0].Status != 0 {
		t.Error("a copy changed with the story")
	}
}

func TestOldAlertsAreForgotten(t *testing.T) {
	var dropped []string
	s := flow.NewStore(nil, func(id string) { dropped = append(dropped, id) })
	hooks := s.Hooks()
	for range 201 {
		hooks.Accepted(broker.Accepted{Key: "k" + time.Now().String(), At: time.Now(), Event: alert("a"), Decisions: decide("")})
	}
	if len(dropped) != 1 {
		t.Errorf("forgot %d alerts", len(dropped))
	}
	// Reports about what is forgotten are passed over.
	hooks.Calling(attempt(dropped[0], "one", 1))
	hooks.Delivered(broker.Delivery{Attempt: attempt(dropped[0], "one", 1), Status: http.StatusOK})
	hooks.DeadLettered(broker.DeadLetter{Key: dropped[0]})
}
