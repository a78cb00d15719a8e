package response_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riposte-dev/riposte/shared/budget"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// Two deployments of one function answer the same alert, each in its own way: two labels, two channels.
func TestEachDeploymentOfAFunctionAnswersForItself(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]time.Duration{"by rule and target": window, "by event": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, b := store.NewMemory(time.Now), limits(t, "2/1h", "off", "off")
				var worlds [2]*world
				e := raised(t, time.Now())
				ids := map[string]bool{}
				for i, scope := range []string{"label-suspect", "label-audit"} {
					worlds[i] = &world{}
					for range 2 {
						f := replica(s, worlds[i])
						f.Repeats.Scope, f.Repeats.Window = scope, window
						f.Repeats.Budget = budget.New(s, "quarantine", b, time.Now)
						record := handled(t, f, e)
						ids[record.ID] = true
						if verdict(record) != "applied " {
							t.Errorf("%s answers %s", scope, verdict(record))
						}
					}
				}
				if worlds[0].effects != 1 || worlds[1].effects != 1 || len(ids) != 2 {
					t.Errorf("%d and %d effects, outcomes %v: want one effect and one outcome of each", worlds[0].effects, worlds[1].effects, ids)
				}
				f := replica(s, shop{applies, 0})
				f.Repeats.Budget = budget.New(s, "quarantine", b, time.Now)
				if record := handled(t, f, inPod(t, 1)); verdict(record) != "refused over-budget" { // Both have drawn.
					t.Errorf("a third answer is %s", verdict(record))
				}
			})
		})
	}
}

func TestWhatIsDeniedForGoodDrawsNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"denied":               {response.PermanentError(errors.New("denied")), "applied "},
		"invalid":              {response.InvalidError(errors.New("invalid")), "applied "},
		"to be done once more": {response.TransientError(errors.New("busy"), 0), "refused over-budget"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, err := store.NewMemory(time.Now), test.err
				f := replica(s, shop{func(pod string) (response.Outcome, error) {
					if pod == "cart-0" {
						return response.Outcome{}, err
					}
					return applies(pod)
				}, 0})
				f.Repeats.Budget = budget.New(s, "quarantine", limits(t, "1/1h", "off", "1/1h"), time.Now)
				if _, err := f.Handle(t.Context(), inPod(t, 0)); err == nil {
					t.Fatal("it did not fail")
				}
				if record := handled(t, f, inPod(t, 1)); verdict(record) != test.want {
					t.Errorf("then another alert is answered %s, want %s", verdict(record), test.want)
				}
			})
		})
	}
}

// A claim whose outcome has no room in the store is complete, so that nobody takes it over and acts again.
func TestAnOutcomeTooLargeToRecordIsNotMadeTwice(t *testing.T) {
	t.Parallel()
	for name, window := range map[string]time.Duration{"by rule and target": window, "by event": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var alert map[string]any
				e := raised(t, time.Now())
				if err := json.Unmarshal(e.Data, &alert); err != nil {
					t.Fatal(err)
				}
				alert["output"] = strings.Repeat("<", 60<<10) // six times as long in an outcome
				var err error
				if e.Data, err = json.Marshal(alert); err != nil {
					t.Fatal(err)
				}
				s, w := store.NewMemory(time.Now), &world{}
				one, two := replica(s, w), replica(s, w)
				one.Repeats.Window, two.Repeats.Window = window, window
				first := handled(t, one, e)
				w.changed = false
				time.Sleep(hold)
				if _, err := two.Handle(t.Context(), e); response.KindOf(err) != response.Permanent || w.effects != 1 {
					t.Errorf("another process: error %v, %d effects: want that the outcome is not known, and one", err, w.effects)
				}
				if again := handled(t, one, e); again.ID != first.ID || w.effects != 1 {
					t.Errorf("the same process: %s with %d effects", verdict(again), w.effects)
				}
			})
		})
	}
}

// fragile panics when it is asked what its response is called.
type fragile struct {
	*world

	panics bool
}

// Techniques implements response.Defender.
func (f *fragile) Techniques() []response.Technique {
	if f.panics {
		panic("bug")
	}
	return nil
}

// Whatever fails around a response, the next caller of the process gets its turn.
func TestAPanicHoldsUpNobodyForGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &fragile{&world{}, true}
		f := replica(store.NewMemory(time.Now), r)
		e := raised(t, time.Now())
		if _, err := f.Handle(t.Context(), e); err == nil || r.effects != 1 {
			t.Fatalf("error %v, %d effects: want that it did not get as far as saying so", err, r.effects)
		}
		r.panics = false
		time.Sleep(hold)
		if record := handled(t, f, e); verdict(record) != "applied recovered" || r.effects != 1 {
			t.Errorf("the next is answered %s with %d effects", verdict(record), r.effects)
		}
	})
}
