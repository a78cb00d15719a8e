package platforms

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// mine is the label by which a release finds what its own test has contained: others contain and release at the same time.
const mine = "example.com/contained-by"

// suspect is the label that the function label puts on what it contains here.
const suspect = "riposte.dev/suspect"

// containing starts the function label, and returns what has it contain a pod for a second and then waits for the second to
// be over: a job for release, by request or at a tick.
func containing(tb testing.TB, e *testkit.Env, owner string) func() job {
	tb.Helper()
	at := port(tb)
	label := started(tb, testkit.Binary(tb, "label"), at, "healthz", []string{
		"DRY_RUN=false", "CLAIMS=memory", "BUDGET_FUNCTION=off", "BUDGET_WORKLOAD=off", "BUDGET_CLUSTER=off",
		"LABELS=" + suspect + "=true", "TTL=1s", "KUBECONFIG=" + e.ServiceAccountKubeconfig(tb, "label"), "LISTEN_ADDRESS=127.0.0.1:" + at,
	})
	return func() job {
		pod := e.Deploy(tb, testkit.Deployment(e.Namespace(tb), "web", 1, func(d *appsv1.Deployment) {
			d.Spec.Template.Labels[mine] = owner
		}))[0]
		contain := testkit.Find(tb, "03").Retarget(testkit.To(tb, pod, time.Now()))
		post(tb, label.url, contain.CloudEvent(tb, "")).Expect(tb, "200 applied")
		e.Get(tb, &pod)
		if pod.Labels[suspect] != "true" {
			tb.Fatalf("the pod to release has the labels %v: it is not contained", pod.Labels)
		}
		due, err := time.Parse(time.RFC3339Nano, pod.Annotations["riposte.dev/release-at"])
		if err != nil {
			tb.Fatalf("the pod to release has the annotations %v: %v", pod.Annotations, err)
		}
		testkit.Eventually(tb, "the containment is due", func(context.Context) error {
			if left := time.Until(due); left >= 0 {
				return fmt.Errorf("it is not for %s", left)
			}
			return nil
		})
		return job{
			event: request(tb, map[string]string{
				"kind": "Pod", "namespace": pod.Namespace, "name": pod.Name, "uid": string(pod.UID), "response": "label",
			}),
			alert: []byte("{}"), verdict: "200 applied",
			done: func() error {
				e.Get(tb, &pod)
				if _, ok := pod.Labels[suspect]; ok {
					return errors.New("the pod has its label still")
				}
				for name := range pod.Annotations {
					if strings.HasPrefix(name, "riposte.dev/") {
						return fmt.Errorf("the pod has the annotation %s still", name)
					}
				}
				return nil
			},
		}
	}
}

// request is a request to release something, as a CloudEvent.
func request(tb testing.TB, data map[string]string) *http.Request {
	tb.Helper()
	body, err := json.Marshal(data)
	if err != nil {
		tb.Fatal(err)
	}
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, "http://function.example/", bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Type": "dev.riposte.release.v1", "Ce-Source": "/people/ada",
		"Ce-Id": fmt.Sprint(time.Now().UnixNano()), "Content-Type": "application/json",
	} {
		r.Header.Set(name, value)
	}
	return r
}
