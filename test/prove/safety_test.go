//go:build prove

package prove

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// safety proves what keeps a function from acting on the wrong target, twice, too often, or for good.
func safety(p proof) {
	e := testkit.Cluster(p.T)
	adversary(p, e)
	copies(p, e)
	storm(p, e)
	killed(p, e)
	restored(p, e)
	budgets(p, e)
}

// replicas starts n processes of a function that share one way to the API server.
func replicas(p proof, e *testkit.Env, n int, function string, settings ...string) ([]*process.Process, *testkit.Proxy) {
	p.Helper()
	proxy := e.NewProxy(p.T, e.Account(p.T, function))
	var all []*process.Process
	for range n {
		all = append(all, process.Start(p.T, function, proxy.Kubeconfig, append([]string{"CLAIMS=lease"}, settings...)...))
	}
	return all, proxy
}

// atOnce does n things, at most width at a time.
func atOnce(n, width int, do func(i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range width {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wait.Wait()
}

// writes counts the changes of targets, and those of the function's own records.
func writes(proxy *testkit.Proxy) (targets, records int) {
	for _, r := range proxy.Requests() {
		switch {
		case !r.Changes():
		case r.Bookkeeping():
			records++
		default:
			targets++
		}
	}
	return targets, records
}

// copies delivers one event a thousand times to four replicas at once.
func copies(p proof, e *testkit.Env) {
	const n = 1000
	for _, function := range []string{"delete-pod", "label"} {
		pod := e.Deploy(p.T, testkit.Deployment(e.Namespace(p.T), "web", 2))[0]
		all, proxy := replicas(p, e, 4, function, kubernetes()[function]...)
		alert := testkit.AlertFor(p.T, pod)
		bodies := make([][]byte, n)
		var errors, asked atomic.Int64
		began := time.Now()
		atOnce(n, 200, func(i int) {
			a := all[i%len(all)].Alert(alert)
			for a.Status == http.StatusTooManyRequests { // It comes back, as a Broker does.
				asked.Add(1)
				<-time.After(time.Second)
				a = all[i%len(all)].Alert(alert)
			}
			if bodies[i] = a.Body; a.Attributes["outcome"] != "applied" {
				errors.Add(1)
			}
		})
		took := time.Since(began)
		equal := 0
		for _, body := range bodies {
			if bytes.Equal(body, bodies[0]) {
				equal++
			}
		}
		targets, records := writes(proxy)
		p.row("one event 1,000 times to 4 replicas of "+function+" at once",
			fmt.Sprintf("%d write, %d equal outcomes, %d asked to come back, %d records, %s", targets, equal, asked.Load(), records, took.Round(10*time.Millisecond)),
			"1 write, 1000 equal outcomes", targets == 1 && equal == n && errors.Load() == 0)
	}
}

// storm raises 20,000 different alerts of one rule in one pod.
func storm(p proof, e *testkit.Env) {
	const n = 20_000
	for _, function := range []string{"delete-pod", "label"} {
		pod := e.Deploy(p.T, testkit.Deployment(e.Namespace(p.T), "web", 2))[0]
		all, proxy := replicas(p, e, 4, function, append(kubernetes()[function], "DEDUP_WINDOW=10m")...)
		template := string(testkit.AlertFor(p.T, pod, testkit.Set("time", "TIME"), testkit.Set("uuid", "UUID")))
		from := time.Now().UTC()
		var mu sync.Mutex
		verdicts := map[string]int{}
		began := time.Now()
		atOnce(n, 64, func(i int) {
			at := from.Add(time.Duration(i) * time.Microsecond).Format(time.RFC3339Nano)
			body := strings.NewReplacer("TIME", at, "UUID", fmt.Sprintf("00000000-0000-4000-8000-%012d", i)).Replace(template)
			verdict := all[i%len(all)].Alert([]byte(body)).Verdict()
			for verdict == "429" { // It comes back, as a Broker does.
				<-time.After(time.Second)
				verdict = all[i%len(all)].Alert([]byte(body)).Verdict()
			}
			mu.Lock()
			verdicts[verdict]++
			mu.Unlock()
		})
		took := time.Since(began)
		targets, records := writes(proxy)
		p.row("20,000 alerts of one rule on one pod to 4 replicas of "+function,
			fmt.Sprintf("%d write, %s, %d records, %.0f alerts/s", targets, counts(verdicts), records, n/took.Seconds()),
			// Replicas that look for the pod in the moment in which another deletes it find it gone.
			"1 write, 1 applied, others duplicate or gone", targets == 1 && verdicts["200 applied"] == 1 &&
				verdicts["200 skipped duplicate"]+verdicts["200 skipped gone"] == n-1 && verdicts["200 skipped gone"] < n/100)
	}
}

// counts is a map of counts as text, the largest first.
func counts(m map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	for i, k := range keys {
		keys[i] = fmt.Sprintf("%d %s", m[k], strings.TrimPrefix(k, "200 "))
	}
	return strings.Join(keys, ", ")
}
