package function

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

type settings = map[string]string

func run(t *testing.T, s settings) *testkit.Running {
	t.Helper()
	return testkit.Cluster(t).Run(t, "delete-pod", New(), s)
}

func TestExactlyTheRightPodOfThreeIsDeletedAndReplaced(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 3)
	pods := env.Deploy(t, deployment)
	r := run(t, nil)

	answer := testkit.Post(t, r, testkit.AlertFor(t, pods[1]))

	answer.Expect(t, "200 applied")
	target := answer.Record.Target
	if target.Kind != "Pod" || target.Name != pods[1].Name || target.UID != string(pods[1].UID) {
		t.Errorf("the target is %+v, want pod %s with uid %s", target, pods[1].Name, pods[1].UID)
	}
	if want := "namespaces/" + pods[1].Namespace + "/pods/" + pods[1].Name; answer.Attributes["subject"] != want {
		t.Errorf("the subject is %q, want %q", answer.Attributes["subject"], want)
	}
	if diff := cmp.Diff([]string{"delete pods " + pods[1].Namespace + "/" + pods[1].Name}, r.Proxy.Changed()); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if body := string(r.Proxy.Changes()[0].Body); !strings.Contains(body, `"preconditions":{"uid":"`+string(pods[1].UID)+`"}`) {
		t.Errorf("the deletion has no precondition on the uid: %s", body)
	}
	for i, want := range []bool{true, false, true} {
		if got := env.Lives(t, pods[i]); got != want {
			t.Errorf("pod %d lives: %t, want %t", i, got, want)
		}
	}
	env.Ready(t, deployment)
	if now := env.Pods(t, deployment); len(now) != 3 || strings.Contains(testkit.Names(now), pods[1].Name) {
		t.Errorf("the pods are now %s, want three and not %s", testkit.Names(now), pods[1].Name)
	}
}

func TestPodsThatMustLive(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 1)
	pod := env.Deploy(t, deployment)[0]
	protected := testkit.Deployment(env.Namespace(t), "kept", 1, func(d *appsv1.Deployment) {
		d.Annotations = settings{"riposte.dev/protect": "true"}
	})
	kept := env.Deploy(t, protected)[0]
	set := env.Deploy(t, testkit.StatefulSet(pod.Namespace, "db", 1))[0]
	daemon := env.Deploy(t, testkit.DaemonSet(pod.Namespace, "agent", env.Node(t).Name))[0]
	alone := env.Deploy(t, testkit.Pod(pod.Namespace, "alone"))[0]
	system := env.Deploy(t, testkit.Deployment("kube-public", "test-"+pod.Namespace, 1))[0]
	t.Cleanup(func() { env.Remove(t, testkit.Deployment("kube-public", "test-"+pod.Namespace, 1)) })

	for name, tc := range map[string]struct {
		pod      corev1.Pod
		settings settings
		edits    []testkit.Edit
		want     string
	}{
		"an alert of the host":                              {pod, nil, []testkit.Edit{testkit.Without("k8s.ns.name", "k8s.pod.name"), testkit.Field("container.id", "host")}, "200 skipped no-target"},
		"an alert of another container":                     {pod, nil, []testkit.Edit{testkit.Field("container.id", "3ad7b26ded6d")}, "200 skipped replaced"},
		"an alert with another uid":                         {pod, nil, []testkit.Edit{testkit.Field("k8s.pod.uid", "b62f9f77-0000-4000-8000-000000000000")}, "200 skipped replaced"},
		"an alert from before the pod was made":             {pod, nil, []testkit.Edit{testkit.At(pod.CreationTimestamp.Add(-time.Second))}, "200 skipped replaced"},
		"an alert that only its text says is of the pod":    {pod, nil, []testkit.Edit{testkit.Without("k8s.pod.name"), testkit.Set("output", "k8s_pod_name="+pod.Name)}, "200 skipped no-target"},
		"an alert whose text names the pod, its fields not": {pod, nil, []testkit.Edit{testkit.Field("k8s.pod.name", "gone"), testkit.Set("output", "k8s_pod_name="+pod.Name)}, "200 skipped gone"},
		"a test alert":                                      {pod, nil, []testkit.Edit{testkit.Set("rule", "Test rule")}, "200 refused test-rule"},
		"an alert that is too old":                          {pod, settings{"MAX_ALERT_AGE": "1ns"}, nil, "200 refused too-old"},
		"an alert of too low a priority":                    {pod, settings{"MIN_PRIORITY": "Alert"}, nil, "200 refused below-min-priority"},
		"a condition that is false":                         {pod, settings{"WHEN": `target.owner.name != "web"`}, nil, "200 refused condition-false"},
		"an annotated workload":                             {kept, nil, nil, "200 refused protected-annotation"},
		"a protected namespace":                             {system, nil, nil, "200 refused protected-namespace"},
		"a namespace the operator protects":                 {pod, settings{"PROTECTED_NAMESPACES": "testkit-*"}, nil, "200 refused protected-namespace"},
		"a daemon set":                                      {daemon, nil, nil, "200 refused daemonset-pod"},
		"a stateful set where told so":                      {set, settings{"SKIP_STATEFULSETS": "true"}, nil, "200 refused statefulset-pod"},
		"a pod that nothing would recreate":                 {alone, nil, nil, "200 refused standalone-pod"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, tc.settings)
			testkit.Post(t, r, testkit.AlertFor(t, tc.pod, tc.edits...)).Expect(t, tc.want)
			if changed := r.Proxy.Changed(); len(changed) > 0 {
				t.Errorf("it sent %v", changed)
			}
			if !env.Lives(t, tc.pod) {
				t.Error("the pod is gone")
			}
		})
	}
}

func TestPodsThatMayBeDeletedWhereToldSo(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	for name, tc := range map[string]struct {
		workload testkit.Object
		settings settings
	}{
		"a stateful set's by default": {testkit.StatefulSet(namespace, "db", 1), nil},
		"a job's by default":          {testkit.Job(namespace, "once"), nil},
		"a daemon set's":              {testkit.DaemonSet(namespace, "agent", env.Node(t).Name), settings{"SKIP_DAEMONSETS": "false"}},
		"one without a controller":    {testkit.Pod(namespace, "alone"), settings{"SKIP_STANDALONE": "false"}},
		"a condition that is true":    {testkit.Deployment(namespace, "web", 1), settings{"WHEN": `target.owner.kind == "Deployment" && alert.priority == "Critical"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, tc.workload)[0]
			testkit.Post(t, run(t, tc.settings), testkit.AlertFor(t, pod)).Expect(t, "200 applied")
			if env.Lives(t, pod) {
				t.Error("the pod lives")
			}
		})
	}
}

func TestStaleAlertSparesTheNextPodOfAStatefulSet(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	set := testkit.StatefulSet(env.Namespace(t), "cart", 1)
	old := env.Deploy(t, set)[0]
	stale := map[string][]byte{
		"proved by its container": testkit.AlertFor(t, old),
		"proved by its uid":       testkit.AlertFrom(t, "02", old),
	}
	env.Delete(t, &old)
	next := env.Recreated(t, old)
	stale["with the new container and a time before it"] = testkit.AlertFor(t, next, testkit.At(next.CreationTimestamp.Add(-time.Millisecond)))
	stale["with the new uid and a time before it"] = testkit.AlertFrom(t, "02", next, testkit.At(next.CreationTimestamp.Add(-time.Millisecond)))
	for name, alert := range stale {
		t.Run(name, func(t *testing.T) {
			r := run(t, nil)
			testkit.Post(t, r, alert).Expect(t, "200 skipped replaced")
			if changed := r.Proxy.Changed(); len(changed) > 0 || !env.Lives(t, next) {
				t.Errorf("it sent %v, and the new pod lives: %t", changed, env.Lives(t, next))
			}
		})
	}
}

func TestPodThatIsReplacedBetweenReadingAndDeletingLives(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for _, method := range []string{"delete", "evict"} {
		t.Run("by "+method, func(t *testing.T) {
			t.Parallel()
			set := testkit.StatefulSet(env.Namespace(t), "cart", 1)
			old := env.Deploy(t, set)[0]
			r := run(t, settings{"METHOD": method})
			var next corev1.Pod
			r.Proxy.Inject(&testkit.Fault{Verb: "delete", Times: 1, Effect: testkit.Meanwhile(func() {
				env.Delete(t, &old)
				next = env.Recreated(t, old)
			})})
			r.Proxy.Inject(&testkit.Fault{Resource: "pods/eviction", Times: 1, Effect: testkit.Meanwhile(func() {
				env.Delete(t, &old)
				next = env.Recreated(t, old)
			})})
			testkit.Post(t, r, testkit.AlertFor(t, old)).Expect(t, "200 skipped replaced")
			if next.UID == old.UID || !env.Lives(t, next) {
				t.Error("the new pod is gone")
			}
		})
	}
}

func TestPodThatGoesBetweenReadingAndDeletingIsGone(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	r := run(t, nil)
	r.Proxy.Inject(&testkit.Fault{Verb: "delete", Effect: testkit.Meanwhile(func() {
		env.Delete(t, &pod)
		env.Gone(t, &pod)
	})})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 skipped gone")
}

func TestHealthyReplicasAreKept(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	healthy := env.Deploy(t, testkit.Deployment(namespace, "web", 3))[0]
	set := env.Deploy(t, testkit.StatefulSet(namespace, "db", 3))[0]
	bare := env.Deploy(t, testkit.ReplicaSet(namespace, "bare", 3))[0]
	job := env.Deploy(t, testkit.Job(namespace, "once"))[0]
	pair := env.Deploy(t, testkit.Deployment(namespace, "pair", 2))[0]
	daemon := env.Deploy(t, testkit.DaemonSet(namespace, "agent", env.Node(t).Name))[0]
	alone := env.Deploy(t, testkit.Pod(namespace, "alone"))[0]
	custom := env.Deploy(t, testkit.Pod(namespace, "custom", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{testkit.Controller(&alone, "example.com/v1", "Robot")}
	}))[0]
	ready, broken := newBroken(t, env, namespace)
	const refused = "200 refused too-few-replicas"
	for name, tc := range map[string]struct {
		pod     corev1.Pod
		minimum string
		want    string
	}{
		"two of three are wanted and left":                  {healthy, "2", "200 dryrun"},
		"three of three are wanted":                         {healthy, "3", refused},
		"more than there are is wanted":                     {healthy, "4", refused},
		"none is wanted":                                    {healthy, "0", "200 dryrun"},
		"nothing is said":                                   {healthy, "", "200 dryrun"},
		"66% of three is less than two":                     {healthy, "66%", "200 dryrun"},
		"67% of three is more than two":                     {healthy, "67%", refused},
		"50% of two is one":                                 {pair, "50%", "200 dryrun"},
		"51% of two is more than one":                       {pair, "51%", refused},
		"100% can never be left":                            {healthy, "100%", refused},
		"0% is always left":                                 {healthy, "0%", "200 dryrun"},
		"two of three of a stateful set are left":           {set, "2", "200 dryrun"},
		"three of three of a stateful set are wanted":       {set, "3", refused},
		"67% of a replica set":                              {bare, "67%", refused},
		"66% of a replica set":                              {bare, "66%", "200 dryrun"},
		"nobody knows how many a daemon set has":            {daemon, "1", refused},
		"it does not matter where nothing is said":          {daemon, "", "200 dryrun"},
		"nobody knows how many an unknown controller has":   {custom, "1", refused},
		"a pod without a controller has none":               {alone, "1", "200 dryrun"},
		"a job has no replicas to count":                    {job, "1", "200 dryrun"},
		"a pod that is not ready takes no healthy one away": {broken, "2", "200 dryrun"},
		"a ready one beside it does":                        {ready, "2", refused},
		"one of two ready ones may go where one is wanted":  {ready, "1", "200 dryrun"},
		"66% are left without the one that is not ready":    {broken, "66%", "200 dryrun"},
		"66% are not left without a ready one":              {ready, "66%", refused},
		"33% are left without a ready one":                  {ready, "33%", "200 dryrun"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, settings{"MIN_HEALTHY_REPLICAS": tc.minimum, "DRY_RUN": "true", "SKIP_DAEMONSETS": "false", "SKIP_STANDALONE": "false"})
			testkit.Post(t, r, testkit.AlertFor(t, tc.pod)).Expect(t, tc.want)
		})
	}
}

// newBroken makes a Deployment of three pods of which one is not ready: it returns a ready one and that one.
func newBroken(t *testing.T, env *testkit.Env, namespace string) (ready, broken corev1.Pod) {
	t.Helper()
	deployment := testkit.Deployment(namespace, "broken", 3)
	pods := env.Deploy(t, deployment)
	env.Unready(t, &pods[2])
	env.Await(t, deployment, "has noticed", func() error {
		if deployment.Status.ReadyReplicas != 2 {
			return fmt.Errorf("%d are ready", deployment.Status.ReadyReplicas)
		}
		return nil
	})
	return pods[0], pods[2]
}

func TestMinimumIsEnforcedOnARealDeletion(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 2)
	pods := env.Deploy(t, deployment)
	r := run(t, settings{"MIN_HEALTHY_REPLICAS": "2"})
	testkit.Post(t, r, testkit.AlertFor(t, pods[0])).Expect(t, "200 refused too-few-replicas")
	if changed := r.Proxy.Changed(); len(changed) > 0 || !env.Lives(t, pods[0]) {
		t.Errorf("it sent %v", changed)
	}
}

func TestEviction(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		method  string
		budgets []string
		want    string
		changed string
	}{
		"a budget that allows it":              {"evict", []string{"1"}, "200 applied", "create pods/eviction"},
		"no budget at all":                     {"evict", nil, "200 applied", "create pods/eviction"},
		"a budget that forbids it":             {"evict", []string{"2"}, "200 refused disruption-budget", "create pods/eviction"},
		"a budget of all":                      {"evict", []string{"100%"}, "200 refused disruption-budget", "create pods/eviction"},
		"a budget that forbids it, overruled":  {"evict-then-delete", []string{"2"}, "200 applied", "delete pods"},
		"a budget that allows it, with delete": {"evict-then-delete", []string{"1"}, "200 applied", "create pods/eviction"},
		"two budgets, which nobody can honour": {"evict", []string{"1", "1"}, "200 refused disruption-budget", "create pods/eviction"},
		"two budgets, overruled":               {"evict-then-delete", []string{"1", "1"}, "200 applied", "delete pods"},
		"a budget that nobody asks":            {"delete", []string{"2"}, "200 applied", "delete pods"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deployment := testkit.Deployment(env.Namespace(t), "web", 2)
			pod := env.Deploy(t, deployment)[0]
			for i, minAvailable := range tc.budgets {
				budget := testkit.Budget(pod.Namespace, "web", minAvailable)
				budget.Name += fmt.Sprint(i)
				env.Create(t, budget)
				env.Ready(t, budget)
			}
			r := run(t, settings{"METHOD": tc.method, "EVICT_TIMEOUT": "1100ms"})
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, tc.want)
			changed := r.Proxy.Changed()
			if last := changed[len(changed)-1]; !strings.HasPrefix(last, tc.changed+" ") {
				t.Errorf("it sent %v, want %s in the end", changed, tc.changed)
			}
			if env.Lives(t, pod) == (tc.want == "200 applied") {
				t.Errorf("the pod lives: %t", env.Lives(t, pod))
			}
			if tc.want == "200 refused disruption-budget" && len(changed) < 2 {
				t.Errorf("it sent %v: want the eviction tried again", changed)
			}
		})
	}
}

func TestEvictionIsTriedAgainUntilTheBudgetAllowsIt(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 2)
	pod := env.Deploy(t, deployment)[0]
	budget := testkit.Budget(pod.Namespace, "web", "2")
	env.Create(t, budget)
	env.Ready(t, budget)
	r := run(t, settings{"METHOD": "evict", "EVICT_TIMEOUT": "20s"})
	r.Proxy.Inject(&testkit.Fault{Resource: "pods/eviction", After: 1, Times: 1, Effect: testkit.Meanwhile(func() {
		env.Patch(t, budget, map[string]any{"spec": map[string]any{"minAvailable": 1}})
		env.Ready(t, budget)
	})})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 applied")
	if changed := r.Proxy.Changed(); len(changed) < 2 || env.Lives(t, pod) {
		t.Errorf("it sent %v, and the pod lives: %t", changed, env.Lives(t, pod))
	}
}

func TestEvictionOfAThrottledServerIsNotTakenForABudget(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	for _, method := range []string{"evict", "evict-then-delete"} {
		t.Run(method, func(t *testing.T) {
			r := run(t, settings{"METHOD": method, "EVICT_TIMEOUT": "1s"})
			r.Proxy.Inject(&testkit.Fault{Resource: "pods/eviction", Effect: testkit.Answers(429, 1)})
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "429")
			if !env.Lives(t, pod) {
				t.Error("the pod is gone")
			}
		})
	}
}

func TestGracePeriod(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		settings settings
		want     int64
	}{
		"none by default":  {nil, 0},
		"as it is set":     {settings{"GRACE_PERIOD": "45s"}, 45},
		"in whole minutes": {settings{"GRACE_PERIOD": "2m"}, 120},
		"with an eviction": {settings{"GRACE_PERIOD": "45s", "METHOD": "evict"}, 45},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newSilent(t, env)
			all := settings{"SKIP_STANDALONE": "false"}
			maps.Copy(all, tc.settings)
			testkit.Post(t, run(t, all), testkit.AlertFor(t, *pod)).Expect(t, "200 applied")
			if tc.want == 0 {
				if env.Exists(t, pod) {
					t.Error("the pod is there")
				}
				return
			}
			env.Get(t, pod)
			if pod.DeletionGracePeriodSeconds == nil || *pod.DeletionGracePeriodSeconds != tc.want {
				t.Errorf("the pod has %v seconds, want %d", pod.DeletionGracePeriodSeconds, tc.want)
			}
		})
	}
}

// newSilent makes a pod that stays until its grace period is over.
func newSilent(t *testing.T, env *testkit.Env) *corev1.Pod {
	t.Helper()
	pod := env.DeploySilent(t, testkit.Pod(env.Namespace(t), "silent"))
	return &pod
}

func TestPodThatIsBeingDeleted(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		grace string
		want  string
		sends int
	}{
		"as fast as wanted is left alone":    {"30s", "200 unchanged already-so", 0},
		"faster than wanted is left alone":   {"60s", "200 unchanged already-so", 0},
		"more slowly than wanted is hurried": {"0s", "200 applied", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newSilent(t, env)
			env.Delete(t, pod) // with the pod's own 30 seconds
			r := run(t, settings{"GRACE_PERIOD": tc.grace, "SKIP_STANDALONE": "false"})
			testkit.Post(t, r, testkit.AlertFor(t, *pod)).Expect(t, tc.want)
			if changed := r.Proxy.Changed(); len(changed) != tc.sends {
				t.Errorf("it sent %v, want %d", changed, tc.sends)
			}
			if env.Exists(t, pod) == (tc.sends > 0) {
				t.Errorf("the pod is there: %t", env.Exists(t, pod))
			}
		})
	}
}

func TestDryRunDeletesNothing(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	pod := env.Deploy(t, testkit.Deployment(namespace, "web", 2))[0]
	budget := testkit.Budget(namespace, "web", "2")
	env.Create(t, budget)
	env.Ready(t, budget)
	for name, tc := range map[string]struct{ method, want string }{
		"a deletion":                          {"delete", "200 dryrun"},
		"an eviction that would be forbidden": {"evict", "200 refused disruption-budget"},
		"an eviction, then a deletion":        {"evict-then-delete", "200 dryrun"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, settings{"METHOD": tc.method, "EVICT_TIMEOUT": "0s", "DRY_RUN": "true"})
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, tc.want)
			if !answer.Record.DryRun {
				t.Error("the outcome does not say that it was a dry run")
			}
			now := pod.DeepCopy()
			env.Get(t, now)
			if now.UID != pod.UID || now.ResourceVersion != pod.ResourceVersion {
				t.Error("the pod was changed")
			}
			for _, change := range r.Proxy.Changes() {
				if !change.DryRun() {
					t.Errorf("%s was sent without dryRun=All", change)
				}
			}
		})
	}
}

func TestSettingsAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, s := range map[string]settings{
		"a method there is not":                   {"METHOD": "kill"},
		"a grace period in fractions of a second": {"GRACE_PERIOD": "1500ms"},
		"a negative grace period":                 {"GRACE_PERIOD": "-1s"},
		"a negative time for evictions":           {"EVICT_TIMEOUT": "-1s"},
		"more time for evictions than for all":    {"EVICT_TIMEOUT": "30s"},
		"a minimum that is no number":             {"MIN_HEALTHY_REPLICAS": "two"},
		"a minimum below nothing":                 {"MIN_HEALTHY_REPLICAS": "-1"},
		"a minimum of more than all":              {"MIN_HEALTHY_REPLICAS": "101%"},
		"a pattern that is none":                  {"PROTECTED_NAMESPACES": "["},
		"a condition that does not compile":       {"WHEN": "target.name =="},
		"a safety that is misspelt":               {"DRYRUN": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			all := settings{"KUBECONFIG": env.Kubeconfig}
			var variable string
			for k, v := range s {
				all[k], variable = v, k
			}
			err := New().Start(t.Context(), all)
			if err == nil || !strings.Contains(err.Error(), variable) {
				t.Errorf("it gives %v, want an error that names %s", err, variable)
			}
		})
	}
}

func TestOverBudget(t *testing.T) {
	t.Parallel()
	if overBudget(apierrors.NewTooManyRequests("busy", 1)) || overBudget(nil) {
		t.Error("a 429 without its cause is taken for a budget's")
	}
}
