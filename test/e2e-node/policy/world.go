// Package policy enforces NetworkPolicies on a node of a test cluster whose pods are
// routed, one veth each, through the node's own network: it turns the policies into nftables
// rules, all of them anew at every change.
//
// A connection is judged by its two ends, which conntrack knows, and not by the direction of
// a packet: whoever is isolated neither sends nor gets another packet, on connections that
// were open before as well. Connections that a Service leads elsewhere are judged by the
// pod that serves them.
//
// It knows podSelector, namespaceSelector, ipBlock with exceptions, ports by number, range and
// name, and both directions. It does not know IPv6. As with every implementation, pods
// may talk to their node and the node to its pods; see
// https://kubernetes.io/docs/concepts/services-networking/network-policies/.
package policy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// World is what rules are made of.
type World struct {
	Pods     []corev1.Pod
	Policies []networkingv1.NetworkPolicy
	// Namespaces are the labels of each.
	Namespaces map[string]map[string]string
}

// address is where a pod is in the pods' network; "" where it is not there.
func address(p *corev1.Pod) string {
	ip, err := netip.ParseAddr(p.Status.PodIP)
	over := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed // Others may have its address by now.
	if err != nil || !ip.Is4() || p.Spec.HostNetwork || over {
		return ""
	}
	return ip.String()
}

// reachable are the pods that have an address, in an order that does not change.
func (w World) reachable() []*corev1.Pod {
	var pods []*corev1.Pod
	for i := range w.Pods {
		if address(&w.Pods[i]) != "" {
			pods = append(pods, &w.Pods[i])
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.UID, b.UID) })
	return pods
}

// of are the policies that isolate a pod in a direction.
func (w World) of(pod *corev1.Pod, direction networkingv1.PolicyType) []*networkingv1.NetworkPolicy {
	var policies []*networkingv1.NetworkPolicy
	for i := range w.Policies {
		p := &w.Policies[i]
		// The API server has filled in the types of a policy that names none.
		if p.Namespace == pod.Namespace && slices.Contains(p.Spec.PolicyTypes, direction) && selects(&p.Spec.PodSelector, pod.Labels) {
			policies = append(policies, p)
		}
	}
	slices.SortFunc(policies, func(a, b *networkingv1.NetworkPolicy) int { return cmp.Compare(a.Name, b.Name) })
	return policies
}

// pods are those that a peer of a policy in the namespace means.
func (w World) pods(namespace string, peer networkingv1.NetworkPolicyPeer) []*corev1.Pod {
	return slices.DeleteFunc(w.reachable(), func(p *corev1.Pod) bool {
		switch {
		case peer.NamespaceSelector == nil && p.Namespace != namespace,
			peer.NamespaceSelector != nil && !selects(peer.NamespaceSelector, w.Namespaces[p.Namespace]):
			return true
		}
		return peer.PodSelector != nil && !selects(peer.PodSelector, p.Labels)
	})
}

func selects(selector *metav1.LabelSelector, set map[string]string) bool {
	// The API server takes no selector that this refuses.
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(labels.Set(set))
}
