package function

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// fresh reads an object into a copy.
func fresh[T testkit.Object](t *testing.T, o T) T {
	t.Helper()
	c, ok := o.DeepCopyObject().(T)
	if !ok {
		t.Fatalf("a copy of %T is none", o)
	}
	testkit.Cluster(t).Get(t, c)
	return c
}

// scene is a pod, and the object that is contained because of it.
type scene struct {
	pod    corev1.Pod
	target testkit.Object
}

func aPod(t *testing.T, apply ...func(*corev1.Pod)) scene {
	t.Helper()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	env.Create(t, testkit.Service(namespace, "web"))
	pod := env.Deploy(t, testkit.Pod(namespace, "web", append(apply, func(p *corev1.Pod) { p.Labels["team"] = "red" })...))[0]
	return scene{pod, &pod}
}

func aNode(t *testing.T, taints ...corev1.Taint) scene {
	t.Helper()
	env := testkit.Cluster(t)
	node := env.Node(t, func(n *corev1.Node) { n.Labels["team"], n.Spec.Taints = "red", taints })
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1, testkit.OnNode(node)))[0]
	return scene{pod, node}
}

// An object that was contained is, after its time, what it was: byte for byte but for what the API server keeps for itself.
func TestObjectIsAfterItsTimeWhatItWas(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	taint := func(key, value string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: key, Value: value, Effect: effect}
	}
	pod := func(t *testing.T) scene { t.Helper(); return aPod(t) }
	workload := func(w func(namespace string) testkit.Object) func(*testing.T) scene {
		return func(t *testing.T) scene {
			t.Helper()
			o := w(env.Namespace(t))
			p := env.Deploy(t, o)[0]
			labels := maps.Clone(o.GetLabels())
			labels["team"] = "red"
			env.Patch(t, o, object{"metadata": object{"labels": labels}})
			return scene{p, o}
		}
	}
	for name, tc := range map[string]struct {
		function string
		settings settings
		roles    []string
		scene    func(*testing.T) scene
		changes  int
	}{
		"an isolated pod":                       {"isolate", nil, nil, pod, 3},
		"an isolated pod that keeps its labels": {"isolate", settings{"DETACH": "false"}, nil, pod, 2},
		"an isolated pod of a daemon set": {"isolate", settings{"DETACH": "false"}, nil, func(t *testing.T) scene {
			t.Helper()
			p := env.Deploy(t, testkit.DaemonSet(env.Namespace(t), "agent", env.Node(t).Name))[0]
			return scene{p, &p}
		}, 2},
		"a tainted node": {"taint", nil, nil, func(t *testing.T) scene { t.Helper(); return aNode(t) }, 1},
		"a tainted node, one of many": {"taint", nil, nil, func(t *testing.T) scene {
			t.Helper()
			return aNode(t, taint("disk", "slow", "PreferNoSchedule"), taint("a", "", "NoSchedule"))
		}, 1},
		"a node whose taint had another value": {"taint", nil, nil, func(t *testing.T) scene {
			t.Helper()
			return aNode(t, taint("falco/alert", "no", "NoSchedule"), taint("disk", "slow", "PreferNoSchedule"))
		}, 1},
		"a labelled pod":                   {"label", settings{"LABELS": "quarantine=true"}, nil, pod, 1},
		"a pod that lost a label":          {"label", settings{"LABELS": "team-"}, nil, pod, 1},
		"a pod with a label set, one gone": {"label", settings{"LABELS": "quarantine=true,team-,by=falco"}, nil, pod, 3},
		"a pod that had one of the labels": {"label", settings{"LABELS": "quarantine=true,app=web"}, nil, pod, 1},
		"a pod whose label somebody else held": {"label", settings{"LABELS": "risk=high", "FORCE": "true"}, nil, func(t *testing.T) scene {
			t.Helper()
			s := aPod(t)
			env.Apply(t, s.target, "risk-scanner", object{"apiVersion": "v1", "kind": "Pod", "metadata": object{
				"name": s.pod.Name, "namespace": s.pod.Namespace, "labels": object{"risk": "low"},
			}})
			return s
		}, 1},
		"a labelled node": {"label", settings{"LABELS": "quarantine=true,team-", "LEVEL": "node"}, []string{"riposte-label-node"}, func(t *testing.T) scene { t.Helper(); return aNode(t) }, 2},
		"a labelled namespace": {"label", settings{"LABELS": "quarantine=true", "LEVEL": "namespace"}, []string{"riposte-label-namespace"}, func(t *testing.T) scene {
			t.Helper()
			s := aPod(t)
			return scene{s.pod, namespaceOf(t, s.pod.Namespace)}
		}, 1},
		"a labelled deployment":   {"label", settings{"LABELS": "quarantine=true,team-", "LEVEL": "owner"}, []string{"riposte-label-owner"}, workload(func(n string) testkit.Object { return testkit.Deployment(n, "web", 1) }), 2},
		"a labelled replica set":  {"label", settings{"LABELS": "quarantine=true,team-", "LEVEL": "owner"}, []string{"riposte-label-owner"}, workload(func(n string) testkit.Object { return testkit.ReplicaSet(n, "web", 1) }), 2},
		"a labelled stateful set": {"label", settings{"LABELS": "quarantine=true,team-", "LEVEL": "owner"}, []string{"riposte-label-owner"}, workload(func(n string) testkit.Object { return testkit.StatefulSet(n, "db", 1) }), 2},
		"a labelled daemon set":   {"label", settings{"LABELS": "quarantine=true,team-", "LEVEL": "owner"}, []string{"riposte-label-owner"}, workload(func(n string) testkit.Object { return testkit.DaemonSet(n, "agent", env.Node(t).Name) }), 2},
		"a labelled job":          {"label", settings{"LABELS": "quarantine=true,team-", "LEVEL": "owner"}, []string{"riposte-label-owner"}, workload(func(n string) testkit.Object { return testkit.Job(n, "once") }), 2},
		"a labelled cron job": {"label", settings{"LABELS": "quarantine=true,team-", "LEVEL": "owner"}, []string{"riposte-label-owner"}, func(t *testing.T) scene {
			t.Helper()
			cron := testkit.CronJob(env.Namespace(t), "nightly")
			env.Create(t, cron)
			p := env.Deploy(t, testkit.JobOf(cron))[0]
			env.Patch(t, cron, object{"metadata": object{"labels": object{"team": "red"}}})
			return scene{p, cron}
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tc.scene(t)
			selector := mine(t, s.target)
			before := asItWas(t, fresh(t, s.target))
			all := settings{"TTL": "1s"}
			maps.Copy(all, tc.settings)
			contained := start(t, tc.function, all, tc.roles...).contain(t, *fresh(t, &s.pod))
			now := fresh(t, s.target)
			if now.GetLabels()[restore.Contained] != "true" || now.GetAnnotations()[restore.ReleaseAt] == "" || asItWas(t, now) == before {
				t.Fatalf("the target bears no marks: %v %v", now.GetLabels(), now.GetAnnotations())
			}
			r := run(t, settings{"SELECTOR": selector})

			answer := released(t, r)

			if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the target (-before +after):\n%s", diff)
			}
			if testkit.Cluster(t).Exists(t, testkit.NetworkPolicy(s.pod.Namespace, restore.PolicyName(string(s.pod.UID)), nil)) {
				t.Error("the policy is left")
			}
			if answer.Record.AlertID != contained.Record.AlertID || answer.Attributes["priority"] != "Critical" || answer.Record.Reason != "" {
				t.Errorf("the outcome is of alert %s, priority %s, %q: want alert %s", answer.Record.AlertID, answer.Attributes["priority"], answer.Verdict(), contained.Record.AlertID)
			}
			if answer.Record.Target.UID != string(s.target.GetUID()) || answer.Attributes["subject"] == "" {
				t.Errorf("the outcome is about %+v, want %s", answer.Record.Target, s.target.GetName())
			}
			if got := list(t, answer); len(got) != 1 || len(got[0].Changes) != tc.changes || len(got[0].Conflicts) != 0 || len(answer.Record.Changes) != tc.changes {
				t.Errorf("released is %+v, want one with %d changes", got, tc.changes)
			}
			if again := strike(t, r); again.Status != http.StatusNoContent {
				t.Errorf("the next tick is answered %q", again.Verdict())
			}
		})
	}
}

// What a suspect's owner does with it is the owner's affair: it adopts it, and has one too many.
func TestPodThatComesBackIsAdopted(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 2)
	suspect := env.Deploy(t, deployment)[0]
	selector := mine(t, &suspect)
	start(t, "isolate", settings{"TTL": "1s"}).contain(t, suspect)
	env.Ready(t, deployment) // with a clean one in its place
	released(t, run(t, settings{"SELECTOR": selector}))
	env.Ready(t, deployment) // with two again
}

func TestNothingIsReleasedBeforeItsTime(t *testing.T) {
	t.Parallel()
	for name, ttl := range map[string]string{"with a time to come": "1h", "without a time": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := aPod(t)
			selector := mine(t, s.target)
			start(t, "isolate", settings{"TTL": ttl}).contain(t, s.pod)
			now := asItWas(t, fresh(t, s.target))
			r := run(t, settings{"SELECTOR": selector})
			if answer := strike(t, r); answer.Status != http.StatusNoContent || len(r.Proxy.Changed()) > 0 {
				t.Errorf("a tick is answered %q and sent %v", answer.Verdict(), r.Proxy.Changed())
			}
			if diff := cmp.Diff(now, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the pod (-before +after):\n%s", diff)
			}
			ask(t, r, this(s.target, "Pod")).Expect(t, "200 applied")
		})
	}
}

func TestWhatSomebodyElseHasChangedSinceStays(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	labels := func(l object) object { return object{"metadata": object{"labels": l}} }
	for name, tc := range map[string]struct {
		function string
		settings settings
		scene    func(*testing.T) scene
		change   object // by somebody else
		field    string
		ours     any
		theirs   any
	}{
		"a label that isolate took off": {"isolate", nil, func(t *testing.T) scene { t.Helper(); return aPod(t) }, labels(object{"app": "other"}), "metadata.labels[app]", nil, "other"},
		"a label that label set":        {"label", settings{"LABELS": "risk=high"}, func(t *testing.T) scene { t.Helper(); return aPod(t) }, labels(object{"risk": "none"}), "metadata.labels[risk]", "high", "none"},
		"a taint": {
			"taint", nil, func(t *testing.T) scene { t.Helper(); return aNode(t) },
			object{"spec": object{"taints": []any{object{"key": "theirs", "effect": "NoSchedule"}, object{"key": "falco/alert", "value": "theirs", "effect": "NoSchedule"}}}},
			"spec.taints[falco/alert:NoSchedule]",
			object{"key": "falco/alert", "value": "true", "effect": "NoSchedule"},
			object{"key": "falco/alert", "value": "theirs", "effect": "NoSchedule"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tc.scene(t)
			selector := mine(t, s.target)
			env.Patch(t, s.target, tc.change) // What is to be left in the end.
			want := fresh(t, s.target)
			env.Patch(t, s.target, labels(object{"risk": nil, "app": "web"}))
			if node, ok := s.target.(*corev1.Node); ok {
				env.Patch(t, node, object{"spec": object{"taints": nil}})
			}
			all := settings{"TTL": "1s"}
			maps.Copy(all, tc.settings)
			start(t, tc.function, all).contain(t, s.pod)
			env.Patch(t, s.target, tc.change)

			answer := released(t, run(t, settings{"SELECTOR": selector}))

			answer.Expect(t, "200 applied conflict")
			got := list(t, answer)
			if len(got) != 1 || len(got[0].Conflicts) != 1 {
				t.Fatalf("released is %+v, want one with a conflict", got)
			}
			c := got[0].Conflicts[0]
			if diff := cmp.Diff([]any{tc.field, tc.ours, tc.theirs}, []any{c.Field, c.Ours, c.Theirs}); diff != "" {
				t.Errorf("the conflict (-want +got):\n%s", diff)
			}
			if _, node := s.target.(*corev1.Node); node { // The label is none of taint's.
				want.GetLabels()["app"] = "web"
			}
			if diff := cmp.Diff(asItWas(t, want), asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the object (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSeveralResponsesOnOneObjectAreReleasedOneByOne(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][]string{
		"the first one first": {"label", "label", "isolate"}, "the last one first": {"isolate", "label", "label"}, "the one in the middle first": {"label", "isolate", "label"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := aPod(t)
			before := asItWas(t, fresh(t, s.target))
			// The second overrules the first, and the service's label, which the isolation takes off, is what it sets.
			first := start(t, "label", settings{"LABELS": "team=blue,quarantine=true", "FORCE": "true"})
			second := start(t, "label", settings{"LABELS": "team=green,app-", "FORCE": "true"})
			first.contain(t, s.pod)
			second.contain(t, s.pod, testkit.Set("priority", "Emergency"))
			start(t, "isolate", nil).contain(t, s.pod)
			var names []string
			for key := range fresh(t, s.target).GetAnnotations() {
				if n, ok := strings.CutPrefix(key, restore.Prefix); ok {
					names = append(names, n)
				}
			}
			if len(names) != 3 {
				t.Fatalf("the records are %v, want three", names)
			}
			r := run(t, nil)
			for _, response := range order {
				for i, n := range names {
					if restore.ResponseOf(n) != response {
						continue
					}
					request := this(s.target, "Pod")
					request["response"] = n
					ask(t, r, request).Expect(t, "200 applied")
					names = append(names[:i], names[i+1:]...)
					break
				}
			}
			if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the pod (-before +after):\n%s", diff)
			}
		})
	}
}

func TestSeveralAreReleasedByOneTick(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	deployment := testkit.Deployment(env.Namespace(t), "web", 3, func(d *appsv1.Deployment) { d.Spec.Template.Labels["test.riposte.dev/mine"] = "several" })
	pods := env.Deploy(t, deployment)
	label := start(t, "label", settings{"LABELS": "quarantine=true", "TTL": "1s"})
	start(t, "label", settings{"LABELS": "by=falco", "TTL": "1s"}).contain(t, pods[0], testkit.Set("priority", "Warning"))
	for i, priority := range []string{"Notice", "Alert", "Critical"} {
		label.contain(t, pods[i], testkit.Set("priority", priority))
	}
	answer := ask(t, run(t, nil), object{"selector": "test.riposte.dev/mine=several"})
	answer.Expect(t, "200 applied")
	if got := list(t, answer); len(got) != 4 || answer.Record.Target.Name != pods[1].Name || answer.Attributes["priority"] != "Alert" {
		t.Errorf("%d were released, the outcome is about %s with priority %s: want 4, %s and Alert", len(got), answer.Record.Target.Name, answer.Attributes["priority"], pods[1].Name)
	}
}

func TestRepeatOffenderStaysLongerEachTime(t *testing.T) {
	t.Parallel()
	s := aPod(t)
	isolate := start(t, "isolate", settings{"TTL": "10m", "TTL_MAX": "30m", "CLAIMS": "lease", "DEDUP_WINDOW": "0"})
	r := run(t, settings{"LEVELS": "pod,node", "CLAIMS": "lease"})
	before := asItWas(t, fresh(t, s.target))
	for i, want := range []time.Duration{10 * time.Minute, 20 * time.Minute, 30 * time.Minute, 30 * time.Minute} {
		isolate.contain(t, s.pod)
		now := fresh(t, &s.pod)
		o := &restore.Object{TypeMeta: metav1.TypeMeta{Kind: "Pod"}, ObjectMeta: now.ObjectMeta}
		record, err := restore.Keys(nil).Open(o, "isolate")
		if err != nil {
			t.Fatal(err)
		}
		if got := record.ReleaseAt.Sub(record.Applied); got != want || record.Times != i+1 {
			t.Errorf("time %d lasts %s and says it is time %d, want %s", i+1, got, record.Times, want)
		}
		answer := ask(t, r, this(s.target, "Pod"))
		answer.Expect(t, "200 applied")
		if got := list(t, answer); len(got) != 1 || got[0].Times != i+1 {
			t.Errorf("the outcome says %+v, want time %d", got, i+1)
		}
		if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
			t.Errorf("the pod after time %d (-before +after):\n%s", i+1, diff)
		}
	}
}
