package function

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestEveryKindOfOwner(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	cron := testkit.CronJob(namespace, "nightly")
	env.Create(t, cron)
	for name, tc := range map[string]struct {
		workload testkit.Object
		want     int
	}{
		"a deployment": {testkit.Deployment(namespace, "web", 1), 2}, "a replica set": {testkit.ReplicaSet(namespace, "bare", 1), 1},
		"a stateful set": {testkit.StatefulSet(namespace, "db", 1), 1}, "a daemon set": {testkit.DaemonSet(namespace, "agent", env.Node(t).Name), 1},
		"a job": {testkit.Job(namespace, "once"), 1}, "a cron job": {testkit.JobOf(cron), 2}, "nobody": {testkit.Pod(namespace, "alone"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod, p := env.Deploy(t, tc.workload)[0], folder(t)
			testkit.Post(t, run(t, p, settings{"SKIP_DAEMONSETS": "false"}), testkit.AlertFor(t, pod)).Expect(t, "200 applied")
			if chain := decode[[]map[string]any](t, find(t, p).files["owners.json"]); len(chain) != tc.want {
				t.Errorf("the chain is %v, want %d owners", chain, tc.want)
			}
		})
	}
}

func TestOwnerOfAnUnknownKindIsMissing(t *testing.T) {
	t.Parallel()
	env, p := testkit.Cluster(t), folder(t)
	namespace := env.Namespace(t)
	alone := env.Deploy(t, testkit.Pod(namespace, "alone"))[0]
	robot := testkit.Pod(namespace, "custom")
	robot.OwnerReferences = append(robot.OwnerReferences, testkit.Controller(&alone, "example.com/v1", "Robot"))
	pod := env.Deploy(t, robot)[0]
	testkit.Post(t, run(t, p, nil), testkit.AlertFor(t, pod)).Expect(t, "200 applied evidence-partial")
	if s := find(t, p); s.why("owners.json") == "" {
		t.Errorf("missing is %+v", s.manifest.Missing)
	}
}

func TestRedeliveryGetsTheSameOutcome(t *testing.T) {
	t.Parallel()
	pod, p := deploy(t), folder(t)
	claims := settings{"CLAIMS": "lease"}
	one, two := run(t, p, claims), run(t, p, claims)
	alert := testkit.AlertFor(t, pod)
	first := testkit.Post(t, one, alert)
	first.Expect(t, "200 applied")
	for _, r := range []*testkit.Running{one, two} {
		if again := testkit.Post(t, r, alert); !bytes.Equal(again.Body, first.Body) {
			t.Errorf("the answer is\n%s\nwant\n%s", again.Body, first.Body)
		}
	}
	testkit.Post(t, two, testkit.AlertFor(t, pod)).Expect(t, "200 skipped duplicate")
	find(t, p) // one bundle
	testkit.Eventually(t, "claims are swept", func(context.Context) error {
		for _, request := range one.Proxy.Requests() {
			if request.Verb == "list" && request.Resource == "leases" {
				return nil
			}
		}
		return errors.New("they are not")
	})
}

func TestClaimOfWhatFailedIsTakenUp(t *testing.T) {
	t.Parallel()
	pod, p := deploy(t), folder(t)
	r := run(t, p, settings{"CLAIMS": "lease"})
	alert := testkit.AlertFor(t, pod)
	fault := r.Proxy.Inject(&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", testkit.Hangs())})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-fault.Reached(); cancel() }()
	testkit.PostWith(ctx, t, r, alert).Expect(t, "500")
	r.Proxy.Heal()
	testkit.Post(t, r, alert).Expect(t, "200 applied")
	find(t, p)
}
