package function

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
)

// isolatedLabel selects one pod: its value is the pod's UID.
const isolatedLabel = restore.Isolated

func policyName(pod *corev1.Pod) string { return restore.PolicyName(string(pod.UID)) }

// ensurePolicy makes the pod's policy, or puts it right if somebody changed it.
func (r *responder) ensurePolicy(ctx context.Context, pod *corev1.Pod) ([]response.Change, error) {
	want := r.policy(pod)
	change := response.Change{Field: "networkpolicies/" + want.Name, After: want.Spec}
	if pod.Labels[isolatedLabel] != string(pod.UID) { // It has none, most likely.
		err := r.client.Create(ctx, kube.NetworkPolicies, pod.Namespace, want)
		if err == nil {
			return []response.Change{change}, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("policy for pod %s: %w", pod.Name, err)
		}
	}
	var policies networkingv1.NetworkPolicyList
	if err := r.client.List(ctx, kube.NetworkPolicies, want.Namespace, &policies); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(policies.Items, func(p networkingv1.NetworkPolicy) bool { return p.Name == want.Name })
	if i < 0 {
		return []response.Change{change}, r.client.Create(ctx, kube.NetworkPolicies, pod.Namespace, want)
	}
	have := &policies.Items[i]
	if equality.Semantic.DeepEqual(have.Spec, want.Spec) {
		return nil, nil
	}
	change.Before = have.Spec
	// Written out in full: what a merge patch does not mention would stay.
	selector := map[string]any{}
	for key := range have.Spec.PodSelector.MatchLabels {
		selector[key] = nil
	}
	for key, value := range want.Spec.PodSelector.MatchLabels {
		selector[key] = value
	}
	spec := map[string]any{
		"podSelector": map[string]any{"matchLabels": selector, "matchExpressions": nil},
		"policyTypes": want.Spec.PolicyTypes, "ingress": want.Spec.Ingress, "egress": want.Spec.Egress,
	}
	patch := map[string]any{"metadata": map[string]any{"uid": have.UID, "resourceVersion": have.ResourceVersion}, "spec": spec}
	return []response.Change{change}, r.client.Merge(ctx, kube.NetworkPolicies, want.Namespace, want.Name, patch, nil)
}

// policy allows what the settings allow and nothing else. It belongs to the pod and goes with it.
func (r *responder) policy(pod *corev1.Pod) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"},
		ObjectMeta: metav1.ObjectMeta{
			Name: policyName(pod), Namespace: pod.Namespace,
			Labels:          map[string]string{"app.kubernetes.io/managed-by": "riposte"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{isolatedLabel: string(pod.UID)}},
			PolicyTypes: r.directions(),
		},
	}
	peers := r.peers()
	for _, direction := range p.Spec.PolicyTypes {
		if len(peers) > 0 && direction == networkingv1.PolicyTypeIngress {
			p.Spec.Ingress = append(p.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: peers})
		}
		if len(peers) > 0 && direction == networkingv1.PolicyTypeEgress {
			p.Spec.Egress = append(p.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: peers})
		}
		if r.config.AllowDNS && direction == networkingv1.PolicyTypeEgress {
			p.Spec.Egress = append(p.Spec.Egress, dns())
		}
	}
	return p
}

func (r *responder) peers() []networkingv1.NetworkPolicyPeer {
	var peers []networkingv1.NetworkPolicyPeer
	for _, cidr := range r.config.AllowCIDRs {
		peers = append(peers, networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr}})
	}
	for _, name := range r.config.AllowNamespaces {
		peers = append(peers, inNamespace(name))
	}
	return peers
}

func inNamespace(name string) networkingv1.NetworkPolicyPeer {
	return networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
		MatchLabels: map[string]string{corev1.LabelMetadataName: name},
	}}
}

func dns() networkingv1.NetworkPolicyEgressRule {
	rule := networkingv1.NetworkPolicyEgressRule{To: []networkingv1.NetworkPolicyPeer{inNamespace("kube-system")}}
	for _, protocol := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		port := intstr.FromInt32(53)
		rule.Ports = append(rule.Ports, networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &port})
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
func residual(policies []networkingv1.NetworkPolicy, own string, labels map[string]string, directions []networkingv1.PolicyType) []Residual {
	list := []Residual{}
	for _, p := range policies {
		if p.Name == own || !selects(&p.Spec.PodSelector, labels) {
			continue
		}
		for _, direction := range directions {
			if !slices.Contains(p.Spec.PolicyTypes, direction) {
				continue // its rules for this direction are not in force
			}
			if direction == networkingv1.PolicyTypeIngress && len(p.Spec.Ingress) > 0 {
				list = append(list, Residual{p.Name, "ingress", p.Spec.Ingress})
			}
			if direction == networkingv1.PolicyTypeEgress && len(p.Spec.Egress) > 0 {
				list = append(list, Residual{p.Name, "egress", p.Spec.Egress})
			}
		}
	}
	return list
}
