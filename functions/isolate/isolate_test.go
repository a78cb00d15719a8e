package function

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/testkit"
)

type settings = map[string]string

func run(t *testing.T, s settings) *testkit.Running {
	t.Helper()
	return testkit.Cluster(t).Run(t, "isolate", New(), s)
}

// policyOf reads the policy that isolate makes for a pod.
func policyOf(t *testing.T, env *testkit.Env, p corev1.Pod) *networkingv1.NetworkPolicy {
	t.Helper()
	policy := testkit.NetworkPolicy(p.Namespace, policyName(&p), nil)
	env.Get(t, policy)
	return policy
}

// own are labels without those that the scheduler adds, and without the mark of what is contained.
func own(labels settings) settings {
	labels = maps.Clone(labels)
	maps.DeleteFunc(labels, func(key, _ string) bool {
		return strings.HasPrefix(key, "topology.kubernetes.io/") || key == restore.Contained
	})
	return labels
}

// record is what the restore record of a pod puts back: labels, "" for none. It speaks of the policy, too.
func record(t *testing.T, p *corev1.Pod) settings {
	t.Helper()
	r, err := restore.Keys(nil).Open(&restore.Object{TypeMeta: metav1.TypeMeta{Kind: "Pod"}, ObjectMeta: p.ObjectMeta}, "isolate")
	if err != nil {
		t.Fatal(err)
	}
	back, policy := settings{}, false
	for _, c := range r.Changes {
		if c.Field == "networkpolicies/"+policyName(p) {
			policy = true
			continue
		}
		before, _ := c.Before.(string)
		back[strings.TrimSuffix(strings.TrimPrefix(c.Field, "metadata.labels["), "]")] = before
	}
	if !policy {
		t.Errorf("the restore record %+v does not speak of the policy", r)
	}
	return back
}

// web makes a Deployment whose pods carry a label beside that of the Deployment.
func web(namespace string, apply ...func(*appsv1.Deployment)) *appsv1.Deployment {
	return testkit.Deployment(namespace, "web", 1, append(apply, func(d *appsv1.Deployment) { d.Spec.Template.Labels["team"] = "red" })...)
}

func TestSuspectIsCutOffAndReplaced(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	env.Create(t, testkit.Service(namespace, "web"))
	env.Create(t, testkit.NetworkPolicy(namespace, "allows-web", testkit.App("web")))
	deployment := web(namespace, func(d *appsv1.Deployment) { *d.Spec.Replicas = 2 })
	pods := env.Deploy(t, deployment)
	suspect, other := pods[0], pods[1]
	awaitEndpoints(t, env, namespace, suspect.Name, other.Name)
	r := run(t, nil)

	answer := testkit.Post(t, r, testkit.AlertFor(t, suspect))

	answer.Expect(t, "200 applied")
	policy := policyOf(t, env, suspect)
	wantOwner := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: suspect.Name, UID: suspect.UID}}
	if diff := cmp.Diff(wantOwner, policy.OwnerReferences); diff != "" {
		t.Errorf("owners of the policy (-want +got):\n%s", diff)
	}
	wantSpec := networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: settings{"riposte.dev/isolated": string(suspect.UID)}},
		PolicyTypes: []networkingv1.PolicyType{"Ingress", "Egress"},
	}
	if diff := cmp.Diff(wantSpec, policy.Spec); diff != "" {
		t.Errorf("the policy (-want +got):\n%s", diff)
	}

	now := suspect.DeepCopy()
	env.Get(t, now)
	if diff := cmp.Diff(settings{"riposte.dev/isolated": string(suspect.UID), "team": "red"}, own(now.Labels)); diff != "" {
		t.Errorf("labels of the suspect (-want +got):\n%s", diff)
	}
	wantRecord := settings{isolatedLabel: "", "app": "web", "pod-template-hash": suspect.Labels["pod-template-hash"]}
	if diff := cmp.Diff(wantRecord, record(t, now)); diff != "" || now.Labels[restore.Contained] != "true" {
		t.Errorf("what is to be put back (-want +got):\n%s", diff)
	}
	if now.UID != suspect.UID || now.DeletionTimestamp != nil {
		t.Error("the suspect is not the same or on its way out")
	}
	if diff := cmp.Diff([]any{}, answer.Record.Details["residual"]); diff != "" {
		t.Errorf("residual traffic (-want +got):\n%s", diff)
	}
	want := map[string][2]any{
		"networkpolicies/" + policy.Name:        {nil, "a spec"},
		"metadata.labels[riposte.dev/isolated]": {nil, string(suspect.UID)},
		"metadata.labels[app]":                  {"web", nil},
		"metadata.labels[pod-template-hash]":    {suspect.Labels["pod-template-hash"], nil},
	}
	got := map[string][2]any{}
	for _, c := range answer.Record.Changes {
		if _, object := c.After.(map[string]any); object {
			c.After = "a spec"
		}
		got[c.Field] = [2]any{c.Before, c.After}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}

	env.Ready(t, deployment)
	clean := env.Pods(t, deployment)
	if len(clean) != 2 || strings.Contains(testkit.Names(clean), suspect.Name) || !strings.Contains(testkit.Names(clean), other.Name) {
		t.Errorf("the deployment's pods are %s, want two without %s", testkit.Names(clean), suspect.Name)
	}
	awaitEndpoints(t, env, namespace, clean[0].Name, clean[1].Name)
}

// awaitEndpoints waits until these pods, and no others, are those that the service of the namespace sends traffic to.
func awaitEndpoints(t *testing.T, env *testkit.Env, namespace string, names ...string) {
	t.Helper()
	want := map[string]bool{}
	for _, name := range names {
		want[name] = true
	}
	testkit.Eventually(t, "the service has its endpoints", func(ctx context.Context) error {
		var slices discoveryv1.EndpointSliceList
		if err := env.List(ctx, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace}}, nil, &slices); err != nil {
			return err
		}
		got := map[string]bool{}
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				got[endpoint.TargetRef.Name] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

func TestPolicyAllowsWhatTheSettingsAllow(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	pod := env.Deploy(t, web(namespace))[0]
	network := networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: "10.1.0.0/16"}}
	in := func(name string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: settings{"kubernetes.io/metadata.name": name}}}
	}
	port, tcp, udp := intstr.FromInt32(53), corev1.ProtocolTCP, corev1.ProtocolUDP
	dnsRule := networkingv1.NetworkPolicyEgressRule{
		To:    []networkingv1.NetworkPolicyPeer{in("kube-system")},
		Ports: []networkingv1.NetworkPolicyPort{{Protocol: &udp, Port: &port}, {Protocol: &tcp, Port: &port}},
	}
	type spec = networkingv1.NetworkPolicySpec
	both := []networkingv1.PolicyType{"Ingress", "Egress"}
	// One pod serves all: each case puts the policy of the case before right, in any order.
	for name, tc := range map[string]struct {
		settings settings
		want     spec
	}{
		"nothing by default": {nil, spec{PolicyTypes: both}},
		"ingress alone is cut": {
			settings{"DIRECTION": "ingress", "DETACH": "false"}, spec{PolicyTypes: both[:1]},
		},
		"egress alone is cut": {
			settings{"DIRECTION": "egress", "DETACH": "false"}, spec{PolicyTypes: both[1:]},
		},
		"networks in both directions": {settings{"ALLOW_CIDRS": "10.1.0.0/16"}, spec{
			PolicyTypes: both,
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{network}}},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{network}}},
		}},
		"networks and namespaces": {settings{"ALLOW_CIDRS": "10.1.0.0/16", "ALLOW_NAMESPACES": "forensics, vault", "DIRECTION": "ingress", "DETACH": "false"}, spec{
			PolicyTypes: both[:1],
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{network, in("forensics"), in("vault")}}},
		}},
		"names": {settings{"ALLOW_DNS": "true"}, spec{
			PolicyTypes: both, Egress: []networkingv1.NetworkPolicyEgressRule{dnsRule},
		}},
		"names and a network": {settings{"ALLOW_DNS": "true", "ALLOW_CIDRS": "10.1.0.0/16", "DIRECTION": "egress", "DETACH": "false"}, spec{
			PolicyTypes: both[1:],
			Egress:      []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{network}}, dnsRule},
		}},
		"names are of no use where egress is not cut": {settings{"ALLOW_DNS": "true", "DIRECTION": "ingress", "DETACH": "false"}, spec{PolicyTypes: both[:1]}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := testkit.Post(t, run(t, tc.settings), testkit.AlertFor(t, pod))
			if outcome := answer.Attributes["outcome"]; outcome != "applied" && outcome != "unchanged" {
				t.Fatalf("the answer is %q", answer.Verdict())
			}
			tc.want.PodSelector.MatchLabels = settings{"riposte.dev/isolated": string(pod.UID)}
			if diff := cmp.Diff(tc.want, policyOf(t, env, pod).Spec); diff != "" {
				t.Errorf("the policy (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOtherPoliciesThatStillAllowTraffic(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	type policy = networkingv1.NetworkPolicy
	expression := func(key string, operator metav1.LabelSelectorOperator, values ...string) func(*policy) {
		return func(p *policy) {
			p.Spec.PodSelector = metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
		}
	}
	selecting := func(labels settings) func(*policy) {
		return func(p *policy) { p.Spec.PodSelector = metav1.LabelSelector{MatchLabels: labels} }
	}
	const residual, clean = "200 applied residual-traffic", "200 applied"
	for name, tc := range map[string]struct {
		settings settings
		policy   func(*policy)
		want     string
		open     []string // directions of residual traffic
		kept     []string // labels the pod keeps beside that of its isolation
	}{
		"one by the pod's own labels is shaken off":              {nil, selecting(settings{"app": "web"}), clean, nil, []string{"team"}},
		"one by another label is shaken off too":                 {nil, selecting(settings{"team": "red"}), clean, nil, nil},
		"one by both labels is":                                  {nil, selecting(settings{"app": "web", "team": "red"}), clean, nil, nil},
		"one of another team does not matter":                    {nil, selecting(settings{"team": "blue"}), clean, nil, []string{"team"}},
		"one by the presence of a label is shaken off":           {nil, expression("team", metav1.LabelSelectorOpExists), clean, nil, nil},
		"one by a list of values is shaken off":                  {nil, expression("team", metav1.LabelSelectorOpIn, "red", "blue"), clean, nil, nil},
		"one for every pod stays":                                {nil, selecting(nil), residual, []string{"ingress", "egress"}, []string{"team"}},
		"one by the absence of a label selects the pod only now": {nil, expression("app", metav1.LabelSelectorOpDoesNotExist), residual, []string{"ingress", "egress"}, []string{"team"}},
		"one by another value stays":                             {nil, expression("app", metav1.LabelSelectorOpNotIn, "db"), residual, []string{"ingress", "egress"}, []string{"team"}},
		"without detaching one by the pod's labels stays":        {settings{"DETACH": "false"}, selecting(settings{"app": "web"}), residual, []string{"ingress", "egress"}, []string{"app", "pod-template-hash", "team"}},
		"where ingress is cut only ingress counts":               {settings{"DIRECTION": "ingress", "DETACH": "false"}, selecting(nil), residual, []string{"ingress"}, []string{"app", "pod-template-hash", "team"}},
		"where egress is cut only egress counts":                 {settings{"DIRECTION": "egress", "DETACH": "false"}, selecting(nil), residual, []string{"egress"}, []string{"app", "pod-template-hash", "team"}},
		"one that allows nothing does not matter": {nil, func(p *policy) {
			selecting(nil)(p)
			p.Spec.Ingress, p.Spec.Egress = nil, nil
		}, clean, nil, []string{"team"}},
		"one that allows egress alone": {nil, func(p *policy) {
			selecting(nil)(p)
			p.Spec.Ingress = nil
		}, residual, []string{"egress"}, []string{"team"}},
		"one whose rules for egress are not in force": {nil, func(p *policy) {
			selecting(nil)(p)
			p.Spec.Ingress, p.Spec.PolicyTypes = nil, []networkingv1.PolicyType{"Ingress"}
		}, clean, nil, []string{"team"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			env.Create(t, testkit.NetworkPolicy(namespace, "beside", nil, tc.policy))
			pod := env.Deploy(t, web(namespace))[0]
			r := run(t, tc.settings)

			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))

			answer.Expect(t, tc.want)
			var open []string
			list, _ := answer.Record.Details["residual"].([]any)
			for _, x := range list {
				entry, _ := x.(map[string]any)
				if entry["policy"] != "beside" || entry["rules"] == nil {
					t.Errorf("residual traffic is %v, want it to name the policy and its rules", entry)
				}
				open = append(open, fmt.Sprint(entry["direction"]))
			}
			if diff := cmp.Diff(tc.open, open); diff != "" {
				t.Errorf("directions that stay open (-want +got):\n%s", diff)
			}
			if named := strings.Contains(answer.Record.Message, "beside"); named != (tc.want == residual) {
				t.Errorf("the message is %q, want the policy in it: %t", answer.Record.Message, tc.want == residual)
			}
			env.Get(t, &pod)
			kept := settings{"riposte.dev/isolated": string(pod.UID)}
			for _, key := range tc.kept {
				kept[key] = pod.Labels[key]
			}
			if diff := cmp.Diff(kept, own(pod.Labels)); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			again := "200 unchanged already-so"
			if tc.want == residual {
				again = "200 unchanged residual-traffic"
			}
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, again)
		})
	}
}

func TestPodOnTheNetworkOfItsNodeIsRefused(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, web(env.Namespace(t), func(d *appsv1.Deployment) { d.Spec.Template.Spec.HostNetwork = true }))[0]
	r := run(t, nil)
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 refused host-network")
	if changed := r.Proxy.Changed(); len(changed) > 0 {
		t.Errorf("it sent %v", changed)
	}
}

func TestWhatSomebodyUndidIsPutRight(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	type object = map[string]any
	all := []any{object{}}
	for name, tc := range map[string]struct {
		policy, pod object // patches
		gone        bool   // the policy
	}{
		"the policy allows everything":             {policy: object{"spec": object{"ingress": all, "egress": all}}},
		"the policy wants one more label":          {policy: object{"spec": object{"podSelector": object{"matchLabels": object{"no": "such"}}}}},
		"the policy wants another pod":             {policy: object{"spec": object{"podSelector": object{"matchLabels": object{isolatedLabel: "another"}}}}},
		"the policy wants no label at all":         {policy: object{"spec": object{"podSelector": object{"matchLabels": nil}}}},
		"the policy is for one direction":          {policy: object{"spec": object{"policyTypes": []string{"Ingress"}}}},
		"the policy wants a label not to be there": {policy: object{"spec": object{"podSelector": object{"matchExpressions": []any{object{"key": isolatedLabel, "operator": "DoesNotExist"}}}}}},
		"the policy is gone":                       {gone: true},
		"the label is gone":                        {pod: object{"metadata": object{"labels": object{isolatedLabel: nil}}}},
		"the label has another value":              {pod: object{"metadata": object{"labels": object{isolatedLabel: "x"}}}},
		"a label of the service is back":           {pod: object{"metadata": object{"labels": object{"app": "web"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			env.Create(t, testkit.Service(namespace, "web"))
			pod := env.Deploy(t, web(namespace))[0]
			r := run(t, nil)
			alert := testkit.AlertFor(t, pod)
			testkit.Post(t, r, alert).Expect(t, "200 applied")
			env.Get(t, &pod)
			wantSpec, wantLabels, wantRecord := policyOf(t, env, pod).Spec, pod.Labels, record(t, &pod)
			switch policy := policyOf(t, env, pod); {
			case tc.gone:
				env.Delete(t, policy)
			case tc.policy != nil:
				env.Patch(t, policy, tc.policy)
			default:
				env.Patch(t, &pod, tc.pod)
			}

			testkit.Post(t, r, alert).Expect(t, "200 applied")

			env.Get(t, &pod)
			if diff := cmp.Diff(wantSpec, policyOf(t, env, pod).Spec); diff != "" {
				t.Errorf("the policy (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantLabels, pod.Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(wantRecord, record(t, &pod)); diff != "" {
				t.Errorf("the restore record (-want +got):\n%s", diff)
			}
			testkit.Post(t, r, alert).Expect(t, "200 unchanged already-so")
		})
	}
}

func TestRestoreRecordThatSomebodyWroteIntoDoesNotPreventTheIsolation(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, text := range map[string]string{
		"text":                   "not json",
		"another type":           `["app"]`,
		"null":                   `null`,
		"nothing":                ``,
		"one of an older form":   `{"labels":{"before":"x"}}`,
		"one of another pod":     `{"version":1,"response":"isolate","uid":"another","alert":{},"changes":[]}`,
		"one that is very large": `{"version":"` + strings.Repeat("x", 100<<10) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, web(env.Namespace(t), func(d *appsv1.Deployment) {
				d.Spec.Template.Annotations = settings{"riposte.dev/restore.isolate": text}
			}))[0]
			want := settings{isolatedLabel: "", "app": "web", "pod-template-hash": pod.Labels["pod-template-hash"]}
			testkit.Post(t, run(t, nil), testkit.AlertFor(t, pod)).Expect(t, "200 applied")
			env.Get(t, &pod)
			if diff := cmp.Diff(want, record(t, &pod)); diff != "" {
				t.Errorf("what is to be put back (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConflictIsTriedAgain(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		times int // how often somebody else is faster; 0 is always
		want  string
	}{
		"with a change of somebody else": {1, "200 applied"},
		"with changes that do not end":   {0, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, web(env.Namespace(t)))[0]
			want := settings{isolatedLabel: "", "app": "web", "pod-template-hash": pod.Labels["pod-template-hash"]}
			r := run(t, nil)
			changes := 0
			r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Times: tc.times, Effect: testkit.Meanwhile(func() {
				changes++
				env.Patch(t, pod.DeepCopy(), map[string]any{"metadata": map[string]any{"labels": map[string]any{"theirs": fmt.Sprint(changes)}}})
			})})
			alert := testkit.AlertFor(t, pod)
			testkit.Post(t, r, alert).Expect(t, tc.want)
			r.Proxy.Heal()
			if tc.want != "200 applied" {
				testkit.Post(t, r, alert).Expect(t, "200 applied")
			}
			env.Get(t, &pod)
			if pod.Labels["theirs"] != fmt.Sprint(changes) || pod.Labels[isolatedLabel] != string(pod.UID) {
				t.Errorf("after %d changes the labels are %v, want both", changes, pod.Labels)
			}
			if diff := cmp.Diff(want, record(t, &pod)); diff != "" {
				t.Errorf("what is to be put back (-want +got):\n%s", diff)
			}
		})
	}
}

// Where not all that selects the pod can be seen, or the pod cannot be changed, it stays as it was, and the next attempt does it all.
func TestIsolationIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		fault *testkit.Fault
		want  string
	}{
		"the Services cannot be listed":          {&testkit.Fault{Verb: "list", Resource: "services", Effect: testkit.Answers(http.StatusInternalServerError, 0)}, "500"},
		"the Services may not be listed":         {&testkit.Fault{Verb: "list", Resource: "services", Effect: testkit.Answers(http.StatusForbidden, 0)}, "422"},
		"the policies cannot be listed":          {&testkit.Fault{Verb: "list", Resource: "networkpolicies", Effect: testkit.Resets()}, "500"},
		"the policy cannot be made":              {&testkit.Fault{Verb: "create", Resource: "networkpolicies", Effect: testkit.Answers(http.StatusInternalServerError, 0)}, "500"},
		"the pod cannot be changed":              {&testkit.Fault{Verb: "patch", Resource: "pods", Effect: testkit.Resets()}, "500"},
		"the policy is there and then it is not": {&testkit.Fault{Verb: "create", Resource: "networkpolicies", Effect: testkit.Answers(http.StatusNotFound, 0)}, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			env.Create(t, testkit.Service(namespace, "web"))
			pod := env.Deploy(t, web(namespace))[0]
			before := pod.DeepCopy()
			r := run(t, nil)
			r.Proxy.Inject(tc.fault)
			alert := testkit.AlertFor(t, pod)
			testkit.Post(t, r, alert).Expect(t, tc.want)
			env.Get(t, &pod)
			if diff := cmp.Diff(before.Labels, pod.Labels); diff != "" {
				t.Errorf("labels of the pod (-before +after):\n%s", diff)
			}
			r.Proxy.Heal()
			testkit.Post(t, r, alert).Expect(t, "200 applied")
			env.Get(t, &pod)
			if diff := cmp.Diff(settings{isolatedLabel: string(pod.UID), "team": "red"}, own(pod.Labels)); diff != "" {
				t.Errorf("labels of the suspect (-want +got):\n%s", diff)
			}
			policyOf(t, env, pod)
		})
	}
}

// A pod that has left the policies of its own, and has not the one that was made for it, would be allowed more than before.
func TestPolicyThatGoesInTheMiddleIsMadeAgain(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		isolated bool // before
		verb     string
		resource string
		after    int
		opened   bool // by somebody, who else takes it away
	}{
		"gone before the pod is changed":      {false, "patch", "pods", 0, false},
		"opened before the pod is changed":    {false, "patch", "pods", 0, true},
		"gone from a pod that was isolated":   {true, "list", "networkpolicies", 0, false},
		"opened at a pod that was isolated":   {true, "get", "networkpolicies", 1, true},
		"changed while it is being put right": {true, "get", "networkpolicies", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, web(env.Namespace(t)))[0]
			r := run(t, nil)
			alert := testkit.AlertFor(t, pod)
			if tc.isolated {
				testkit.Post(t, r, alert).Expect(t, "200 applied")
			}
			policy := testkit.NetworkPolicy(pod.Namespace, policyName(&pod), nil)
			r.Proxy.Inject(&testkit.Fault{Verb: tc.verb, Resource: tc.resource, After: tc.after, Times: 1, Effect: testkit.Meanwhile(func() {
				if tc.opened {
					env.Patch(t, policy, map[string]any{"spec": map[string]any{"egress": []any{map[string]any{}}}})
				} else {
					env.Delete(t, policy)
				}
			})})
			testkit.Post(t, r, alert).Expect(t, "200 applied")
			now := policyOf(t, env, pod).Spec
			if len(now.Ingress)+len(now.Egress) > 0 || len(now.PolicyTypes) != 2 || now.PodSelector.MatchLabels[isolatedLabel] != string(pod.UID) {
				t.Errorf("the policy is %+v, want one that allows nothing", now)
			}
			env.Get(t, &pod)
			if pod.Labels[isolatedLabel] != string(pod.UID) {
				t.Errorf("the pod's labels are %v", pod.Labels)
			}
		})
	}
}

// Whoever can change the pod must not make its isolation one that cannot be undone, or never ends.
func TestLabelThatSomebodyPutOnBeforeIsWrittenDown(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for _, detach := range []string{"true", "false"} {
		t.Run("DETACH="+detach, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, web(env.Namespace(t)))[0]
			env.Patch(t, &pod, map[string]any{"metadata": map[string]any{"labels": map[string]any{isolatedLabel: string(pod.UID)}}})
			r := run(t, settings{"DETACH": detach, "TTL": "1h"})
			alert := testkit.AlertFor(t, pod)
			testkit.Post(t, r, alert).Expect(t, "200 applied")
			env.Get(t, &pod)
			if back, ok := record(t, &pod)[isolatedLabel]; !ok || back != "" {
				t.Errorf("the record puts back %q, want the label gone", back)
			}
			testkit.Post(t, r, alert).Expect(t, "200 unchanged already-so")
		})
	}
}

func TestConflictOfTheServersOwnMaking(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, web(env.Namespace(t)))[0]
	r := run(t, nil)
	r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Times: 1, Effect: testkit.Answers(409, 0)})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 applied")
}

func TestPodThatIsProtectedInTheMiddleIsSpared(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, web(env.Namespace(t)))[0]
	before := pod.Labels
	r := run(t, nil)
	r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Times: 1, Effect: testkit.Meanwhile(func() {
		env.Patch(t, pod.DeepCopy(), map[string]any{"metadata": map[string]any{"annotations": map[string]any{"riposte.dev/protect": "true"}}})
	})})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "200 refused protected-annotation")
	env.Get(t, &pod)
	if diff := cmp.Diff(before, pod.Labels); diff != "" {
		t.Errorf("labels (-before +after):\n%s", diff)
	}
}

func TestPodThatGoesInTheMiddle(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct {
		replaced bool
		want     string
	}{
		"and stays away":             {false, "200 skipped gone"},
		"and another takes its name": {true, "200 skipped replaced"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			// kwok, which ends pods by their name, would end the new one too.
			pod := env.DeploySilent(t, testkit.Pod(namespace, "p"))
			r := run(t, nil)
			r.Proxy.Inject(&testkit.Fault{Verb: "patch", Resource: "pods", Times: 1, Effect: testkit.Meanwhile(func() {
				env.Remove(t, &pod)
				if tc.replaced {
					env.DeploySilent(t, testkit.Pod(namespace, "p"))
				}
			})})
			testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, tc.want)
			if tc.replaced {
				next := testkit.Pod(namespace, "p")
				env.Get(t, next)
				if diff := cmp.Diff(testkit.App("p"), own(next.Labels)); diff != "" {
					t.Errorf("labels of the new pod (-want +got):\n%s", diff)
				}
			}
			env.Gone(t, testkit.NetworkPolicy(namespace, policyName(&pod), nil))
		})
	}
}

func TestPolicyGoesWithThePod(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, web(env.Namespace(t)))[0]
	testkit.Post(t, run(t, nil), testkit.AlertFor(t, pod)).Expect(t, "200 applied")
	policy := policyOf(t, env, pod)
	env.Delete(t, &pod)
	env.Gone(t, policy)
}

func TestDryRunTellsWhatWouldStayOpen(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	env.Create(t, testkit.NetworkPolicy(namespace, "for-all", nil))
	pod := env.Deploy(t, web(namespace))[0]
	r := run(t, settings{"DRY_RUN": "true"})
	answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
	answer.Expect(t, "200 dryrun residual-traffic")
	if len(answer.Record.Changes) != 4 {
		t.Errorf("the changes are %v, want the policy and three labels", answer.Record.Changes)
	}
	now := pod.DeepCopy()
	env.Get(t, now)
	if diff := cmp.Diff(&pod, now); diff != "" {
		t.Errorf("the pod changed (-before +after):\n%s", diff)
	}
	if env.Exists(t, testkit.NetworkPolicy(namespace, policyName(&pod), nil)) {
		t.Error("the policy was made")
	}
}

func TestStatefulSetGetsANoteAboutItsReplacement(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	set := env.Deploy(t, testkit.StatefulSet(namespace, "db", 1))[0]
	other := env.Deploy(t, web(namespace))[0]
	for name, tc := range map[string]struct {
		pod   corev1.Pod
		notes int
	}{
		"a stateful set": {set, 3}, "a deployment": {other, 2},
	} {
		answer := testkit.Post(t, run(t, nil), testkit.AlertFor(t, tc.pod))
		answer.Expect(t, "200 applied")
		if notes, _ := answer.Record.Details["notes"].([]any); len(notes) != tc.notes {
			t.Errorf("%s: the notes are %v, want %d", name, notes, tc.notes)
		}
	}
}

func TestSettingsAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct{ variable, value string }{
		"an engine there is not":          {"ENGINE", "iptables"},
		"a direction there is not":        {"DIRECTION", "up"},
		"an address that is no network":   {"ALLOW_CIDRS", "10.1.0.0"},
		"a network with bits of a host":   {"ALLOW_CIDRS", "10.1.0.1/16"},
		"a list of networks with a gap":   {"ALLOW_CIDRS", "10.1.0.0/16,,10.2.0.0/16"},
		"a namespace that is no name":     {"ALLOW_NAMESPACES", "Forensics"},
		"one direction of a detached pod": {"DIRECTION", "egress"},
		"a time that is negative":         {"TTL", "-1s"},
		"a time above the maximum":        {"TTL", "48h"},
		"a key that is too short":         {"RESTORE_KEY", "secret"},
		"a choice that is neither":        {"DETACH", "maybe"},
	} {
		t.Run(name, func(t *testing.T) {
			err := New().Start(t.Context(), settings{"KUBECONFIG": env.Kubeconfig, tc.variable: tc.value})
			if err == nil || !strings.Contains(err.Error(), tc.variable) {
				t.Errorf("it gives %v, want an error that names %s", err, tc.variable)
			}
		})
	}
}

// Whoever makes a pod fills its annotations as he likes: the API server takes 256 KiB of them, and then no record fits.
func TestPodWhoseAnnotationsAreFullIsCutOffAllTheSame(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	pod := env.Deploy(t, web(env.Namespace(t), func(d *appsv1.Deployment) {
		d.Spec.Template.Annotations = settings{"x": strings.Repeat("x", 256<<10-100)}
	}))[0]
	answer := testkit.Post(t, run(t, nil), testkit.AlertFor(t, pod))
	answer.Expect(t, "200 applied")
	now := pod.DeepCopy()
	env.Get(t, now)
	if diff := cmp.Diff(settings{isolatedLabel: string(pod.UID), "team": "red"}, own(now.Labels)); diff != "" {
		t.Errorf("labels of the suspect (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(pod.Annotations, now.Annotations); diff != "" {
		t.Errorf("its annotations (-want +got):\n%s", diff)
	}
	if !strings.Contains(answer.Record.Message, "release cannot undo it") {
		t.Errorf("the outcome does not say that it cannot be undone: %s", answer.Record.Message)
	}
}
