//go:build prove

package prove

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// kubernetes are the functions that act on the cluster, with the settings they need.
func kubernetes() map[string][]string {
	return map[string][]string{"delete-pod": nil, "isolate": nil, "taint": nil, "label": {"LABELS=riposte.dev/suspect=true"}}
}

func mainJob(p proof) {
	e := testkit.Cluster(p.T)
	rightPod(p, e)
	stale(p, e)
	dryRun(p, e)
	captures(p, e)
	burst(p, e)
	hostileBody(p, e)
	denseBodies(p, e)
	once(p)
}

// rightPod raises alerts in some pods of several workloads and looks at who died.
func rightPod(p proof, e *testkit.Env) {
	f := process.Start(p.T, "delete-pod", e.ServiceAccountKubeconfig(p.T, "delete-pod"))
	var all []corev1.Pod
	var workloads []testkit.Object
	namespace := e.Namespace(p.T)
	for _, name := range []string{"web", "api", "cart"} {
		d := testkit.Deployment(namespace, name, 5)
		all = append(all, e.Deploy(p.T, d)...)
		workloads = append(workloads, d)
	}
	guilty := map[string]bool{}
	var took []time.Duration
	for i, pod := range all {
		if i%5 >= 2 {
			continue
		}
		guilty[string(pod.UID)] = true
		began := time.Now()
		f.Alert(testkit.AlertFor(p.T, pod)).Expect(p.T, "200 applied")
		took = append(took, time.Since(began))
	}
	alive := map[string]bool{}
	for _, d := range workloads {
		e.Ready(p.T, d) // the replacements are up
		for _, pod := range e.Pods(p.T, d) {
			alive[string(pod.UID)] = true
		}
	}
	wrong, spared := 0, 0
	for _, pod := range all {
		switch died := !alive[string(pod.UID)]; {
		case died && !guilty[string(pod.UID)]:
			wrong++
		case !died && guilty[string(pod.UID)]:
			spared++
		}
	}
	p.row("the pod that raised the alert is deleted, and no other",
		fmt.Sprintf("%d of %d, %d others", len(guilty)-spared, len(guilty), wrong), "all, 0 others", wrong == 0 && spared == 0)
	slices.Sort(took)
	median := took[len(took)/2]
	p.row("from the alert's arrival to its outcome (median)", median.Round(100*time.Microsecond).String(), "100ms", median <= 100*time.Millisecond)
}

// stale raises alerts of a pod that has been replaced by one of the same name.
func stale(p proof, e *testkit.Env) {
	s := testkit.StatefulSet(e.Namespace(p.T), "db", 1)
	old := e.Deploy(p.T, s)[0]
	before := time.Now()
	e.Delete(p.T, &old)
	now := e.Recreated(p.T, old)
	f := process.Start(p.T, "delete-pod", e.ServiceAccountKubeconfig(p.T, "delete-pod"))
	alerts := map[string][]byte{
		"the old container": testkit.AlertFor(p.T, old),
		"the old UID":       testkit.AlertFor(p.T, now, testkit.Field("k8s.pod.uid", string(old.UID))),
		"the old time":      testkit.AlertFor(p.T, now, testkit.At(before.Add(-2*time.Second))),
		"nothing to verify": testkit.AlertFor(p.T, now, testkit.Without("container.id")),
		"a forged output":   testkit.AlertFor(p.T, old, testkit.Set("output", "k8s_pod_name="+now.Name+" container_id="+testkit.ContainerID(p.T, now))),
	}
	for _, body := range alerts {
		if a := f.Alert(body); a.Attributes["outcome"] != "skipped" {
			p.Errorf("a stale alert was answered %s", a.Verdict())
		}
	}
	pods := e.Pods(p.T, s)
	alive := len(pods) == 1 && pods[0].UID == now.UID && pods[0].DeletionTimestamp == nil
	p.row("a pod that took the name of the guilty one stays alive", fmt.Sprintf("%d stale or forged alerts, alive: %t", len(alerts), alive), "alive", alive)
}

// dryRun sends an alert to every function on Kubernetes in dry run, and compares all objects of the namespace.
func dryRun(p proof, e *testkit.Env) {
	namespace := e.Namespace(p.T)
	node := e.Node(p.T)
	pods := e.Deploy(p.T, testkit.Deployment(namespace, "web", 2, testkit.OnNode(node)))
	version := func() string {
		pod, n := &corev1.Pod{}, &corev1.Node{}
		pod.Namespace, pod.Name, n.Name = namespace, pods[0].Name, node.Name
		e.Get(p.T, pod)
		e.Get(p.T, n)
		return fmt.Sprint(pod.UID, pod.Labels, pod.Annotations, pod.DeletionTimestamp, n.Spec.Taints)
	}
	before := version()
	done := 0
	for name, settings := range kubernetes() {
		f := process.Start(p.T, name, e.ServiceAccountKubeconfig(p.T, name), append(settings, "DRY_RUN=true")...)
		if a := f.Alert(testkit.AlertFor(p.T, pods[0])); a.Verdict() == "200 dryrun" {
			done++
		} else {
			p.Errorf("%s in dry run answered %s", name, a.Verdict())
		}
	}
	same := before == version()
	p.row("a dry run goes all the way and changes nothing", fmt.Sprintf("%d of 4 functions, unchanged: %t", done, same), "4, unchanged", done == 4 && same)
}

// captures sends everything that was ever captured, in every form, to every function.
func captures(p proof, e *testkit.Env) {
	sent, bad := 0, 0
	for name, settings := range kubernetes() {
		f := process.Start(p.T, name, e.ServiceAccountKubeconfig(p.T, name), append(settings, "MAX_ALERT_AGE=0")...)
		for _, c := range testkit.Captures(p.T) {
			bare, err := http.NewRequestWithContext(p.Context(), http.MethodPost, f.URL, bytes.NewReader(c.Alert))
			if err != nil {
				p.Fatal(err)
			}
			for _, r := range []*http.Request{bare, c.CloudEvent(p.T, f.URL), c.OpenFaaS(p.T, f.URL), c.Webhook(p.T, f.URL)} {
				if r == nil {
					continue // Falcosidekick rejected it and sent nothing on
				}
				sent++
				want := http.StatusOK
				if c.Rejected {
					want = http.StatusBadRequest
				}
				if a := f.Post(r); a.Status != want {
					bad++
					p.Errorf("%s: %s answered %d %s, want %d", c.Name, name, a.Status, a.Body, want)
				}
			}
		}
	}
	p.row("every captured input is decoded, or refused with 400", fmt.Sprintf("%d requests, %d others", sent, bad), "0 others", bad == 0 && sent > 100)
}

// burst raises 60 alerts at once, each in a pod of its own.
func burst(p proof, e *testkit.Env) {
	const n = 60
	d := testkit.Deployment(e.Namespace(p.T), "web", n)
	pods := e.Deploy(p.T, d)
	f := process.Start(p.T, "delete-pod", e.ServiceAccountKubeconfig(p.T, "delete-pod"))
	bodies := make([][]byte, n)
	for i, pod := range pods {
		bodies[i] = testkit.AlertFor(p.T, pod)
	}
	applied := make(chan bool, n)
	began := time.Now()
	var wait sync.WaitGroup
	for _, body := range bodies {
		wait.Go(func() { applied <- f.Alert(body).Verdict() == "200 applied" })
	}
	wait.Wait()
	took := time.Since(began)
	close(applied)
	done := 0
	for ok := range applied {
		if ok {
			done++
		}
	}
	p.row("60 alerts at once for 60 pods: all deleted", fmt.Sprintf("%d in %s", done, took.Round(time.Millisecond)), "60 in 5s", done == n && took <= 5*time.Second)
}

// hostileBody streams a body that never ends, as far as the function lets it.
func hostileBody(p proof, e *testkit.Env) {
	f := process.Start(p.T, "delete-pod", e.ServiceAccountKubeconfig(p.T, "delete-pod"))
	f.Alert([]byte("{}")) // warm
	before := f.Memory("VmRSS")
	const size = 400 << 20
	status := 0
	r, err := http.NewRequestWithContext(p.Context(), http.MethodPost, f.URL, io.LimitReader(zeros{}, size))
	if err != nil {
		p.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(r); err == nil {
		status = response.StatusCode
		_ = response.Body.Close()
	}
	grew := (f.Memory("VmHWM") - before) >> 20
	// The server may cut the connection while the client still writes: then there is no answer to read.
	p.row("a body of 400 MB costs no memory", fmt.Sprintf("status %d, %d MB more", status, grew), "413 or cut off, 16 MB", grew <= 16 && (status == http.StatusRequestEntityTooLarge || status == 0))
}

// denseBodies sends many small values, which cost far more decoded than written.
func denseBodies(p proof, e *testkit.Env) {
	const n = 20
	f := process.Start(p.T, "delete-pod", e.ServiceAccountKubeconfig(p.T, "delete-pod"))
	f.Alert([]byte("{}")) // warm
	before := f.Memory("VmRSS")
	dense := []byte(`{"output_fields":{"a":[` + strings.Repeat("{},", 340_000) + `{}]}}`)
	statuses := make(chan int, n)
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() { statuses <- f.Alert(dense).Status })
	}
	wait.Wait()
	close(statuses)
	refused := 0
	for status := range statuses {
		if status == http.StatusBadRequest {
			refused++
		}
	}
	grew := (f.Memory("VmHWM") - before) >> 20
	p.row("20 dense megabytes at once do not fill the memory", fmt.Sprintf("%d refused, %d MB more", refused, grew), "20, 96 MB", refused == n && grew <= 96)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '0'
	}
	return len(b), nil
}

// once is the local run, from nothing to the replacement pod and back to nothing.
func once(p proof) {
	began := time.Now()
	out, err := exec.CommandContext(p.Context(), filepath.Join(testkit.Root(p.T), "dist", "bin", "local"), "--once").CombinedOutput()
	took := time.Since(began)
	if err != nil {
		p.Errorf("make run ARGS=--once: %v\n%s", err, lastLines(string(out), 30))
	}
	p.row("make run ARGS=--once, once built", took.Round(100*time.Millisecond).String(), "25s, status 0", err == nil && took < 25*time.Second)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
