package response_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/claim"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/testkit"
)

const (
	hold   = 30 * time.Second
	window = time.Minute
	keep   = 15 * time.Minute
)

// world is what the replicas of a function act on: one pod.
type world struct {
	mu sync.Mutex
	// changed says that the pod is as the response wants it, gone that it is not there.
	changed, gone bool
	effects       int
}

// Respond changes the pod once.
func (w *world) Respond(context.Context, falco.Alert) (response.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed {
		return response.Outcome{Verdict: response.Unchanged, Reason: response.AlreadySo, Message: "it already is so"}, nil
	}
	w.changed = true
	w.effects++
	return response.Outcome{Verdict: response.Applied, Message: "done"}, nil
}

// Target finds the pod.
func (w *world) Target(context.Context, falco.Alert) (response.Target, *response.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone {
		o := response.Skip(response.Gone, "gone")
		return response.Target{}, &o, nil
	}
	return cart, nil, nil
}

// hooked is a response with something before it.
type hooked struct {
	response.Targeter
	before func(ctx context.Context) error
}

func (h hooked) Respond(ctx context.Context, a falco.Alert) (response.Outcome, error) {
	if err := h.before(ctx); err != nil {
		return response.Outcome{}, err
	}
	return h.Targeter.Respond(ctx, a)
}

// replica is one process of a function, with its claims in s.
func replica(s store.Store, r response.Responder) *observed {
	o := wrap(r)
	o.Now = time.Now
	o.Repeats = response.Repeats{Claims: claim.New(s, hold, time.Now), Window: window, Keep: keep}
	return o
}

// raised is an alert of one rule in one pod, at this time.
func raised(t *testing.T, at time.Time) response.Event {
	t.Helper()
	var alert map[string]any
	if err := json.Unmarshal(alertEvent(t, "01").Data, &alert); err != nil {
		t.Fatal(err)
	}
	testkit.At(at)(alert)
	body, err := json.Marshal(alert)
	if err != nil {
		t.Fatal(err)
	}
	return response.Event{ID: "e", Type: falco.TypeFalcosidekick, Data: body}
}

// handled is the record of an event that has one.
func handled(t *testing.T, f *observed, e response.Event) *response.Record {
	t.Helper()
	r, err := f.Handle(t.Context(), e)
	if err != nil || r == nil {
		t.Fatalf("record %v, error %v: want a record", r, err)
	}
	return r
}

func data(t *testing.T, r *response.Record) []byte {
	t.Helper()
	e, err := r.Event()
	if err != nil {
		t.Fatal(err)
	}
	return e.Data()
}

func verdict(r *response.Record) string { return string(r.Outcome) + " " + string(r.Reason) }

func TestARedeliveryGetsTheSameOutcome(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(w *world){
		"while the target is there":        func(*world) {},
		"when the target is gone":          func(w *world) { w.gone = true },
		"when somebody has undone it":      func(w *world) { w.changed = false },
		"after the window for other ones":  func(*world) { time.Sleep(window + time.Second) },
		"undone, and after the window too": func(w *world) { w.changed = false; time.Sleep(window + time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, w := store.NewMemory(time.Now), &world{}
				one, two := replica(s, w), replica(s, w)
				e := raised(t, time.Now())
				first := handled(t, one, e)
				meanwhile(w)
				for _, f := range []*observed{one, two, two} {
					if again := handled(t, f, e); !bytes.Equal(data(t, again), data(t, first)) {
						t.Errorf("the answer is\n%s\nwant\n%s", data(t, again), data(t, first))
					}
				}
				if w.effects != 1 || verdict(first) != "applied " {
					t.Errorf("%d effects, outcome %s: want one, applied", w.effects, verdict(first))
				}
			})
		})
	}
}

func TestOtherAlertsOfARuleOnATargetAreDuplicatesForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, w := store.NewMemory(time.Now), &world{}
		one, two := replica(s, w), replica(s, w)
		first := handled(t, one, raised(t, time.Now()))
		for name, f := range map[string]*observed{"the same replica": one, "another": two} {
			time.Sleep(time.Second)
			again := handled(t, f, raised(t, time.Now()))
			if verdict(again) != "skipped duplicate" || again.ID == first.ID || again.Target == nil || again.Target.UID != cart.UID {
				t.Errorf("from %s the answer is %s with id %s on %v", name, verdict(again), again.ID, again.Target)
			}
			want := map[string]any{"id": first.ID, "alert_id": first.AlertID, "outcome": first.Outcome}
			if diff := cmp.Diff(want, again.Details["first"]); diff != "" {
				t.Errorf("what it is a duplicate of (-want +got):\n%s", diff)
			}
		}
		w.changed = false
		time.Sleep(window)
		if later := handled(t, one, raised(t, time.Now())); verdict(later) != "applied " || w.effects != 2 {
			t.Errorf("after the window the answer is %s with %d effects", verdict(later), w.effects)
		}
	})
}

func TestWithoutAWindowEveryAlertIsLookedAt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		f := replica(store.NewMemory(time.Now), w)
		f.Repeats.Window = 0
		e := raised(t, time.Now())
		first := handled(t, f, e)
		time.Sleep(time.Second)
		if other := handled(t, f, raised(t, time.Now())); verdict(other) != "unchanged already-so" {
			t.Errorf("another alert is answered %s", verdict(other))
		}
		if again := handled(t, f, e); !bytes.Equal(data(t, again), data(t, first)) {
			t.Errorf("the first alert again is answered %s", verdict(again))
		}
	})
}

func TestARefusalIsRepeatedForSecondsOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refusal := &quarantine{outcome: response.Refuse(response.TooFewReplicas, "not now")}
		s := store.NewMemory(time.Now)
		one, two := replica(s, &onPod{quarantine: refusal}), replica(s, &onPod{quarantine: refusal})
		e := raised(t, time.Now())
		first := handled(t, one, e)
		for range 5 {
			time.Sleep(time.Second)
			for _, f := range []*observed{one, two} {
				if next := handled(t, f, raised(t, time.Now())); verdict(next) != "skipped duplicate" {
					t.Errorf("the next alert is answered %s", verdict(next))
				}
			}
		}
		if diff := cmp.Diff([]string{"target", "respond", "target"}, refusal.calls); diff != "" { // The other replica looks for it once.
			t.Errorf("calls (-want +got):\n%s", diff)
		}
		time.Sleep(5 * time.Second)
		refusal.outcome = response.Outcome{Verdict: response.Applied}
		if next := handled(t, two, raised(t, time.Now())); verdict(next) != "applied " {
			t.Errorf("ten seconds later an alert is answered %s", verdict(next))
		}
		if again := handled(t, two, e); !bytes.Equal(data(t, again), data(t, first)) {
			t.Errorf("the first alert again is answered %s", verdict(again))
		}
	})
}

func TestManyCopiesAtOnceHaveOneEffect(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, w := store.NewMemory(time.Now), &world{}
		slow := hooked{w, func(context.Context) error { time.Sleep(time.Second); return nil }}
		all := []*observed{replica(s, slow), replica(s, slow), replica(s, slow), replica(s, slow)}
		for _, f := range all {
			f.Observe = func(response.Observation) {}
		}
		e := raised(t, time.Now())
		var mu sync.Mutex
		answers := map[string]int{}
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() {
				record, err := all[i%4].Handle(t.Context(), e)
				for response.IsDeferred(err) { // As a Broker does.
					time.Sleep(response.RetryAfter(err))
					record, err = all[i%4].Handle(t.Context(), e)
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				answers[string(data(t, record))]++
			})
		}
		wait.Wait()
		if w.effects != 1 || len(answers) != 1 {
			t.Errorf("%d effects, answers %v: want one of each", w.effects, answers)
		}
	})
}

// What an attempt that was cut off had done is told by the next, once it may take over.
func TestWhatACutOffAttemptDidIsTold(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// before is what the first attempt gets done.
		before   func(w *world)
		verdict  string
		effects  int
		activity response.Activity
	}{
		"nothing was done":     {func(*world) {}, "applied ", 1, response.Isolate},
		"it was done":          {func(w *world) { w.changed = true; w.effects++ }, "applied recovered", 1, response.Isolate},
		"the target went away": {func(w *world) { w.gone = true; w.effects++ }, "applied recovered", 1, response.Evict},
		// Whoever removed the pod, it was not a response that isolates it.
		"the target went away by itself": {func(w *world) { w.gone = true }, "skipped gone", 0, response.Isolate},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, w := store.NewMemory(time.Now), &world{}
				dead := replica(s, hooked{w, func(ctx context.Context) error {
					w.mu.Lock()
					test.before(w)
					w.mu.Unlock()
					<-ctx.Done() // and is never heard of again, until long after
					return ctx.Err()
				}})
				dead.Timeout = time.Hour
				replica := func(s store.Store, r response.Responder) *observed {
					f := replica(s, r)
					f.Activity = test.activity
					return f
				}
				e := raised(t, time.Now())
				ctx, cancel := context.WithCancel(t.Context())
				var wait sync.WaitGroup
				wait.Go(func() { _, _ = dead.Handle(ctx, e) })
				synctest.Wait()
				next := replica(s, w)
				_, err := next.Handle(t.Context(), e)
				if !response.IsDeferred(err) || response.RetryAfter(err) < time.Second || response.RetryAfter(err) > hold {
					t.Errorf("while it is handled the error is %v, to come back after %s", err, response.RetryAfter(err))
				}
				time.Sleep(hold)
				told := handled(t, next, e)
				if verdict(told) != test.verdict || w.effects != test.effects {
					t.Errorf("then the answer is %s on %v with %d effects: want %s", verdict(told), told.Target, w.effects, test.verdict)
				}
				if told.Outcome == response.Applied && (told.Target == nil || told.Target.UID != cart.UID) {
					t.Errorf("what was applied is about %v", told.Target)
				}
				if told.Outcome == response.Skipped { // Nothing was done, and nothing recorded.
					cancel()
					wait.Wait()
					return
				}
				if again := handled(t, replica(s, w), e); !bytes.Equal(data(t, again), data(t, told)) {
					t.Errorf("after that the answer is\n%s\nwant\n%s", data(t, again), data(t, told))
				}
				cancel() // The dead comes back, and does not spoil it.
				wait.Wait()
				if again := handled(t, replica(s, w), e); !bytes.Equal(data(t, again), data(t, told)) {
					t.Errorf("in the end the answer is\n%s\nwant\n%s", data(t, again), data(t, told))
				}
			})
		})
	}
}

func TestAnErrorLeavesTheClaimToTheRetry(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"that may pass":      func() error { return response.TransientError(errors.New("busy"), 0) },
		"that will not pass": func() error { return response.PermanentError(errors.New("denied")) },
		"that is a bug":      func() error { panic("bug") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, w := store.NewMemory(time.Now), &world{}
				var failed atomic.Bool
				f := replica(s, hooked{w, func(context.Context) error {
					if failed.CompareAndSwap(false, true) {
						return fail()
					}
					return nil
				}})
				e := raised(t, time.Now())
				began := time.Now()
				if _, err := f.Handle(t.Context(), e); err == nil {
					t.Fatal("it did not fail")
				}
				if record := handled(t, f, e); verdict(record) != "applied " || time.Since(began) > time.Second {
					t.Errorf("the retry is answered %s after %s", verdict(record), time.Since(began))
				}
			})
		})
	}
}

// notices are of a notifier: without a target, the event alone says what is a repeat.
func TestAnEventWithoutATargetIsHandledOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory(time.Now)
		q := &quarantine{outcome: response.Outcome{Verdict: response.Applied, Message: "told"}}
		one, two := replica(s, &follower{quarantine: q}), replica(s, &follower{quarantine: q})
		e := raised(t, time.Now())
		other := raised(t, time.Now().Add(time.Second))
		told, _ := outcomeEvent(t, "isolate")
		for _, event := range []response.Event{e, e, other, other, told, told} {
			handled(t, one, event)
			handled(t, two, event)
		}
		if diff := cmp.Diff([]string{"respond", "respond", "respond to outcome"}, q.calls); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	})
}

// patient is a response that waits for another function's outcome.
type patient struct {
	*world

	waits func() bool
}

func (p patient) Defer(ctx context.Context, _ falco.Alert, _ time.Time) error {
	if response.CauseFrom(ctx) == nil && p.waits() {
		return response.DeferredError(errors.New("not yet"), time.Minute)
	}
	return nil
}

func (p patient) Follow(context.Context, response.Record) *response.Outcome { return nil }

func TestAnAlertThatWaitsAndItsOutcomeAreAnsweredOnce(t *testing.T) {
	t.Parallel()
	alert := alertEvent(t, "01")
	outcome, _ := outcomeEvent(t, "collect-evidence")
	synctest.Test(t, func(t *testing.T) {
		s, w := store.NewMemory(time.Now), &world{}
		waiting := func() bool { return true }
		one, two := replica(s, patient{w, waiting}), replica(s, patient{w, waiting})
		if _, err := one.Handle(t.Context(), alert); !response.IsDeferred(err) || response.RetryAfter(err) != time.Minute {
			t.Errorf("the alert by itself is answered with error %v", err)
		}
		first := handled(t, two, outcome)
		if verdict(first) != "applied " {
			t.Errorf("by the outcome the answer is %s", verdict(first))
		}
		again := handled(t, one, alert)
		if again.ID != first.ID || verdict(again) != "applied " || w.effects != 1 {
			t.Errorf("then the alert is answered %s with id %s, with %d effects: want what the outcome was, %s", verdict(again), again.ID, w.effects, first.ID)
		}
	})
}
