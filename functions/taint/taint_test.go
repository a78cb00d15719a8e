package function

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

type settings = map[string]string

func run(t *testing.T, s settings) *testkit.Running {
	t.Helper()
	return testkit.Cluster(t).Run(t, "taint", New(), s)
}

// newTainted makes a node with these taints and a pod on it.
func newTainted(t *testing.T, env *testkit.Env, taints ...corev1.Taint) (*corev1.Node, corev1.Pod) {
	t.Helper()
	node := env.Node(t, func(n *corev1.Node) { n.Spec.Taints = taints })
	return node, env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1, testkit.OnNode(node)))[0]
}

// taints are the node's, as text, without the times at which NoExecute ones were added.
func taints(t *testing.T, env *testkit.Env, node *corev1.Node) []string {
	t.Helper()
	env.Get(t, node)
	var list []string
	for _, x := range node.Spec.Taints {
		list = append(list, x.ToString())
	}
	slices.Sort(list)
	return list
}

func TestTaintIsAddedAndTheOthersKept(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	disk := corev1.Taint{Key: "disk", Value: "slow", Effect: corev1.TaintEffectPreferNoSchedule}
	alert := func(value string, effect corev1.TaintEffect) corev1.Taint {
		return corev1.Taint{Key: "falco/alert", Value: value, Effect: effect}
	}
	for name, tc := range map[string]struct {
		settings settings
		before   []corev1.Taint
		want     string
		after    []string
		sends    int
	}{
		"a node without taints":         {nil, nil, "200 applied", []string{"falco/alert=true:NoSchedule"}, 1},
		"a node with another taint":     {nil, []corev1.Taint{disk}, "200 applied", []string{"disk=slow:PreferNoSchedule", "falco/alert=true:NoSchedule"}, 1},
		"the same key, another effect":  {nil, []corev1.Taint{alert("true", "PreferNoSchedule"), disk}, "200 applied", []string{"disk=slow:PreferNoSchedule", "falco/alert=true:NoSchedule", "falco/alert=true:PreferNoSchedule"}, 1},
		"the same taint, another value": {nil, []corev1.Taint{disk, alert("no", "NoSchedule")}, "200 applied", []string{"disk=slow:PreferNoSchedule", "falco/alert=true:NoSchedule"}, 1},
		"the same taint":                {nil, []corev1.Taint{alert("true", "NoSchedule"), disk}, "200 unchanged already-so", []string{"disk=slow:PreferNoSchedule", "falco/alert=true:NoSchedule"}, 0},
		"a taint of one's own": {
			settings{"TAINT_KEY": "example.com/suspect", "TAINT_VALUE": "yes", "TAINT_EFFECT": "PreferNoSchedule"},
			[]corev1.Taint{disk},
			"200 applied",
			[]string{"disk=slow:PreferNoSchedule", "example.com/suspect=yes:PreferNoSchedule"},
			1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, pod := newTainted(t, env, tc.before...)
			r := run(t, tc.settings)
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			answer.Expect(t, tc.want)
			if diff := cmp.Diff(tc.after, taints(t, env, node)); diff != "" {
				t.Errorf("taints (-want +got):\n%s", diff)
			}
			if changed := r.Proxy.Changed(); len(changed) != tc.sends {
				t.Errorf("it sent %v, want %d", changed, tc.sends)
			}
			target := answer.Record.Target
			if target.Kind != "Node" || target.Name != node.Name || target.UID != string(node.UID) || answer.Attributes["subject"] != "nodes/"+node.Name {
				t.Errorf("the target is %+v with subject %q, want node %s", target, answer.Attributes["subject"], node.Name)
			}
			if tc.sends == 0 {
				return
			}
			if len(answer.Record.Changes) != 1 || answer.Record.Changes[0].Field != "spec.taints" {
				t.Fatalf("the changes are %+v, want spec.taints", answer.Record.Changes)
			}
			before, _ := answer.Record.Changes[0].Before.([]any)
			after, _ := answer.Record.Changes[0].After.([]any)
			if len(before) != len(tc.before) || len(after) != len(tc.after) {
				t.Errorf("the change is from %v to %v", before, after)
			}
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 unchanged already-so")
		})
	}
}

func TestNoExecuteEvictsWhatDoesNotTolerateIt(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	node, pod := newTainted(t, env)
	tolerant := env.Deploy(t, testkit.Pod(pod.Namespace, "tolerant", func(p *corev1.Pod) {
		p.Spec.NodeName = node.Name
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}))[0]
	r := run(t, settings{"TAINT_EFFECT": "NoExecute"})
	alert := testkit.AlertFor(t, pod)
	testkit.Post(t, r, alert).Expect(t, "200 applied")
	env.Gone(t, &pod)
	if !env.Exists(t, &tolerant) {
		t.Error("the pod that tolerates it is gone")
	}
	testkit.Post(t, r, alert).Expect(t, "200 skipped gone")
	testkit.Post(t, r, testkit.AlertFor(t, tolerant)).Expect(t, "200 unchanged already-so")
}

func TestNodesThatMustNotBeTainted(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		node func(*corev1.Node)
		want string
	}{
		"one of the control plane by its label": {func(n *corev1.Node) { n.Labels["node-role.kubernetes.io/control-plane"] = "" }, "200 refused control-plane-node"},
		"one of the control plane by its taint": {func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule}}
		}, "200 refused control-plane-node"},
		"one that is annotated": {func(n *corev1.Node) { n.Annotations["riposte.dev/protect"] = "true" }, "200 refused protected-annotation"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := env.Node(t, tc.node)
			pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1, testkit.OnNode(node)))[0]
			before := taints(t, env, node)
			r := run(t, nil)
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, tc.want)
			if changed := r.Proxy.Changed(); len(changed) > 0 {
				t.Errorf("it sent %v", changed)
			}
			if diff := cmp.Diff(before, taints(t, env, node)); diff != "" {
				t.Errorf("taints (-before +after):\n%s", diff)
			}
		})
	}
}

func TestPodWithoutANodeIsSkipped(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := testkit.Pod(env.Namespace(t), "waiting", func(p *corev1.Pod) { p.Spec.NodeSelector = settings{"no": "such"} })
	env.Create(t, pod)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{ContainerID: "containerd://" + strings.Repeat("0", 64)}} // for the alert
	testkit.Post(t, run(t, nil), testkit.AlertFrom(t, "02", *pod)).Expect(t, "200 skipped not-scheduled")
}

func TestNodeThatChangesBetweenReadingAndWriting(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		times  int // how often somebody else is faster; 0 is always
		effect func(t *testing.T, node *corev1.Node) testkit.Effect
		want   string
		after  []string // taints, nil where they do not matter
	}{
		"with a taint of somebody else": {1, func(t *testing.T, node *corev1.Node) testkit.Effect {
			t.Helper()
			return testkit.Meanwhile(func() {
				env.Patch(t, node, map[string]any{"spec": map[string]any{"taints": []corev1.Taint{{Key: "theirs", Effect: corev1.TaintEffectNoSchedule}}}})
			})
		}, "200 applied", []string{"falco/alert=true:NoSchedule", "theirs:NoSchedule"}},
		"with the very taint": {1, func(t *testing.T, node *corev1.Node) testkit.Effect {
			t.Helper()
			return testkit.Meanwhile(func() {
				env.Patch(t, node, map[string]any{"spec": map[string]any{"taints": []corev1.Taint{{Key: "falco/alert", Value: "true", Effect: corev1.TaintEffectNoSchedule}}}})
			})
		}, "200 unchanged already-so", []string{"falco/alert=true:NoSchedule"}},
		"again and again": {0, func(t *testing.T, node *corev1.Node) testkit.Effect {
			t.Helper()
			count := ""
			return testkit.Meanwhile(func() {
				count += "x"
				env.Patch(t, node.DeepCopy(), map[string]any{"metadata": map[string]any{"labels": map[string]any{"count": count}}})
			})
		}, "500", nil},
		"with an annotation that protects it": {1, func(t *testing.T, node *corev1.Node) testkit.Effect {
			t.Helper()
			return testkit.Meanwhile(func() {
				env.Patch(t, node.DeepCopy(), map[string]any{"metadata": map[string]any{"annotations": map[string]any{"riposte.dev/protect": "true"}}})
			})
		}, "200 refused protected-annotation", []string{}},
		"by an error of the server's own": {
			1, func(*testing.T, *corev1.Node) testkit.Effect { return testkit.Answers(http.StatusConflict, 0) },
			"200 applied",
			[]string{"falco/alert=true:NoSchedule"},
		},
		"by its removal": {1, func(t *testing.T, node *corev1.Node) testkit.Effect {
			t.Helper()
			return testkit.Meanwhile(func() { env.Delete(t, node.DeepCopy()) })
		}, "200 skipped gone", nil},
		"by another node of its name": {1, func(t *testing.T, node *corev1.Node) testkit.Effect {
			t.Helper()
			return testkit.Meanwhile(func() {
				env.Delete(t, node.DeepCopy())
				next := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name, Annotations: node.Annotations}}
				env.Create(t, next)
				env.Ready(t, next)
			})
		}, "200 skipped replaced", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node, pod := newTainted(t, env)
			r := run(t, nil)
			r.Proxy.Inject(&testkit.Fault{Verb: "patch", Times: tc.times, Effect: tc.effect(t, node)})
			alert := testkit.AlertFor(t, pod)
			testkit.Post(t, r, alert).Expect(t, tc.want)
			if tc.after != nil {
				if got := taints(t, env, node); !slices.Equal(got, tc.after) {
					t.Errorf("taints are %q, want %q", got, tc.after)
				}
			}
			if tc.want == "500" {
				r.Proxy.Heal()
				testkit.Post(t, r, alert).Expect(t, "200 applied")
			}
		})
	}
}

func TestSettingsAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct{ variable, value string }{
		"a time without a unit":   {"TTL", "60"},
		"a maximum below no time": {"TTL_MAX", "-1h"},
		"a key that is none":      {"TAINT_KEY", "a b"},
		"a value that is none":    {"TAINT_VALUE", "a/b"},
		"an effect there is not":  {"TAINT_EFFECT", "NoRun"},
		"an effect in other case": {"TAINT_EFFECT", "noschedule"},
	} {
		t.Run(name, func(t *testing.T) {
			err := New().Start(t.Context(), settings{"KUBECONFIG": env.Kubeconfig, tc.variable: tc.value})
			if err == nil || !strings.Contains(err.Error(), tc.variable) {
				t.Errorf("it gives %v, want an error that names %s", err, tc.variable)
			}
		})
	}
}

// A kubelet writes the annotations of its node. It does not keep the node from being tainted by filling them up.
func TestNodeWhoseAnnotationsAreFullIsTaintedAllTheSame(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	node, pod := newTainted(t, env)
	env.Patch(t, node, map[string]any{"metadata": map[string]any{
		"annotations": settings{"x": strings.Repeat("x", 256<<10-300)}, "labels": settings{"disk": "slow"},
	}})
	answer := testkit.Post(t, run(t, nil), testkit.AlertFor(t, pod))
	answer.Expect(t, "200 applied")
	if got := taints(t, env, node); !slices.Contains(got, "falco/alert=true:NoSchedule") {
		t.Errorf("the node's taints are %v", got)
	}
	if node.Labels["disk"] != "slow" || len(node.Annotations["x"]) != 256<<10-300 || !strings.Contains(answer.Record.Message, "release cannot undo it") {
		t.Errorf("labels are %v and the message is %s", node.Labels, answer.Record.Message)
	}
}
