package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// TestEvidence follows an alert whose pod is to be deleted only when its evidence is stored, by the shipped triggers:
// the alert itself is answered 429, the outcome of collect-evidence brings the deletion.
func TestEvidence(t *testing.T) {
	k := start(t)
	p := &place{knative: k, journal: &journal{}, namespace: k.env.Namespace(t)}
	folder := filepath.Join(testkit.Root(t), "deploy", "knative", "brokers", inMemory)
	manifests := within(p.namespace, kustomize(t, testkit.Root(t), folder)+"\n---\n"+shippedTriggers(t))
	names, _ := k.namedServices(t, manifests)
	stored := t.TempDir()
	for _, name := range names {
		switch name {
		case "collect-evidence":
			k.runFunction(t, p.journal, p.namespace, name, "ARTIFACT_URL=file://"+stored, "KUBECONFIG="+k.env.ServiceAccountKubeconfig(t, name))
		case "delete-pod":
			k.runFunction(t, p.journal, p.namespace, name, "REQUIRE_EVIDENCE=1m", "KUBECONFIG="+k.env.ServiceAccountKubeconfig(t, name))
		default:
			k.street.build(t, p.namespace, name, p.of(numbered(responds(name))))
		}
	}
	k.declare(t, manifests)
	pod := k.env.Deploy(t, testkit.Deployment(p.namespace, "web", 2))[0]
	alert := testkit.Find(t, "03").Retarget(testkit.To(t, pod, time.Now())).CloudEvent(t, "http://broker.example")
	id := alert.Header.Get("Ce-Id")
	p.post(t.Context(), t, alert)
	gone := func() error { return unless(!k.env.Lives(t, pod), "the pod lives") }
	testkit.Eventually(t, "the pod is deleted by the outcome, and the alert is answered the same", func(context.Context) error {
		told := answered(p.to("delete-pod"))
		return errors.Join(gone(), p.finished(id),
			unless(count(told, http.StatusOK) == 2 && count(told, -1) == 0, "delete-pod answered %v", told))
	})
	waited, followed, repeated := 0, "", ""
	for _, c := range p.to("delete-pod") {
		var outcome struct {
			ID      string `json:"id"`
			Outcome string `json:"outcome"`
			Details struct {
				Evidence json.RawMessage `json:"evidence"`
			} `json:"details"`
		}
		_ = json.Unmarshal(c.Answer, &outcome) // A 429 is text.
		switch fromEvidence := c.Header.Get("Ce-Response") == "collect-evidence"; {
		case c.Status == http.StatusTooManyRequests && !fromEvidence:
			waited++
		case c.Status == http.StatusOK && fromEvidence:
			if followed = outcome.ID; outcome.Outcome != "applied" || len(outcome.Details.Evidence) == 0 {
				t.Errorf("by the evidence the answer is %s", c.Answer)
			}
		case c.Status == http.StatusOK:
			repeated = outcome.ID
		default:
			t.Errorf("delete-pod answered %d: %s", c.Status, c.Answer)
		}
	}
	if waited == 0 || followed == "" || repeated != followed {
		t.Errorf("the alert waited %d times; the evidence was answered by outcome %q, the alert in the end by %q", waited, followed, repeated)
	}
	bundles, err := filepath.Glob(filepath.Join(stored, "*", p.namespace, "*", "*", "manifest.json"))
	if err != nil || len(bundles) != 1 {
		t.Errorf("%d bundles are stored (%v), want one", len(bundles), err)
	}
}

func count(all []int, one int) int {
	return len(all) - len(slices.DeleteFunc(slices.Clone(all), func(n int) bool { return n == one }))
}

func answered(calls []call) []int {
	var all []int
	for _, c := range calls {
		all = append(all, c.Status)
	}
	return all
}
