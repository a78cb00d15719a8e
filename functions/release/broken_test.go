package function

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// isolated is a pod that is isolated and due, with a selector for it alone, and how it was.
func isolated(t *testing.T, s settings) (sc scene, selector, before string) {
	t.Helper()
	sc = aPod(t)
	selector = mine(t, sc.target)
	before = asItWas(t, fresh(t, sc.target))
	all := settings{"TTL": "1s"}
	maps.Copy(all, s)
	start(t, "isolate", all).contain(t, sc.pod)
	return sc, selector, before
}

// notDue keeps a pod from the ticks of other tests, which release whatever is due: it is released when asked for.
func notDue() settings { return settings{"TTL": "1h"} }

func TestReleaseThatIsInterruptedIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]*testkit.Fault{
		"before the policy goes":           {Verb: "delete", Effect: testkit.Resets()},
		"when the policy is gone":          {Verb: "delete", Effect: testkit.ResetsAfterwards()},
		"before the pod is changed":        {Verb: "patch", Resource: "pods", Effect: testkit.Answers(http.StatusInternalServerError, 0)},
		"when it cannot see the pod":       {Verb: "get", Resource: "pods", Effect: testkit.Resets()},
		"when it cannot see the namespace": {Verb: "get", Resource: "namespaces", Effect: testkit.Answers(http.StatusServiceUnavailable, 0)},
		"when it cannot see the policy":    {Verb: "get", Resource: "networkpolicies", Effect: testkit.Answers(http.StatusGatewayTimeout, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, before := isolated(t, notDue())
			r := run(t, nil)
			r.Proxy.Inject(fault)
			ask(t, r, this(s.target, "Pod")).Expect(t, "500")
			r.Proxy.Heal()
			ask(t, r, this(s.target, "Pod")).Expect(t, "200 applied")
			if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the pod (-before +after):\n%s", diff)
			}
			if testkit.Cluster(t).Exists(t, testkit.NetworkPolicy(s.pod.Namespace, restore.PolicyName(string(s.pod.UID)), nil)) {
				t.Error("the policy is left")
			}
		})
	}
}

// A release that runs out of time in the middle of its change must not look like one that found nothing to do.
func TestReleaseThatRunsOutOfTimeIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	s, _, before := isolated(t, notDue())
	r := run(t, settings{"RESPONSE_TIMEOUT": "2s"})
	r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Effect: testkit.Hangs()})
	answer := ask(t, r, this(s.target, "Pod"))
	answer.Expect(t, "500")
	if !strings.Contains(string(answer.Body), "deadline exceeded") {
		t.Errorf("the answer does not say that time ran out: %s", answer.Body)
	}
	r.Proxy.Heal()
	testkit.Eventually(t, "the next releases it", func(ctx context.Context) error { // On a busy machine one more may run out of time.
		if again := event(ctx, t, r, "dev.riposte.release.v1", this(s.target, "Pod")); again.Verdict() != "200 applied" {
			return errors.New(again.Verdict())
		}
		return nil
	})
	if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
		t.Errorf("the pod (-before +after):\n%s", diff)
	}
}

func TestReleaseWhoseAnswerIsLostIsNotRepeated(t *testing.T) {
	t.Parallel()
	s, _, before := isolated(t, notDue())
	r := run(t, nil)
	r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Times: 1, Effect: testkit.ResetsAfterwards()})
	ask(t, r, this(s.target, "Pod")).Expect(t, "500")
	ask(t, r, this(s.target, "Pod")).Expect(t, "200 unchanged nothing-to-release")
	if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
		t.Errorf("the pod (-before +after):\n%s", diff)
	}
}

func TestPodThatChangesWhileItIsReleased(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		times int
		act   func(*testing.T, *corev1.Pod)
		want  string
		after func(*testing.T, *corev1.Pod)
	}{
		"with a label of somebody else": {1, func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			env.Patch(t, p, object{"metadata": object{"labels": object{"theirs": "x"}}})
		}, "200 applied", func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			if p.Labels["theirs"] != "x" || p.Labels["app"] != "web" || p.Labels[restore.Isolated] != "" {
				t.Errorf("labels are %v", p.Labels)
			}
		}},
		"with a label that was to come back": {1, func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			env.Patch(t, p, object{"metadata": object{"labels": object{"app": "theirs"}}})
		}, "200 applied conflict", func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			if p.Labels["app"] != "theirs" {
				t.Errorf("labels are %v", p.Labels)
			}
		}},
		"with an annotation that protects it": {1, func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			env.Patch(t, p, object{"metadata": object{"annotations": object{"riposte.dev/protect": "true"}}})
		}, "200 refused protected-annotation", func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			if p.Labels["app"] != "" || p.Labels[restore.Isolated] == "" {
				t.Errorf("labels are %v", p.Labels)
			}
		}},
		"by its removal": {1, func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			env.Remove(t, p)
		}, "200 skipped gone", nil},
		"by another of its name": {1, func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			env.Remove(t, p)
			env.DeploySilent(t, testkit.Pod(p.Namespace, p.Name))
		}, "200 skipped replaced", func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			if p.Labels["team"] != "" {
				t.Errorf("the new pod got the labels %v", p.Labels)
			}
		}},
		"again and again": {0, func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			env.Patch(t, p, object{"metadata": object{"labels": object{"count": p.Labels["count"] + "x"}}})
		}, "500", nil},
		"by another release": {1, func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			ask(t, run(t, nil), this(p, "Pod")).Expect(t, "200 applied")
		}, "200 unchanged nothing-to-release", func(t *testing.T, p *corev1.Pod) {
			t.Helper()
			if p.Labels["app"] != "web" {
				t.Errorf("labels are %v", p.Labels)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			env.Create(t, testkit.Service(namespace, "web"))
			pod := env.DeploySilent(t, testkit.Pod(namespace, "web", func(p *corev1.Pod) { p.Labels["team"] = "red" }))
			start(t, "isolate", nil).contain(t, pod)
			r := run(t, nil)
			now := fresh(t, &pod)
			r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Times: tc.times, Effect: testkit.Meanwhile(func() { tc.act(t, now) })})
			ask(t, r, this(&pod, "Pod")).Expect(t, tc.want)
			if tc.after != nil {
				tc.after(t, fresh(t, &pod))
			}
		})
	}
}

// One object that cannot be released does not hold up the others.
func TestOneFailureDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	pods := env.Deploy(t, testkit.Deployment(namespace, "web", 3, func(d *appsv1.Deployment) { d.Spec.Template.Labels["mine"] = namespace }))
	label := start(t, "label", settings{"LABELS": "quarantine=true"})
	for i := range pods {
		label.contain(t, pods[i])
	}
	r := run(t, nil)
	// 403 is for good: it is not tried again.
	r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", After: 1, Times: 1, Effect: testkit.Answers(http.StatusForbidden, 0)})
	request := object{"selector": "mine=" + namespace}
	answer := ask(t, r, request)
	answer.Expect(t, "200 applied")
	if failed, _ := answer.Record.Details["failed"].([]any); len(list(t, answer)) != 2 || len(failed) != 1 {
		t.Errorf("the details are %v, want two that are released and one that is not", answer.Record.Details)
	}
	r.Proxy.Heal()
	if answer := ask(t, r, request); len(list(t, answer)) != 1 {
		t.Errorf("the second time the details are %v, want one that is released", answer.Record.Details)
	}
}

// What an attacker wrote who may patch the pod is not acted on, and what Riposte wrote beside it is.
func TestTamperedRecord(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	type record = map[string]any
	for name, tc := range map[string]struct {
		edit func(record)
		want string
	}{
		"another change": {func(r record) {
			r["changes"] = append(r["changes"].([]any), record{"field": "metadata.labels[admin]", "before": "true", "after": "x", "at": "2026-01-01T00:00:00Z"})
		}, "200 refused conflict"},
		"somebody's policy": {func(r record) {
			r["changes"] = append(r["changes"].([]any), record{"field": "networkpolicies/default-deny", "before": nil, "after": "made", "at": "2026-01-01T00:00:00Z"})
		}, "200 refused conflict"},
		"another pod's":           {func(r record) { r["uid"] = "00000000-0000-0000-0000-000000000000" }, "200 refused conflict"},
		"a later version":         {func(r record) { r["version"] = 2 }, "200 refused conflict"},
		"brought forward, signed": {func(r record) { r["release_at"] = "2026-01-01T00:00:00Z" }, "200 refused conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			key := "0123456789abcdef0123456789abcdef"
			keyed := settings{"TTL": "1h"}
			if name == "brought forward, signed" {
				keyed["RESTORE_KEY"] = key
			}
			s, selector, _ := isolated(t, keyed)
			denial := testkit.NetworkPolicy(s.pod.Namespace, "default-deny", nil)
			env.Create(t, denial)
			now := fresh(t, s.target)
			var r record
			if err := json.Unmarshal([]byte(now.GetAnnotations()[restore.Prefix+"isolate"]), &r); err != nil {
				t.Fatal(err)
			}
			tc.edit(r)
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			env.Patch(t, now, object{"metadata": object{"annotations": object{restore.Prefix + "isolate": string(text)}}})
			want := asItWas(t, now)
			all := settings{"SELECTOR": selector}
			if keyed["RESTORE_KEY"] != "" {
				all["RESTORE_KEY"] = key
			}
			release := run(t, all)
			ask(t, release, this(s.target, "Pod")).Expect(t, tc.want)
			if answer := strike(t, release); answer.Status != http.StatusNoContent {
				t.Errorf("a tick is answered %q", answer.Verdict())
			}
			if changed := release.Proxy.Changed(); len(changed) > 0 || !env.Exists(t, denial) {
				t.Errorf("it sent %v", changed)
			}
			if diff := cmp.Diff(want, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the pod (-before +after):\n%s", diff)
			}
		})
	}
}

func TestPolicyOfTheNameThatIsNotOursStays(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, edit := range map[string]func(*networkingv1.NetworkPolicy, corev1.Pod){
		"with labels of its own": func(p *networkingv1.NetworkPolicy, _ corev1.Pod) { p.Labels = settings{"team": "net"} },
		"with our label, and nobody's": func(p *networkingv1.NetworkPolicy, _ corev1.Pod) {
			p.Labels = settings{"app.kubernetes.io/managed-by": "riposte"}
		},
		"with our label, of another pod": func(p *networkingv1.NetworkPolicy, pod corev1.Pod) {
			other := env.Deploy(t, testkit.Pod(pod.Namespace, "other"))[0]
			p.Labels = settings{"app.kubernetes.io/managed-by": "riposte"}
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: other.Name, UID: other.UID}}
		},
		"of the pod, without our label": func(p *networkingv1.NetworkPolicy, pod corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, selector, before := isolated(t, nil)
			policy := restore.PolicyName(string(s.pod.UID))
			env.Delete(t, testkit.NetworkPolicy(s.pod.Namespace, policy, nil))
			theirs := testkit.NetworkPolicy(s.pod.Namespace, policy, settings{"app": "web"}, func(p *networkingv1.NetworkPolicy) { edit(p, s.pod) })
			env.Create(t, theirs)
			answer := released(t, run(t, settings{"SELECTOR": selector}))
			answer.Expect(t, "200 applied conflict")
			if !env.Exists(t, theirs) {
				t.Error("it removed somebody else's policy")
			}
			if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the pod (-before +after):\n%s", diff)
			}
		})
	}
}

func TestSignedRecordIsReleased(t *testing.T) {
	t.Parallel()
	key, next := "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	s, selector, before := isolated(t, settings{"RESTORE_KEY": key})
	released(t, run(t, settings{"SELECTOR": selector, "RESTORE_KEY": next + "\n" + key}))
	if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
		t.Errorf("the pod (-before +after):\n%s", diff)
	}
}

// What there is no time for is left to the next tick, and what was done is told of.
func TestTickThatRunsOutOfTimeTellsWhatItDid(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	pods := env.Deploy(t, testkit.Deployment(namespace, "web", 3, func(d *appsv1.Deployment) { d.Spec.Template.Labels["mine"] = namespace }))
	label := start(t, "label", settings{"LABELS": "late=true"})
	for i := range pods {
		label.contain(t, pods[i])
	}
	r := run(t, settings{"RESPONSE_TIMEOUT": "2s"})
	slow := make(chan struct{})
	time.AfterFunc(1700*time.Millisecond, func() { close(slow) })
	r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Times: 1, Effect: testkit.Meanwhile(func() { <-slow })})
	request := object{"selector": "mine=" + namespace}
	answer := ask(t, r, request)
	answer.Expect(t, "200 applied")
	if left, _ := answer.Record.Details["left"].(float64); left != 2 || len(list(t, answer)) != 1 {
		t.Errorf("the details are %v, want one that is released and two that are left", answer.Record.Details)
	}
	rest := 0
	for tick := 0; tick < 5 && rest < 2; tick++ { // On a busy machine one of them may run out of time, too.
		rest += len(list(t, ask(t, r, request)))
	}
	if rest != 2 {
		t.Errorf("%d are released afterwards, want the two that were left", rest)
	}
}
