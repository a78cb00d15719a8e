package response_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/budget"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// limits are budgets as they are set.
func limits(t *testing.T, function, workload, cluster string) budget.Settings {
	t.Helper()
	var s budget.Settings
	for text, limit := range map[string]*budget.Limit{function: &s.Function, workload: &s.Workload, cluster: &s.Cluster} {
		if err := limit.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// shop has pods: each alert is about the one that its k8s.pod.name names.
type shop struct {
	respond func(pod string) (response.Outcome, error)
	// replicas are the ready ones of the workload they all belong to; 0 for none.
	replicas int
}

func (s shop) Target(_ context.Context, a falco.Alert) (response.Target, *response.Outcome, error) {
	name := a.Pod().Name
	target := response.Target{Kind: "Pod", Resource: "pods", Namespace: "shop", Name: name, UID: "uid of " + name}
	if s.replicas > 0 {
		target.Workload = response.Workload{Key: "Deployment/shop/cart", Ready: s.replicas}
	}
	return target, nil, nil
}

func (s shop) Respond(ctx context.Context, _ falco.Alert) (response.Outcome, error) {
	return s.respond(response.TargetFrom(ctx).Name)
}

func applies(string) (response.Outcome, error) {
	return response.Outcome{Verdict: response.Applied, Message: "done"}, nil
}

// inPod is an alert in the pod of a number.
func inPod(t *testing.T, n int) response.Event {
	t.Helper()
	var alert map[string]any
	if err := json.Unmarshal(alertEvent(t, "01").Data, &alert); err != nil {
		t.Fatal(err)
	}
	testkit.At(time.Now())(alert)
	testkit.Field("k8s.pod.name", fmt.Sprintf("cart-%d", n))(alert)
	testkit.Field("container.id", fmt.Sprintf("%012x", n))(alert)
	body, err := json.Marshal(alert)
	if err != nil {
		t.Fatal(err)
	}
	return response.Event{ID: "e", Type: falco.TypeFalcosidekick, Data: body}
}

func TestOverBudgetItRefusesAndSaysSoOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		settings budget.Settings
		replicas int
		scope    string
		allowed  int
	}{
		"of the function":                   {limits(t, "2/1m", "off", "off"), 0, "function", 2},
		"of the workload":                   {limits(t, "off", "10%/1m", "off"), 30, "workload", 3},
		"of a small workload, at least one": {limits(t, "off", "10%/1m", "off"), 2, "workload", 1},
		"of the cluster":                    {limits(t, "off", "off", "4/1h"), 0, "cluster", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := store.NewMemory(time.Now)
				var replicas []*observed
				for range 3 {
					f := replica(s, shop{applies, test.replicas})
					f.Repeats.Budget = budget.New(s, "quarantine", test.settings, time.Now)
					replicas = append(replicas, f)
				}
				applied, told, repeats := 0, 0, 0
				for n := range 12 {
					f := replicas[n%3]
					record := handled(t, f, inPod(t, n))
					switch {
					case verdict(record) == "applied ":
						applied++
					case verdict(record) != "refused over-budget":
						t.Errorf("alert %d is answered %s", n, verdict(record))
					case record.Repeat:
						repeats++
					default:
						told++
						got, _ := record.Details["budget"].(map[string]any)
						if got["scope"] != test.scope {
							t.Errorf("it is over the budget %v, want that of the %s", got, test.scope)
						}
					}
					e, err := record.Event()
					if err != nil {
						t.Fatal(err)
					}
					if _, marked := e.Extensions()["repeat"]; marked != record.Repeat {
						t.Errorf("the event is marked as a repeat: %t, want %t", marked, record.Repeat)
					}
				}
				if applied != test.allowed || told != 1 || repeats != 12-test.allowed-1 {
					t.Errorf("%d applied, %d told, %d repeats: want %d, 1 and the rest", applied, told, repeats, test.allowed)
				}
				if diff := cmp.Diff("budget", replicas[2].seen[len(replicas[2].seen)-1].Guardrail); diff != "" {
					t.Errorf("the guardrail that refused (-want +got):\n%s", diff)
				}
				// What was refused left no claim behind: when there is a budget again, it is answered.
				refused := inPod(t, 100)
				handled(t, replicas[0], refused)
				time.Sleep(time.Hour)
				if record := handled(t, replicas[1], refused); verdict(record) != "applied " {
					t.Errorf("later the same alert is answered %s", verdict(record))
				}
			})
		})
	}
}

func TestOnlyWhatWasDoneCounts(t *testing.T) {
	t.Parallel()
	for name, outcome := range map[string]response.Outcome{
		"unchanged": {Verdict: response.Unchanged, Reason: response.AlreadySo, Message: "so"},
		"skipped":   response.Skip(response.Gone, "gone"),
		"refused":   response.Refuse(response.TooFewReplicas, "few"),
		"failed":    {Verdict: response.Failed, Reason: response.FunctionError, Message: "failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := store.NewMemory(time.Now)
				now := outcome
				f := replica(s, shop{func(string) (response.Outcome, error) { return now, nil }, 0})
				f.Repeats.Budget = budget.New(s, "quarantine", limits(t, "1/1h", "off", "1/1h"), time.Now)
				for n := range 5 {
					if record := handled(t, f, inPod(t, n)); record.Outcome != outcome.Verdict {
						t.Errorf("alert %d is answered %s", n, verdict(record))
					}
				}
				now = response.Outcome{Verdict: response.Applied, Message: "done"}
				if record := handled(t, f, inPod(t, 10)); verdict(record) != "applied " {
					t.Errorf("then an alert is answered %s", verdict(record))
				}
				if record := handled(t, f, inPod(t, 11)); verdict(record) != "refused over-budget" {
					t.Errorf("and the next %s", verdict(record))
				}
			})
		})
	}
}

func TestARetryDoesNotDrawAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory(time.Now)
		failures := 3
		f := replica(s, shop{func(string) (response.Outcome, error) {
			if failures--; failures >= 0 {
				return response.Outcome{}, response.TransientError(errors.New("busy"), 0)
			}
			return applies("")
		}, 0})
		f.Repeats.Budget = budget.New(s, "quarantine", limits(t, "1/1h", "off", "off"), time.Now)
		e := inPod(t, 1)
		for range 3 {
			if _, err := f.Handle(t.Context(), e); response.KindOf(err) != response.Transient {
				t.Errorf("error %v, want a transient one", err)
			}
		}
		if record := handled(t, f, e); verdict(record) != "applied " {
			t.Errorf("in the end the answer is %s", verdict(record))
		}
	})
}
