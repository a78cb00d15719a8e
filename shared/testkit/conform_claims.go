package testkit

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var errNotYet = errors.New("it has not yet")

// withClaims are the settings of a function as it is deployed.
func withClaims(more map[string]string) map[string]string {
	all := map[string]string{"CLAIMS": "lease"}
	maps.Copy(all, more)
	return all
}

// conformClaims is what every function on Kubernetes owes with its claims in Leases: whichever replica a repeat comes to,
// and whatever happened to the first delivery, there is one effect and one outcome.
func conformClaims(t *testing.T, e *Env, run func(*testing.T, map[string]string) *Running) {
	t.Helper()
	t.Run("a redelivery gets the same outcome, from any replica", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		one, two := run(t, withClaims(nil)), run(t, withClaims(nil))
		alert := AlertFor(t, w.pod)
		first := Post(t, one, alert)
		if first.Attributes["outcome"] != "applied" {
			t.Fatalf("the answer is %q, want it applied: %s", first.Verdict(), first.Body)
		}
		one.Proxy.Forget()
		for name, r := range map[string]*Running{"the same": one, "another": two} {
			again := Post(t, r, alert)
			checkContract(t, again)
			if !bytes.Equal(again.Body, first.Body) || !maps.Equal(again.Attributes, first.Attributes) {
				t.Errorf("%s replica answers\n%s\n%v\nwant\n%s\n%v", name, again.Body, again.Attributes, first.Body, first.Attributes)
			}
			if changed := r.Proxy.Changed(); len(changed) > 0 {
				t.Errorf("%s replica sent %v", name, changed)
			}
		}
		if asked := asked(one); len(asked) > 0 {
			t.Errorf("the same replica asked for %v: want it to remember", asked)
		}
	})
	t.Run("another alert of the rule on the pod is a duplicate", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		one, two := run(t, withClaims(nil)), run(t, withClaims(map[string]string{"DEDUP_WINDOW": "0"}))
		Post(t, one, AlertFor(t, w.pod))
		one.Proxy.Forget()
		Post(t, one, AlertFor(t, w.pod)).Expect(t, "200 skipped duplicate")
		if asked := asked(one); len(asked) > 0 {
			t.Errorf("for a duplicate it asked for %v", asked)
		}
		if other := Post(t, two, AlertFor(t, w.pod)); other.Record.Reason == "duplicate" {
			t.Errorf("with DEDUP_WINDOW=0 the answer is %q", other.Verdict())
		}
	})
	t.Run("what a cut-off attempt did is told by the next", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		one, two := run(t, withClaims(nil)), run(t, withClaims(nil))
		alert := AlertFor(t, w.pod)
		done := make(chan struct{})
		change := lastChange(t, run(t, map[string]string{"DRY_RUN": "true"}), w.pod)
		one.Proxy.Inject(&Fault{Verb: change.Verb, Resource: change.Resource, Effect: HangsAfterwards(done)})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-done
			cancel()
		}()
		cutOff := PostWith(ctx, t, one, alert)
		cutOff.Expect(t, "500")
		if !strings.Contains(string(cutOff.Body), context.Canceled.Error()) {
			t.Errorf("the one that was cut off says %q, want it to say so", cutOff.Body)
		}
		told := Post(t, two, alert)
		checkContract(t, told)
		if told.Attributes["outcome"] != "applied" {
			t.Errorf("the next answer is %q, want it applied: %s", told.Verdict(), told.Body)
		}
		if again := Post(t, two, alert); !bytes.Equal(again.Body, told.Body) {
			t.Errorf("the one after that is\n%s\nwant\n%s", again.Body, told.Body)
		}
	})
	t.Run("it does not act where its claims cannot be kept", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		for status, want := range map[int]string{
			http.StatusInternalServerError: "500", http.StatusForbidden: "422", http.StatusTooManyRequests: "500",
		} {
			for after := range 2 { // What was made by then is given back.
				r := run(t, withClaims(nil))
				r.Proxy.Inject(&Fault{Verb: "create", Resource: "leases", After: after, Effect: Answers(status, 0)})
				Post(t, r, AlertFor(t, w.pod)).Expect(t, want)
				if changed := r.Proxy.Changed(); len(changed) > 0 {
					t.Errorf("with %d for its claim it sent %v", status, changed)
				}
			}
		}
	})
	t.Run("over its budget it refuses, and says so once", func(t *testing.T) {
		t.Parallel()
		namespace := e.Namespace(t)
		pods := e.Deploy(t, Deployment(namespace, "web", 4, OnNode(e.Node(t))))
		// Budgets of one function are shared by all who run it in a namespace: these are kept by one process.
		r := run(t, map[string]string{"CLAIMS": "memory", "BUDGET_WORKLOAD": "1/1h"})
		Post(t, r, AlertFor(t, pods[0]))
		r.Proxy.Forget()
		repeats := 0
		for _, pod := range pods[1:] {
			answer := Post(t, r, AlertFor(t, pod))
			checkContract(t, answer)
			if answer.Record.Reason == "already-so" || answer.Record.Reason == "duplicate" { // A node is the same for all of them.
				return
			}
			answer.Expect(t, "200 refused over-budget")
			if answer.Attributes["repeat"] == "true" {
				repeats++
			}
		}
		if repeats != len(pods)-2 {
			t.Errorf("%d of %d refusals are marked as repeats: want all but the first", repeats, len(pods)-1)
		}
		if changed := r.Proxy.Changed(); len(changed) > 0 {
			t.Errorf("over its budget it sent %v", changed)
		}
	})
	t.Run("it sweeps what has expired", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		r := run(t, withClaims(nil))
		Post(t, r, AlertFor(t, w.pod))
		Eventually(t, "the function sweeps", func(context.Context) error {
			for _, request := range r.Proxy.Requests() {
				if request.Verb == "list" && request.Resource == "leases" {
					return nil
				}
			}
			return errNotYet
		})
	})
}

// asked are the requests of a function but for those of its sweeper, which come when they come.
func asked(r *Running) []Request {
	return slices.DeleteFunc(r.Proxy.Requests(), func(q Request) bool { return q.Resource == "leases" && (q.Verb == "list" || q.Verb == "delete") })
}

// lastChange is the last request by which a function changes anything for a pod.
func lastChange(t *testing.T, r *Running, pod corev1.Pod) Request {
	t.Helper()
	Post(t, r, AlertFor(t, pod))
	changes := r.Proxy.Changes()
	if len(changes) == 0 {
		t.Fatal("it changes nothing")
	}
	return changes[len(changes)-1]
}

// ConformRepeats is what a function without a target on Kubernetes owes with its claims in Leases: an event that comes
// again, to any replica, has no second effect and gets the same outcome; where its claims cannot be kept it has none.
// effects counts them.
func ConformRepeats[F Function](t *testing.T, function string, newFunction func() F, settings map[string]string, effects func() int) {
	t.Helper()
	e := Cluster(t)
	run := func() *Running { return e.Run(t, function, newFunction(), withClaims(settings)) }
	raised := func() []byte { // Claims outlive a test: the alert must be new.
		return Find(t, "03").Retarget(Retargeting{Time: time.Now()}).webhook.body
	}
	alert := raised()
	before := effects()
	one := run()
	first := Post(t, one, alert)
	first.Expect(t, "200 applied")
	for _, r := range []*Running{one, run(), run()} {
		if again := Post(t, r, alert); !bytes.Equal(again.Body, first.Body) {
			t.Errorf("a repeat is answered\n%s\nwant\n%s", again.Body, first.Body)
		}
	}
	if did := effects() - before; did != 1 {
		t.Errorf("%d effects of one event, want 1", did)
	}
	denied := run()
	denied.Proxy.Inject(&Fault{Resource: "leases", Effect: Answers(http.StatusForbidden, 0)})
	Post(t, denied, raised()).Expect(t, "422")
	if did := effects() - before; did != 1 {
		t.Errorf("%d effects where the claim was denied, want none", did-1)
	}
}
