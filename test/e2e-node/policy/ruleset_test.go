package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type (
	in       = networkingv1.NetworkPolicyIngressRule
	out      = networkingv1.NetworkPolicyEgressRule
	peerList = []networkingv1.NetworkPolicyPeer
	portList = []networkingv1.NetworkPolicyPort
)

// world has the pods web, db and far, which is in another namespace, and three that are no part of the network.
func world(policies ...networkingv1.NetworkPolicy) World {
	pod := func(namespace, name, ip string, apply ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), Labels: map[string]string{"app": name}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{
				{Name: "data", ContainerPort: 80}, {Name: "data", ContainerPort: 53, Protocol: corev1.ProtocolUDP},
			}}}},
			Status: corev1.PodStatus{PodIP: ip, Phase: corev1.PodRunning},
		}
		for _, f := range apply {
			f(&p)
		}
		return p
	}
	return World{
		Pods: []corev1.Pod{
			pod("shop", "web", "10.0.0.3"), pod("shop", "db", "10.0.0.2", func(p *corev1.Pod) { p.Spec.Containers[0].Ports[0].ContainerPort = 5432 }),
			pod("away", "far", "10.0.0.1"),
			pod("shop", "young", ""),
			pod("shop", "over", "10.0.0.4", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
			pod("shop", "host", "192.0.2.1", func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		},
		Policies:   policies,
		Namespaces: map[string]map[string]string{"shop": {"team": "red"}, "away": {"team": "blue"}},
	}
}

// onWeb is a policy on web; both directions are restricted where there are rules for them, even none.
func onWeb(name string, ingress []in, egress []out) networkingv1.NetworkPolicy {
	p := networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       networkingv1.NetworkPolicySpec{PodSelector: app("web"), Ingress: ingress, Egress: egress},
	}
	if ingress != nil {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
	}
	if egress != nil {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
	return p
}

func app(name string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func TestRuleset(t *testing.T) {
	all, db, blue := metav1.LabelSelector{}, app("db"), metav1.LabelSelector{MatchLabels: map[string]string{"team": "blue"}}
	udp, name, number, end := corev1.ProtocolUDP, intstr.FromString("data"), intstr.FromInt32(80), int32(90)
	const (
		deaf = "ct state invalid ip daddr { 10.0.0.3 } counter drop"
		mute = "ct state invalid ip saddr { 10.0.0.3 } counter drop"
		to   = "ct reply ip saddr 10.0.0.3 jump in_10_0_0_3"
		from = "ct original ip saddr 10.0.0.3 jump out_10_0_0_3"
	)
	cases := map[string]struct {
		policies []networkingv1.NetworkPolicy
		in, out  []string // the chains of web
		forward  []string
	}{
		"without policies everybody talks to everybody": {},
		"a policy without rules lets nobody": {
			policies: []networkingv1.NetworkPolicy{onWeb("a", []in{}, []out{})},
			in:       []string{"counter drop"}, out: []string{"counter drop"}, forward: []string{deaf, mute, to, from},
		},
		"an empty rule lets everybody": {
			policies: []networkingv1.NetworkPolicy{onWeb("a", []in{{}}, nil)},
			in:       []string{"return", "counter drop"}, forward: []string{deaf, to},
		},
		"a selector of pods means those of the policy's namespace that are in the network": {
			policies: []networkingv1.NetworkPolicy{onWeb("a", []in{{From: peerList{{PodSelector: &all}}}}, nil)},
			in:       []string{"ct original ip saddr { 10.0.0.2, 10.0.0.3 } return", "counter drop"}, forward: []string{deaf, to},
		},
		"selectors of namespace and pod have to fit both": {
			policies: []networkingv1.NetworkPolicy{onWeb("a", []in{{From: peerList{{NamespaceSelector: &blue, PodSelector: &db}, {NamespaceSelector: &blue}}}}, nil)},
			in:       []string{"ct original ip saddr { 10.0.0.1 } return", "counter drop"}, forward: []string{deaf, to},
		},
		"a rule whose peers do not exist lets nobody": {
			policies: []networkingv1.NetworkPolicy{onWeb("a", []in{{From: peerList{{NamespaceSelector: &blue, PodSelector: &db}}}}, nil)},
			in:       []string{"counter drop"}, forward: []string{deaf, to},
		},
		"addresses, but for some": {
			policies: []networkingv1.NetworkPolicy{onWeb("a", nil, []out{{To: peerList{{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16", "10.1.2.0/24"}}}}}})},
			out:      []string{"ct reply ip saddr 10.0.0.0/8 ct reply ip saddr != 10.1.0.0/16 ct reply ip saddr != 10.1.2.0/24 return", "counter drop"}, forward: []string{mute, from},
		},
		"every peer on every port": {
			policies: []networkingv1.NetworkPolicy{onWeb("a", []in{{
				From: peerList{{PodSelector: &db}, {IPBlock: &networkingv1.IPBlock{CIDR: "198.51.100.0/24"}}}, Ports: portList{{Port: &number, EndPort: &end}, {Protocol: &udp}},
			}}, nil)},
			in: []string{
				"ct original ip saddr 198.51.100.0/24 meta l4proto tcp ct reply proto-src 80-90 return",
				"ct original ip saddr { 10.0.0.2 } meta l4proto tcp ct reply proto-src 80-90 return",
				"ct original ip saddr 198.51.100.0/24 meta l4proto udp return",
				"ct original ip saddr { 10.0.0.2 } meta l4proto udp return",
				"counter drop",
			},
			forward: []string{deaf, to},
		},
		"the name of a port is the serving pod's": {
			policies: []networkingv1.NetworkPolicy{onWeb(
				"a", []in{{Ports: portList{{Port: &name}}}, {Ports: portList{{Port: &name, Protocol: &udp}}}},
				[]out{{To: peerList{{PodSelector: &db}, {IPBlock: &networkingv1.IPBlock{CIDR: "198.51.100.0/24"}}}, Ports: portList{{Port: &name}}}},
			)},
			in:      []string{"meta l4proto tcp ct reply proto-src 80 return", "meta l4proto udp ct reply proto-src 53 return", "counter drop"},
			out:     []string{"ct reply ip saddr 10.0.0.2 meta l4proto tcp ct reply proto-src 5432 return", "counter drop"},
			forward: []string{deaf, mute, to, from},
		},
		"the rules of all policies on a pod": {
			policies: []networkingv1.NetworkPolicy{onWeb("b", []in{{}}, nil), onWeb("a", []in{}, nil)},
			in:       []string{"return", "counter drop"}, forward: []string{deaf, to},
		},
		"policies of other namespaces have no say": {
			policies: []networkingv1.NetworkPolicy{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "away"},
				Spec:       networkingv1.NetworkPolicySpec{PodSelector: app("web"), PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
			}},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ruleset := world(c.policies...).Ruleset()
			for chain, want := range map[string][]string{
				"in_10_0_0_3": c.in, "out_10_0_0_3": c.out,
				"forward": append([]string{"type filter hook forward priority filter; policy accept;"}, c.forward...),
			} {
				if diff := cmp.Diff(want, rulesOf(ruleset, chain)); diff != "" {
					t.Errorf("chain %s (-want +got):\n%s", chain, diff)
				}
			}
		})
	}
}

// rulesOf are the lines of a chain.
func rulesOf(ruleset, chain string) []string {
	_, rest, ok := strings.Cut(ruleset, "\tchain "+chain+" {\n")
	if !ok {
		return nil
	}
	inside, _, _ := strings.Cut(rest, "\n\t}")
	lines := strings.Split(inside, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}
