package bench

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

const (
	crowd = 20_000
	// lanes is how many alerts are under way at a time.
	lanes = 16
)

// storm measures alerts that have been answered, or are about a pod that has been dealt with: copies of one, and others of the
// same rule for the same pod. What counts is how many a second of the function's CPU time answers, and what reaches the API
// server.
func storm(b *B) {
	for _, kind := range []string{"copies", "others"} {
		pod := b.Env.Deploy(b, testkit.Deployment(b.Env.Namespace(b), "web", 1))[0]
		proxy := b.Env.NewProxy(b, b.Env.Account(b, "label"))
		// On a core of its own, like a sender that does nothing but send: else it is their waiting for each other that is measured.
		p := process.StartIn(b.T, []string{"taskset", "-c", "1"}, "label", proxy.Kubeconfig, "LABELS=riposte.dev/suspect=true", "CLAIMS=lease")
		now := time.Now()
		first := testkit.AlertFor(b, pod, testkit.At(now))
		stamp := []byte(now.UTC().Format(time.RFC3339Nano))
		p.Alert(first).Expect(b, "200 applied")
		idle := float64(p.Memory("VmRSS")) / 1e6
		proxy.Forget()
		counts := &tally{}
		var next atomic.Int64
		var wait sync.WaitGroup
		used, began := p.CPU(), time.Now()
		for range lanes {
			wait.Go(func() {
				for i := next.Add(1); i <= crowd; i = next.Add(1) {
					alert := first
					if kind == "others" {
						alert = bytes.Replace(first, stamp, []byte(now.Add(time.Duration(i)*time.Microsecond).UTC().Format(time.RFC3339Nano)), 1)
					}
					status, verdict, err := p.Stream(b.Context(), bytes.NewReader(alert))
					if err != nil {
						b.Errorf("alert %d: %v", i, err)
						return
					}
					counts.add(fmt.Sprint(status, " ", verdict))
				}
			})
		}
		wait.Wait()
		took, used := time.Since(began), p.CPU()-used
		what := map[string]string{"copies": "copies of one alert", "others": "alerts with other ids for one pod"}[kind]
		b.Add(Figure{
			ID: "storm/" + kind + "/core", What: fmt.Sprintf("%d %s, answered by a second of CPU time", crowd, what), Unit: "/s",
			Value: crowd / used.Seconds(), Detail: fmt.Sprintf("%s; %.0f a second with the sender on the same cores", counts, crowd/took.Seconds()), Goal: AtLeast(10_000),
		})
		// What has expired of the sets before is swept now and then, whatever comes.
		swept := func(r testkit.Request) bool { return r.Verb == "delete" && r.Resource == "leases" }
		changes := slices.DeleteFunc(proxy.Requests(), func(r testkit.Request) bool { return !r.Changes() || swept(r) })
		b.Add(Figure{
			ID: "storm/" + kind + "/writes", What: "the same, changes that reach the API server after the first, but for the sweep of expired records",
			Unit: "requests", Value: float64(len(changes)), Goal: AtMost(0),
		})
		b.Add(Figure{
			ID: "storm/" + kind + "/rss", What: "the same, resident memory at the highest", Unit: "MB", Value: float64(p.Memory("VmHWM")) / 1e6,
			Detail: number(idle) + " MB after the first", Noise: 0.2,
		})
	}
}

// tally counts answers.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (t *tally) add(verdict string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[verdict]++
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []string
	for verdict, n := range sorted(t.counts) {
		all = append(all, fmt.Sprintf("%d %s", n, verdict))
	}
	return strings.Join(all, ", ")
}
