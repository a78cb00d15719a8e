package function

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/testkit"
)

type settings = map[string]string

func run(t *testing.T, s settings) *testkit.Running {
	t.Helper()
	return testkit.Cluster(t).Run(t, "label", New(), s)
}

// own are labels without those that the scheduler adds, and without the mark of what is contained.
func own(labels settings) settings {
	labels = maps.Clone(labels)
	maps.DeleteFunc(labels, func(key, _ string) bool {
		return strings.HasPrefix(key, "topology.kubernetes.io/") || key == restore.Contained
	})
	return labels
}

// newPod makes a pod with these labels beside its own, app=web.
func newPod(t *testing.T, env *testkit.Env, labels settings) corev1.Pod {
	t.Helper()
	return env.Deploy(t, testkit.Pod(env.Namespace(t), "web", func(p *corev1.Pod) { maps.Copy(p.Labels, labels) }))[0]
}

func TestLabelsAreSetAndRemoved(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		labels string
		before settings
		want   string
		after  settings
		sends  int
		fields []string
	}{
		"one is set":                  {"quarantine=true", nil, "200 applied", settings{"quarantine": "true"}, 1, []string{"quarantine"}},
		"two are set":                 {"quarantine=true,example.com/by=falco", nil, "200 applied", settings{"quarantine": "true", "example.com/by": "falco"}, 1, []string{"example.com/by", "quarantine"}},
		"one is set to nothing":       {"quarantine=", nil, "200 applied", settings{"quarantine": ""}, 1, []string{"quarantine"}},
		"one is removed":              {"team-", settings{"team": "red"}, "200 applied", settings{}, 1, []string{"team"}},
		"one is set and one removed":  {"quarantine=true, team-", settings{"team": "red"}, "200 applied", settings{"quarantine": "true"}, 2, []string{"quarantine", "team"}},
		"one of two is there":         {"quarantine=true,by=falco", settings{"by": "falco"}, "200 applied", settings{"quarantine": "true", "by": "falco"}, 1, []string{"quarantine"}},
		"one is there and one gone":   {"quarantine=true,team-", settings{"quarantine": "true"}, "200 unchanged already-so", settings{"quarantine": "true"}, 0, nil},
		"one to remove is not there":  {"team-", nil, "200 unchanged already-so", settings{}, 0, nil},
		"the others are kept":         {"quarantine=true", settings{"team": "red"}, "200 applied", settings{"quarantine": "true", "team": "red"}, 1, []string{"quarantine"}},
		"one key begins like another": {"team-", settings{"team-a": "x", "team": "red"}, "200 applied", settings{"team-a": "x"}, 1, []string{"team"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newPod(t, env, tc.before)
			r := run(t, settings{"LABELS": tc.labels})
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, tc.want)
			env.Get(t, &pod)
			want := testkit.App("web")
			maps.Copy(want, tc.after)
			if diff := cmp.Diff(want, own(pod.Labels)); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if changed := r.Proxy.Changed(); len(changed) != tc.sends {
				t.Errorf("it sent %v, want %d", changed, tc.sends)
			}
			for _, change := range r.Proxy.Changes() {
				if !strings.Contains(string(change.Body), `"uid":"`+string(pod.UID)+`"`) {
					t.Errorf("%s has no precondition on the uid: %s", change, change.Body)
				}
			}
			var fields []string
			for _, c := range answer.Record.Changes {
				fields = append(fields, strings.TrimSuffix(strings.TrimPrefix(c.Field, "metadata.labels["), "]"))
			}
			if diff := cmp.Diff(tc.fields, fields); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 unchanged already-so")
		})
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	node := env.Node(t)
	namespace := env.Namespace(t)
	cron := testkit.CronJob(namespace, "nightly")
	env.Create(t, cron)
	set := testkit.StatefulSet(namespace, "db", 1)
	bare := testkit.ReplicaSet(namespace, "bare", 1)
	web := testkit.Deployment(namespace, "web", 1, testkit.OnNode(node))
	agent := testkit.DaemonSet(namespace, "agent", node.Name)
	once := testkit.Job(namespace, "once")
	for name, tc := range map[string]struct {
		level    string
		roles    []string
		workload testkit.Object
		target   testkit.Object
		subject  string
	}{
		"the node":       {"node", []string{"riposte-label-node"}, testkit.Deployment(namespace, "on-node", 1, testkit.OnNode(node)), node, "nodes/" + node.Name},
		"the namespace":  {"namespace", []string{"riposte-label-namespace"}, testkit.Deployment(namespace, "in-namespace", 1), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, "namespaces/" + namespace},
		"a deployment":   {"owner", []string{"riposte-label-owner"}, web, web, "deployments/web"},
		"a replica set":  {"owner", []string{"riposte-label-owner"}, bare, bare, "replicasets/bare"},
		"a stateful set": {"owner", []string{"riposte-label-owner"}, set, set, "statefulsets/db"},
		"a daemon set":   {"owner", []string{"riposte-label-owner"}, agent, agent, "daemonsets/agent"},
		"a job":          {"owner", []string{"riposte-label-owner"}, once, once, "jobs/once"},
		"a cron job":     {"owner", []string{"riposte-label-owner"}, testkit.JobOf(cron), cron, "cronjobs/nightly"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, tc.workload)[0]
			account := env.AccountWith(t, "label", append(tc.roles, "riposte-label")...)
			r := env.RunAs(t, account, New(), settings{"LABELS": "quarantine=true,app-", "LEVEL": tc.level, "SKIP_DAEMONSETS": "false"})
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, "200 applied")
			if subject := answer.Attributes["subject"]; strings.TrimPrefix(subject, "namespaces/"+namespace+"/") != tc.subject {
				t.Errorf("the subject is %q, want %s", subject, tc.subject)
			}
			env.Get(t, tc.target)
			if _, there := tc.target.GetLabels()["app"]; there || tc.target.GetLabels()["quarantine"] != "true" {
				t.Errorf("the labels of the target are %v", tc.target.GetLabels())
			}
			env.Get(t, &pod)
			if pod.Labels["quarantine"] != "" {
				t.Errorf("the labels of the pod are %v", pod.Labels)
			}
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 unchanged already-so")

			// The role that is bound by default is for pods alone.
			shipped := run(t, settings{"LABELS": "quarantine=false", "FORCE": "true", "LEVEL": tc.level, "SKIP_DAEMONSETS": "false"})
			testkit.Post(t, shipped, testkit.AlertFor(t, pod)).Expect(t, "422")
		})
	}
}

func TestOwnerOfAPodThatHasNone(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	testkit.Post(t, run(t, settings{"LABELS": "a=b", "LEVEL": "owner"}), testkit.AlertFor(t, newPod(t, env, nil))).Expect(t, "200 skipped no-owner")
}

// holds makes a field manager hold a label of the pod.
func holds(t *testing.T, env *testkit.Env, p *corev1.Pod, manager, key, value string) {
	t.Helper()
	env.Apply(t, p, manager, map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": p.Name, "namespace": p.Namespace, "labels": map[string]any{key: value}},
	})
}

func TestLabelThatSomebodyElseHolds(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		theirs, ours string
		force        string
		want         string
		after        string
	}{
		"at another value":            {"low", "risk=high", "false", "200 refused conflict", "low"},
		"at another value, overruled": {"low", "risk=high", "true", "200 applied", "high"},
		"at the same value":           {"high", "risk=high", "false", "200 unchanged already-so", "high"},
		"and that is to go":           {"low", "risk-", "false", "200 applied", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := newPod(t, env, nil)
			holds(t, env, &pod, "risk-scanner", "risk", tc.theirs)
			answer := testkit.Post(t, run(t, settings{"LABELS": tc.ours, "FORCE": tc.force}), testkit.AlertFor(t, pod))
			answer.Expect(t, tc.want)
			if tc.want == "200 refused conflict" {
				for _, named := range []string{".metadata.labels.risk", "risk-scanner"} {
					if !strings.Contains(answer.Record.Message, named) {
						t.Errorf("the message %q does not name %s", answer.Record.Message, named)
					}
				}
			}
			env.Get(t, &pod)
			if pod.Labels["risk"] != tc.after {
				t.Errorf("the label is %q, want %q", pod.Labels["risk"], tc.after)
			}
		})
	}
}

func TestConflictLeavesTheOtherLabelsAloneToo(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := newPod(t, env, settings{"team": "red"})
	holds(t, env, &pod, "risk-scanner", "risk", "low")
	testkit.Post(t, run(t, settings{"LABELS": "risk=high,seen=true,team-"}), testkit.AlertFor(t, pod)).Expect(t, "200 refused conflict")
	env.Get(t, &pod)
	want := testkit.App("web")
	maps.Copy(want, settings{"risk": "low", "team": "red"})
	if diff := cmp.Diff(want, own(pod.Labels)); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

func TestTwoDeploymentsOfTheFunctionDoNotUndoEachOther(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := newPod(t, env, nil)
	first, second := run(t, settings{"LABELS": "quarantine=true"}), run(t, settings{"LABELS": "investigate=true,seen=true"})
	testkit.Post(t, first, testkit.AlertFor(t, pod)).Expect(t, "200 applied")
	testkit.Post(t, second, testkit.AlertFor(t, pod)).Expect(t, "200 applied")
	// Somebody takes one of the second's labels off, so that it applies again.
	env.Patch(t, &pod, map[string]any{"metadata": map[string]any{"labels": map[string]any{"seen": nil}}})
	testkit.Post(t, second, testkit.AlertFor(t, pod)).Expect(t, "200 applied")
	testkit.Post(t, first, testkit.AlertFor(t, pod)).Expect(t, "200 unchanged already-so")
	env.Get(t, &pod)
	want := testkit.App("web")
	maps.Copy(want, settings{"quarantine": "true", "investigate": "true", "seen": "true"})
	if diff := cmp.Diff(want, own(pod.Labels)); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

func TestPodThatChangesBetweenReadingAndWriting(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	red := func(p *corev1.Pod) { p.Labels["team"] = "red" }
	remove := func(t *testing.T, p *corev1.Pod) {
		t.Helper()
		env.Remove(t, p)
		env.Gone(t, p)
	}
	for name, tc := range map[string]struct {
		act  func(t *testing.T, p *corev1.Pod)
		want string
	}{
		"with a label of somebody else": {func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			env.Patch(t, p, map[string]any{"metadata": map[string]any{"labels": map[string]any{"theirs": "x"}}})
		}, "200 applied"},
		"by its removal": {remove, "200 skipped gone"},
		"by another pod of its name": {func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			remove(t, p)
			env.DeploySilent(t, testkit.Pod(p.Namespace, p.Name, red))
		}, "200 skipped replaced"},
	} {
		for change, labels := range map[string]string{"set": "quarantine=true", "remove": "team-"} {
			t.Run(name+", to "+change, func(t *testing.T) {
				t.Parallel()
				// kwok, which ends pods by their name, would end the new one too.
				pod := env.DeploySilent(t, testkit.Pod(env.Namespace(t), "web", red))
				r := run(t, settings{"LABELS": labels})
				r.Proxy.Inject(&testkit.Fault{Verb: "patch", Times: 1, Effect: testkit.Meanwhile(func() { tc.act(t, pod.DeepCopy()) })})
				testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, tc.want)
				if tc.want == "200 skipped replaced" {
					env.Get(t, &pod)
					if pod.Labels["team"] != "red" || pod.Labels["quarantine"] != "" {
						t.Errorf("the new pod has the labels %v", pod.Labels)
					}
				}
			})
		}
	}
}

func TestConflictOfTheServersOwnMakingIsTriedAgain(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := newPod(t, env, nil)
	r := run(t, settings{"LABELS": "quarantine=true"})
	r.Proxy.Inject(&testkit.Fault{Verb: "patch", Times: 1, Effect: testkit.Answers(409, 0)})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 applied")
}

func TestSettingsAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		settings settings
		variable string
	}{
		"no labels":                 {nil, "LABELS"},
		"empty labels":              {settings{"LABELS": " "}, "LABELS"},
		"a key alone":               {settings{"LABELS": "quarantine"}, "LABELS"},
		"a key that is none":        {settings{"LABELS": "a b=c"}, "LABELS"},
		"a value that is none":      {settings{"LABELS": "a=b c"}, "LABELS"},
		"a value too long":          {settings{"LABELS": "a=" + strings.Repeat("x", 64)}, "LABELS"},
		"a key twice":               {settings{"LABELS": "a=b,a=c"}, "LABELS"},
		"a key to be set and to go": {settings{"LABELS": "a=b,a-"}, "LABELS"},
		"an empty entry":            {settings{"LABELS": "a=b,"}, "LABELS"},
		"a level there is not":      {settings{"LABELS": "a=b", "LEVEL": "cluster"}, "LEVEL"},
		"a choice that is neither":  {settings{"LABELS": "a=b", "FORCE": "perhaps"}, "FORCE"},
		"a mark of Riposte's":       {settings{"LABELS": "riposte.dev/contained=false"}, "LABELS"},
		"an isolation":              {settings{"LABELS": "riposte.dev/isolated-"}, "LABELS"},
		"a time too short":          {settings{"LABELS": "a=b", "TTL": "1ms"}, "TTL"},
		"a label of Kubernetes on nodes, unsigned": {
			settings{"LABELS": "node.kubernetes.io/exclude-from-external-load-balancers=true", "LEVEL": "node", "TTL": "1h"}, "RESTORE_KEY",
		},
	} {
		t.Run(name, func(t *testing.T) {
			all := settings{"KUBECONFIG": env.Kubeconfig}
			maps.Copy(all, tc.settings)
			err := New().Start(t.Context(), all)
			if err == nil || !strings.Contains(err.Error(), tc.variable) {
				t.Errorf("it gives %v, want an error that names %s", err, tc.variable)
			}
		})
	}
}

// Whoever makes a pod fills its annotations as he likes, and keeps no label away by that.
func TestPodWhoseAnnotationsAreFullIsLabelledAllTheSame(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for _, change := range []string{"quarantine=true", "team-", "quarantine=true,team-"} {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, testkit.Pod(env.Namespace(t), "web", func(p *corev1.Pod) {
				p.Labels["team"], p.Annotations = "red", settings{"x": strings.Repeat("x", 256<<10-100)}
			}))[0]
			answer := testkit.Post(t, run(t, settings{"LABELS": change}), testkit.AlertFor(t, pod))
			answer.Expect(t, "200 applied")
			env.Get(t, &pod)
			_, team := pod.Labels["team"]
			if pod.Labels["app"] != "web" || team == strings.Contains(change, "team-") || len(pod.Annotations["x"]) != 256<<10-100 {
				t.Errorf("the labels are %v", pod.Labels)
			}
			if !strings.Contains(answer.Record.Message, "release cannot undo it") {
				t.Errorf("the outcome does not say that it cannot be undone: %s", answer.Record.Message)
			}
		})
	}
}
