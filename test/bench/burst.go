package bench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// field is that many pods, which come back when they are deleted.
type field []testkit.Object

func newField(b *B, n int) field {
	b.Helper()
	const each = 60
	var f field
	for i := range n / each {
		// On a node of its own: one takes 110 pods.
		d := testkit.Deployment(b.Env.Namespace(b), "web-"+strconv.Itoa(i), each, testkit.OnNode(b.Env.Node(b)))
		b.Env.Deploy(b, d)
		f = append(f, d)
	}
	return f
}

// pods waits until all are there, which takes the controllers minutes for hundreds.
func (f field) pods(b *B) []corev1.Pod {
	b.Helper()
	var all []corev1.Pod
	for _, d := range f {
		for slices.ContainsFunc(b.Env.Pods(b, d), func(p corev1.Pod) bool { return !testkit.IsReady(p) }) {
			select {
			case <-time.After(time.Second):
			case <-b.Context().Done():
				b.Fatal("the pods do not come back")
			}
		}
		b.Env.Ready(b, d)
		all = append(all, b.Env.Pods(b, d)...)
	}
	return all
}

// burst measures as many alerts at once as there are pods, until the last is answered. The floor is as many GETs and DELETEs at
// once by bare client-go.
func burst(n, rounds int) func(b *B) {
	return func(b *B) {
		kubeconfig := b.Env.ServiceAccountKubeconfig(b, "delete-pod")
		bare := bareClient(b, kubeconfig)
		deletion := changes()[0].bare
		field := newField(b, n)
		all := map[string]func(pod corev1.Pod, alert []byte) error{
			"floor": func(pod corev1.Pod, _ []byte) error {
				got, err := bare.Get().AbsPath(podPath(&pod)).DoRaw(b.Context())
				var object corev1.Pod
				if err == nil {
					err = json.Unmarshal(got, &object)
				}
				if err != nil {
					return err
				}
				return deletion(b.Context(), bare, &pod)
			},
		}
		for name, settings := range map[string][]string{
			"alone":      {"CLAIMS=none"},
			"everything": {"CLAIMS=lease", "BUDGET_FUNCTION=10000/1m", "BUDGET_WORKLOAD=10000/1m", "BUDGET_CLUSTER=10000/1m"},
		} {
			p := process.Start(b.T, "delete-pod", kubeconfig, settings...)
			all[name] = func(_ corev1.Pod, alert []byte) error {
				a, err := p.Deliver(b.Context(), alert)
				if err == nil && a.Verdict() != "200 applied" {
					err = fmt.Errorf("answered %s", a.Verdict())
				}
				return err
			}
		}
		took := map[string]times{}
		for round := range rounds + 1 {
			for _, name := range []string{"floor", "alone", "everything"} {
				t := atOnce(b, field.pods(b), all[name])
				if round > 0 || rounds == 0 { // The first one makes the connections.
					took[name] = append(took[name], t)
				}
			}
		}
		for _, name := range []string{"alone", "everything"} {
			ratio, detail := took[name].against(took["floor"], 0.5)
			says := map[string]string{"alone": "CLAIMS=none", "everything": "claims and budgets"}[name]
			id := fmt.Sprintf("burst/%d/%s", n, name)
			b.Add(Figure{ID: id + "/ratio", What: fmt.Sprintf("%d alerts at once for %d pods, until the last is answered, %s", n, n, says), Unit: "x", Value: ratio, Detail: detail, Noise: 0.4})
			var goal *Goal
			if n == 60 {
				goal = AtMost(0.7)
			}
			b.Add(Figure{ID: id + "/time", What: "the same, time", Unit: "s", Value: took[name].at(0.5).Seconds(), Goal: goal})
		}
	}
}

// atOnce does something with all pods at the same time.
func atOnce(b *B, pods []corev1.Pod, do func(pod corev1.Pod, alert []byte) error) time.Duration {
	b.Helper()
	alerts := make([][]byte, len(pods))
	for i, pod := range pods {
		alerts[i] = testkit.AlertFor(b, pod)
	}
	var wait sync.WaitGroup
	began := time.Now()
	for i, pod := range pods {
		wait.Go(func() {
			if err := do(pod, alerts[i]); err != nil {
				b.Errorf("pod %s of %s: %v", pod.Name, strconv.Itoa(len(pods)), err)
			}
		})
	}
	wait.Wait()
	return time.Since(began)
}
