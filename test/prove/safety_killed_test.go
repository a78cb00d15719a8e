//go:build prove

package prove

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// killed kills a function with SIGKILL at each of its requests to the API server, before the server has seen it and after it
// has done it, and delivers the alert again to a new process, as a Broker does, until there is an answer.
func killed(p proof, e *testkit.Env) {
	for _, function := range []string{"delete-pod", "isolate", "label", "taint"} {
		steps := requests(p, e, function)
		var mu sync.Mutex
		bad, told := []string{}, map[string]int{}
		began := time.Now()
		atOnce(2*steps, 6, func(i int) {
			k := killing{function: function, step: i / 2, done: i%2 == 1}
			effects, answer := k.run(p, e)
			mu.Lock()
			defer mu.Unlock()
			told[answer.Verdict()]++
			if effects != 1 || answer.Attributes["outcome"] != "applied" {
				bad = append(bad, fmt.Sprintf("%s: %d effects, %s", k, effects, answer.Verdict()))
			}
		})
		for _, b := range bad {
			p.Error(b)
		}
		p.row("kill -9 at every step of "+function+", then the alert again",
			fmt.Sprintf("%d of %d with one effect and its outcome: %s, %s", 2*steps-len(bad), 2*steps, counts(told), time.Since(began).Round(time.Second)),
			"all", len(bad) == 0)
	}
}

// requests is how many requests an action makes: the steps at which it can be killed.
func requests(p proof, e *testkit.Env, function string) int {
	p.Helper()
	pod := suspect(p, e)
	all, proxy := replicas(p, e, 1, function, kubernetes()[function]...)
	all[0].Alert(testkit.AlertFor(p.T, pod)).Expect(p.T, "200 applied")
	return len(slices.DeleteFunc(proxy.Requests(), func(r testkit.Request) bool {
		return r.Resource == "leases" && (r.Verb == "list" || r.Verb == "delete")
	}))
}

// suspect is a pod with everything around it that functions look at, on a node of its own.
func suspect(p proof, e *testkit.Env) corev1.Pod {
	p.Helper()
	namespace := e.Namespace(p.T)
	e.Create(p.T, testkit.Service(namespace, "web"))
	return e.Deploy(p.T, testkit.Deployment(namespace, "web", 2, testkit.OnNode(e.Node(p.T))))[0]
}

// killing is one case.
type killing struct {
	function string
	// step is the request at which it happens; done says that the API server carries it out first.
	step int
	done bool
}

func (k killing) String() string {
	when := "before"
	if k.done {
		when = "after"
	}
	return fmt.Sprintf("%s killed %s request %d", k.function, when, k.step+1)
}

// run gives the number of changes that took effect, and the answer in the end.
func (k killing) run(p proof, e *testkit.Env) (int, testkit.Answer) {
	p.Helper()
	pod := suspect(p, e)
	alert := testkit.AlertFor(p.T, pod)
	first, proxy := replicas(p, e, 1, k.function, append(kubernetes()[k.function], "RESPONSE_TIMEOUT=2s", "EVICT_TIMEOUT=1s")...)
	var done atomic.Int64 // Changes carried out whose answer the function never got.
	proxy.Inject(&testkit.Fault{After: k.step, Times: 1, Effect: func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		if k.done {
			w := httptest.NewRecorder()
			next.ServeHTTP(w, r)
			if w.Code/100 == 2 {
				done.Add(1)
			}
		}
		_ = first[0].Command.Process.Kill()
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}})
	if a, err := first[0].Deliver(p.Context(), alert); err == nil {
		p.Errorf("%s: it answered %s all the same", k, a.Verdict())
	}
	proxy.Heal()
	second := process.Start(p.T, k.function, proxy.Kubeconfig, append([]string{"CLAIMS=lease", "RESPONSE_TIMEOUT=2s", "EVICT_TIMEOUT=1s"}, kubernetes()[k.function]...)...)
	answer := k.redeliver(p, second, alert)
	return k.effects(proxy, int(done.Load())), answer
}

// effects are the changes that took effect on the target, by what a function does once: one deletion, one change of labels
// or taints. A policy that isolate makes before is not counted twice, since the API server makes one of a name only.
func (k killing) effects(proxy *testkit.Proxy, unanswered int) int {
	effects := 0
	for _, r := range proxy.Requests() {
		if !r.Changes() || r.Bookkeeping() || r.Resource == "networkpolicies" {
			continue
		}
		if r.Status/100 == 2 || (r.Status == 0 && unanswered > 0) {
			effects++
		}
	}
	return effects
}

// redeliver posts an alert until it is answered with an outcome, and waits as long as it is told to.
func (k killing) redeliver(p proof, to *process.Process, alert []byte) testkit.Answer {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.Context(), time.Minute)
	defer cancel()
	for {
		a, err := to.Deliver(ctx, alert)
		if err != nil {
			p.Errorf("%s: %v", k, err)
			return a
		}
		if a.Status == http.StatusOK {
			return a
		}
		seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
		if a.Status != http.StatusTooManyRequests || err != nil {
			seconds = 1
		}
		select {
		case <-ctx.Done():
			p.Error(fmt.Errorf("%s: no outcome: %w, last %s", k, errors.Join(ctx.Err()), a.Verdict()))
			return a
		case <-time.After(time.Duration(seconds) * time.Second):
		}
	}
}
