package function

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

var sum = strings.Repeat("0123456789abcdef", 4)

// stored is the data of an outcome of collect-evidence about a pod.
func stored(t *testing.T, pod corev1.Pod, alert []byte, edit func(outcome map[string]any)) []byte {
	t.Helper()
	outcome := map[string]any{
		"id": "0123456789abcdef0123456789abcdef", "response": "collect-evidence", "outcome": "applied", "message": "stored", "alert": json.RawMessage(alert),
		"target": map[string]any{"kind": "Pod", "namespace": pod.Namespace, "name": pod.Name, "uid": pod.UID, "resource": "pods"},
		"details": map[string]any{"artifacts": map[string]any{
			"url": "s3://evidence/2026-01-01/shop/cart-0/a/", "manifest_sha256": sum, "files": []any{}, "missing": []any{},
		}},
	}
	if edit != nil {
		edit(outcome)
	}
	b, err := json.Marshal(outcome)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// postOutcome sends an outcome as a Broker does.
func postOutcome(t *testing.T, r *testkit.Running, outcome []byte) testkit.Answer {
	t.Helper()
	request := testkit.Find(t, "03").CloudEvent(t, "http://function.example/")
	request.Header.Set("Ce-Type", "dev.riposte.response.v1")
	return testkit.Send(t, r, request, outcome)
}

func artifacts(outcome map[string]any) map[string]any {
	return outcome["details"].(map[string]any)["artifacts"].(map[string]any)
}

func TestEvidenceComesBeforeTheDeletion(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	r := run(t, settings{"REQUIRE_EVIDENCE": "1m"})
	alert := testkit.AlertFor(t, pod)

	early := testkit.Post(t, r, alert)
	early.Expect(t, "429")
	if after, err := strconv.Atoi(early.Header.Get("Retry-After")); err != nil || after < 30 || after > 60 {
		t.Errorf("Retry-After is %q, want what is left of a minute", early.Header.Get("Retry-After"))
	}
	if asked := r.Proxy.Requests(); len(asked) > 0 || !env.Lives(t, pod) {
		t.Errorf("before the evidence it asked for %v", asked)
	}

	answer := postOutcome(t, r, stored(t, pod, alert, nil))
	answer.Expect(t, "200 applied")
	want := map[string]any{"url": "s3://evidence/2026-01-01/shop/cart-0/a/", "manifest_sha256": sum, "missing": 0.0}
	if diff := cmp.Diff(want, answer.Record.Details["evidence"]); diff != "" {
		t.Errorf("evidence (-want +got):\n%s", diff)
	}
	if env.Lives(t, pod) {
		t.Error("the pod lives")
	}
}

func TestDeadlineOfTheEvidence(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 1)
	pod := env.Deploy(t, deployment)[0]
	for name, tc := range map[string]struct {
		require string
		want    string
		details any
	}{
		"it has passed":         {"1ns", "200 dryrun", "none: deadline of 1ns passed"},
		"it has not":            {"5m", "429", nil},
		"there is none":         {"0", "200 dryrun", nil},
		"there is none, spoken": {"0s", "200 dryrun", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, settings{"REQUIRE_EVIDENCE": tc.require, "DRY_RUN": "true"})
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, tc.want)
			if got := answer.Record.Details["evidence"]; got != tc.details {
				t.Errorf("the evidence is %v, want %v", got, tc.details)
			}
		})
	}
}

func TestOutcomesThatAreNoGoAhead(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pods := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 2))
	pod, other := pods[0], pods[1]
	kept := env.Deploy(t, testkit.Deployment(env.Namespace(t), "kept", 1))[0]
	const none = "200 skipped no-evidence"
	missing := []any{map[string]string{"name": "logs/app.log", "reason": "x"}}
	for name, tc := range map[string]struct {
		pod      corev1.Pod
		settings settings
		edit     func(outcome map[string]any)
		want     string
	}{
		"it is one":           {pod, nil, nil, "200 dryrun"},
		"with a part missing": {pod, nil, func(o map[string]any) { artifacts(o)["missing"] = missing }, "200 dryrun"},
		"with a part missing, where all is asked": {pod, settings{"PARTIAL_EVIDENCE": "false"}, func(o map[string]any) { artifacts(o)["missing"] = missing }, none},
		"with nothing missing, where all is":      {pod, settings{"PARTIAL_EVIDENCE": "false"}, nil, "200 dryrun"},
		"of a dry run, to a dry run":              {pod, nil, func(o map[string]any) { o["outcome"] = "dryrun" }, "200 dryrun"},
		"of a dry run":                            {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { o["outcome"] = "dryrun" }, none},
		"where none is wanted":                    {kept, settings{"DRY_RUN": "false", "REQUIRE_EVIDENCE": "0"}, nil, none},
		"of another function":                     {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { o["response"] = "isolate" }, none},
		"that stored nothing":                     {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { o["outcome"] = "skipped" }, none},
		"that failed":                             {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { o["outcome"] = "failed" }, none},
		"without a bundle":                        {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { delete(o, "details") }, none},
		"with a bundle of another form":           {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { o["details"] = map[string]any{"artifacts": "all"} }, none},
		"without a place":                         {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { artifacts(o)["url"] = "" }, none},
		"with a place that is none":               {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { artifacts(o)["url"] = "s3://e/" + strings.Repeat("x", 2048) }, none},
		"without a sum":                           {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { artifacts(o)["manifest_sha256"] = "x" }, none},
		"of another pod": {
			kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { o["target"].(map[string]any)["uid"] = string(other.UID) }, none,
		},
		"of no pod":                  {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { delete(o, "target") }, none},
		"about an alert that is old": {kept, settings{"DRY_RUN": "false", "REQUIRE_EVIDENCE": "1ns", "MAX_ALERT_AGE": "2ns"}, nil, "200 refused too-old"},
		"about what is protected":    {kept, settings{"DRY_RUN": "false", "PROTECTED_NAMESPACES": "testkit-*"}, nil, "200 refused protected-namespace"},
		"of its own":                 {kept, settings{"DRY_RUN": "false"}, func(o map[string]any) { o["response"] = "delete-pod" }, "204"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := settings{"REQUIRE_EVIDENCE": "5m", "DRY_RUN": "true"}
			maps.Copy(all, tc.settings)
			r := run(t, all)
			answer := postOutcome(t, r, stored(t, tc.pod, testkit.AlertFor(t, tc.pod), tc.edit))
			answer.Expect(t, tc.want)
			if answer.Status == http.StatusOK && answer.Record.Message == "" {
				t.Error("it does not say why")
			}
			for _, change := range r.Proxy.Changes() {
				if !change.DryRun() {
					t.Errorf("it sent %s", change)
				}
			}
		})
	}
	if !env.Lives(t, kept) || !env.Lives(t, pod) {
		t.Error("a pod is gone")
	}
}

// What is no evidence must not use up what makes repeats harmless, or a forged outcome would keep the pod alive.
func TestForgedEvidenceDoesNotKeepThePodAlive(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 1)
	pod := env.Deploy(t, deployment)[0]
	alert := testkit.AlertFor(t, pod)
	r := run(t, settings{"REQUIRE_EVIDENCE": "5m", "CLAIMS": "lease", "K_SERVICE": "delete-pod"})
	for _, edit := range []func(map[string]any){
		func(o map[string]any) { o["outcome"] = "failed" },
		func(o map[string]any) { delete(o, "details") },
		func(o map[string]any) { o["target"].(map[string]any)["uid"] = "x" },
	} {
		postOutcome(t, r, stored(t, pod, alert, edit)).Expect(t, "200 skipped no-evidence")
	}
	if !env.Lives(t, pod) {
		t.Fatal("the pod is gone")
	}
	late := run(t, settings{"REQUIRE_EVIDENCE": "1ns", "CLAIMS": "lease", "K_SERVICE": "delete-pod"}) // the same function, when the deadline has passed
	answer := testkit.Post(t, late, alert)
	answer.Expect(t, "200 applied")
	if got := answer.Record.Details["evidence"]; got != "none: deadline of 1ns passed" {
		t.Errorf("the evidence is %v", got)
	}
	if env.Lives(t, pod) {
		t.Error("the pod lives")
	}
}

// Evidence and deadline are two ways to one deletion.
func TestBothWaysAreOneDeletion(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	alert := testkit.AlertFor(t, pod)
	one, two := run(t, settings{"REQUIRE_EVIDENCE": "5m", "CLAIMS": "lease", "K_SERVICE": "delete-pod"}), run(t, settings{"REQUIRE_EVIDENCE": "1ns", "CLAIMS": "lease", "K_SERVICE": "delete-pod"})
	first := postOutcome(t, one, stored(t, pod, alert, nil))
	first.Expect(t, "200 applied")
	second := testkit.Post(t, two, alert)
	second.Expect(t, "200 applied")
	if first.Record.ID != second.Record.ID || !cmp.Equal(first.Record.Details, second.Record.Details) {
		t.Errorf("the outcomes are %s with %v and %s with %v, want one", first.Record.ID, first.Record.Details, second.Record.ID, second.Record.Details)
	}
	if changed := append(one.Proxy.Changed(), two.Proxy.Changed()...); len(changed) != 1 {
		t.Errorf("they sent %v, want one deletion", changed)
	}
}

// The outcome of the real function, byte for byte, is what the deletion goes by.
func TestDeletionFollowsTheRealOutcomeOfCollectEvidence(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	alert := testkit.AlertFor(t, pod)
	folder := t.TempDir()
	first := startProcess(t, testkit.Binary(t, "collect-evidence"), env.NewProxy(t, env.Account(t, "collect-evidence")),
		"CLAIMS=memory", "ARTIFACT_URL=file://"+folder)
	outcome := testkit.ReadAnswer(t, first.post(t, alert))
	outcome.Expect(t, "200 applied")

	r := run(t, settings{"REQUIRE_EVIDENCE": "5m"})
	request := testkit.Find(t, "03").CloudEvent(t, "http://function.example/")
	request.Header = outcome.Header.Clone()
	answer := testkit.Send(t, r, request, outcome.Body)
	answer.Expect(t, "200 applied")
	if env.Lives(t, pod) {
		t.Error("the pod lives")
	}
	found, _ := answer.Record.Details["evidence"].(map[string]any)
	address, _ := found["url"].(string)
	manifest, err := os.ReadFile(strings.TrimPrefix(address, "file://") + "manifest.json")
	if err != nil {
		t.Fatalf("the bundle that the deletion names: %v", err)
	}
	if got := sha256.Sum256(manifest); found["manifest_sha256"] != hex.EncodeToString(got[:]) {
		t.Errorf("the manifest has the sum %x, the deletion names %v", got, found["manifest_sha256"])
	}
}

func TestDeadlineIsBeforeTheAlertIsTooOld(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		settings settings
		want     []string // in the error; none for no error
	}{
		"a minute of ten":      {settings{"REQUIRE_EVIDENCE": "1m"}, nil},
		"more than there is":   {settings{"REQUIRE_EVIDENCE": "10m"}, []string{`REQUIRE_EVIDENCE is "10m0s"`, `MAX_ALERT_AGE is "10m0s"`}},
		"as the alert may age": {settings{"REQUIRE_EVIDENCE": "30s", "MAX_ALERT_AGE": "30s"}, []string{`REQUIRE_EVIDENCE is "30s"`, `MAX_ALERT_AGE is "30s"`}},
		"any age":              {settings{"REQUIRE_EVIDENCE": "1h", "MAX_ALERT_AGE": "0"}, nil},
		"less than nothing":    {settings{"REQUIRE_EVIDENCE": "-1s"}, []string{`REQUIRE_EVIDENCE is "-1s"`}},
		"no duration":          {settings{"REQUIRE_EVIDENCE": "90"}, []string{`REQUIRE_EVIDENCE is "90"`, "a duration"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := settings{"KUBECONFIG": testkit.Cluster(t).Kubeconfig, "CLAIMS": "memory"}
			maps.Copy(all, tc.settings)
			err := New().Start(t.Context(), all)
			if (err == nil) != (len(tc.want) == 0) {
				t.Fatalf("the error is %v", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error is %q, want %s in it", err, want)
				}
			}
		})
	}
}
