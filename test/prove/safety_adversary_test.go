//go:build prove

package prove

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// adversary sends 10,000 alerts, each of which asks for a pod that must not die, to a delete-pod that would: no dry run, no
// budget, no protection but the built-in one. Pods that share names with the dead are re-created all the time.
func adversary(p proof, e *testkit.Env) {
	const n = 10_000
	shop, other := e.Namespace(p.T), e.Namespace(p.T)
	web := e.Deploy(p.T, testkit.Deployment(shop, "web", 5))
	e.Deploy(p.T, testkit.Deployment(other, "api", 5))
	db := testkit.StatefulSet(shop, "db", 1)
	dead := e.Deploy(p.T, db)[0]
	e.Delete(p.T, &dead)
	reborn := e.Recreated(p.T, dead)

	all, proxy := replicas(p, e, 2, "delete-pod")
	lies := adversarial(web, dead, reborn, other)
	random := rand.New(rand.NewPCG(1, 2)) // The same lies in each run.
	order := make([]int, n)
	for i := range order {
		order[i] = random.IntN(len(lies))
	}
	var mu sync.Mutex
	reasons, applied := map[string]int{}, 0
	atOnce(n, 16, func(i int) {
		a := all[i%len(all)].Alert(lies[order[i]](p, i))
		mu.Lock()
		defer mu.Unlock()
		reasons[a.Verdict()]++
		if a.Attributes["outcome"] == "applied" {
			applied++
		}
	})
	sent, _ := writes(proxy)
	lost := 0
	for _, pod := range append([]corev1.Pod{reborn}, web...) {
		if !e.Lives(p.T, pod) {
			lost++
		}
	}
	p.row("10,000 adversarial alerts: no pod dies", fmt.Sprintf("%d wrong targets, %d deletions sent: %s", lost+applied, sent, counts(reasons)),
		"0 wrong, 0 sent", lost == 0 && applied == 0 && sent == 0 && len(reasons) >= 8)
	inBetween(p, e)
}

// adversarial are the ways to lie about a pod.
func adversarial(web []corev1.Pod, dead, reborn corev1.Pod, other string) []func(p proof, i int) []byte {
	pick := func(i int) corev1.Pod { return web[i%len(web)] }
	hex := func(i int) string { return fmt.Sprintf("%012x", i+1) }
	return []func(p proof, i int) []byte{
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.At(time.Now().Add(-time.Hour)))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.At(time.Now().Add(time.Hour)))
		},
		// Older than the pod, and not too old.
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.At(pick(i).CreationTimestamp.Add(-2*time.Second)))
		},
		// The dead pod's identity, under the name that the living one has now.
		func(p proof, _ int) []byte { return testkit.AlertFor(p.T, dead) },
		func(p proof, _ int) []byte {
			return testkit.AlertFor(p.T, reborn, testkit.Field("k8s.pod.uid", string(dead.UID)))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Field("k8s.pod.uid", "00000000-0000-4000-8000-"+hex(i)))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Without("k8s.pod.uid"), testkit.Field("container.id", hex(i)))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Field("k8s.ns.name", other))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Field("k8s.ns.name", "kube-system"))
		},
		// About the host; what the attacker prints names a pod.
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Without("k8s.pod.name", "k8s.ns.name", "k8s.pod.uid"), testkit.Field("container.id", "host"),
				testkit.Set("output", "k8s_pod_name="+pick(i).Name+" k8s_ns_name="+pick(i).Namespace+" container_id="+testkit.ContainerID(p.T, pick(i))))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Field("k8s.pod.name", "../../pods/"+pick(i).Name))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Field("k8s.pod.name", strings.ToUpper(pick(i).Name)))
		},
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Field("k8s.pod.name", []any{pick(i).Name}))
		},
		// Nothing that tells the pod from others of its name.
		func(p proof, i int) []byte {
			return testkit.AlertFor(p.T, pick(i), testkit.Without("container.id", "container.full_id", "k8s.pod.uid"))
		},
		func(p proof, i int) []byte { return testkit.AlertFor(p.T, pick(i), testkit.Field("container.id", "")) },
		func(p proof, i int) []byte { return testkit.AlertFor(p.T, pick(i), testkit.Set("rule", "Test rule")) },
		func(p proof, i int) []byte { return testkit.AlertFor(p.T, pick(i), testkit.Set("source", "internal")) },
	}
}

// inBetween re-creates the pod under its name at the very moment between the function's look at it and its deletion.
func inBetween(p proof, e *testkit.Env) {
	const n = 20
	wrong, answered := 0, map[string]int{}
	s := testkit.StatefulSet(e.Namespace(p.T), "db", 1)
	pod := e.Deploy(p.T, s)[0]
	all, proxy := replicas(p, e, 1, "delete-pod")
	for range n {
		var next corev1.Pod
		proxy.Heal()
		proxy.Inject(&testkit.Fault{Verb: "delete", Resource: "pods", Times: 1, Effect: testkit.Meanwhile(func() {
			e.Delete(p.T, &pod)
			next = e.Recreated(p.T, pod)
		})})
		answered[all[0].Alert(testkit.AlertFor(p.T, pod)).Verdict()]++
		if next.Name == "" || !e.Lives(p.T, next) {
			wrong++
		}
		pod = next
	}
	p.row("re-created between the look and the deletion", fmt.Sprintf("%d of %d newcomers died: %s", wrong, n, counts(answered)),
		"0", wrong == 0 && answered["200 skipped replaced"] == n)
}
