package function

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/restore"
)

// isolatedLabel selects one pod: its value is the pod's UID.
const isolatedLabel = restore.Isolated

func policyName(pod metav1.Object) string { return restore.PolicyName(string(pod.GetUID())) }

// policy allows what the settings allow and nothing else. It belongs to the pod and goes with it.
func (r *responder) policy(pod *api.Pod) *api.NetworkPolicy {
	p := &api.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{
			Name: policyName(pod), Namespace: pod.Namespace,
			Labels:          map[string]string{"app.kubernetes.io/managed-by": "riposte"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: api.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{isolatedLabel: string(pod.UID)}},
			PolicyTypes: r.directions(),
		},
	}
	peers := r.peers()
	for _, direction := range p.Spec.PolicyTypes {
		if len(peers) > 0 && direction == api.PolicyTypeIngress {
			p.Spec.Ingress = append(p.Spec.Ingress, api.NetworkPolicyIngressRule{From: peers})
		}
		if len(peers) > 0 && direction == api.PolicyTypeEgress {
			p.Spec.Egress = append(p.Spec.Egress, api.NetworkPolicyEgressRule{To: peers})
		}
		if r.config.AllowDNS && direction == api.PolicyTypeEgress {
			p.Spec.Egress = append(p.Spec.Egress, dns())
		}
	}
	return p
}

func (r *responder) peers() []api.NetworkPolicyPeer {
	var peers []api.NetworkPolicyPeer
	for _, cidr := range r.config.AllowCIDRs {
		peers = append(peers, api.NetworkPolicyPeer{IPBlock: &api.IPBlock{CIDR: cidr}})
	}
	for _, name := range r.config.AllowNamespaces {
		peers = append(peers, inNamespace(name))
	}
	return peers
}

func inNamespace(name string) api.NetworkPolicyPeer {
	return api.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{api.LabelMetadataName: name},
	}}
}

func dns() api.NetworkPolicyEgressRule {
	rule := api.NetworkPolicyEgressRule{To: []api.NetworkPolicyPeer{inNamespace("kube-system")}}
	for _, protocol := range []api.Protocol{api.ProtocolUDP, api.ProtocolTCP} {
		port := intstr.FromInt32(53)
		rule.Ports = append(rule.Ports, api.NetworkPolicyPort{Protocol: &protocol, Port: &port})
	}
	return rule
}

// Residual is traffic that another policy still allows the pod.
type Residual struct {
	Policy    string `json:"policy"`
	Direction string `json:"direction"`
	// Rules are the policy's own; an empty rule allows everything.
	Rules any `json:"rules"`
}

// residual are the rules of the other policies that select a pod with these labels. Kubernetes unites
// the policies that select a pod, so each of their rules stays in force.
// https://kubernetes.io/docs/concepts/services-networking/network-policies/#the-two-sorts-of-pod-isolation
func residual(policies []api.NetworkPolicy, own string, labels map[string]string, directions []api.PolicyType) []Residual {
	list := []Residual{}
	for _, p := range policies {
		if p.Name == own || !selects(&p.Spec.PodSelector, labels) {
			continue
		}
		for _, direction := range directions {
			if !slices.Contains(p.Spec.PolicyTypes, direction) {
				continue // its rules for this direction are not in force
			}
			if direction == api.PolicyTypeIngress && len(p.Spec.Ingress) > 0 {
				list = append(list, Residual{p.Name, "ingress", p.Spec.Ingress})
			}
			if direction == api.PolicyTypeEgress && len(p.Spec.Egress) > 0 {
				list = append(list, Residual{p.Name, "egress", p.Spec.Egress})
			}
		}
	}
	return list
}
