package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Table is the nftables table that holds the rules.
const Table = "ip e2e_node_policy"

// The ends of a connection as conntrack has them where packets are forwarded: whoever
// opened it, before any masquerading, and whoever serves it, behind any Service.
const (
	opener = "ct original ip saddr"
	server = "ct reply ip saddr"
	served = "ct reply proto-src"
)

// Ruleset is the nft script that puts the world's policies in force, in one step in place of
// those that were.
func (w World) Ruleset() string {
	var jumps, chains, deaf, mute []string
	for _, pod := range w.reachable() {
		at := address(pod)
		name := strings.ReplaceAll(at, ".", "_")
		if policies := w.of(pod, networkingv1.PolicyTypeIngress); len(policies) > 0 {
			var rules []string
			for _, p := range policies {
				for _, r := range p.Spec.Ingress {
					rules = append(rules, w.ingress(pod, p.Namespace, r)...)
				}
			}
			jumps = append(jumps, server+" "+at+" jump in_"+name)
			chains = append(chains, chain("in_"+name, rules))
			deaf = append(deaf, at)
		}
		if policies := w.of(pod, networkingv1.PolicyTypeEgress); len(policies) > 0 {
			var rules []string
			for _, p := range policies {
				for _, r := range p.Spec.Egress {
					rules = append(rules, w.egress(p.Namespace, r)...)
				}
			}
			jumps = append(jumps, opener+" "+at+" jump out_"+name)
			chains = append(chains, chain("out_"+name, rules))
			mute = append(mute, at)
		}
	}
	// Packets of no connection have no ends to be judged by.
	forward := []string{"type filter hook forward priority filter; policy accept;"}
	if len(deaf) > 0 {
		forward = append(forward, "ct state invalid ip daddr "+set(deaf)+" counter drop")
	}
	if len(mute) > 0 {
		forward = append(forward, "ct state invalid ip saddr "+set(mute)+" counter drop")
	}
	forward = append(forward, jumps...)
	// A table can be deleted only where it exists.
	return fmt.Sprintf("table %[1]s {}\ndelete table %[1]s\ntable %[1]s {\n%s\tchain forward {\n\t\t%s\n\t}\n}\n",
		Table, strings.Join(chains, ""), strings.Join(forward, "\n\t\t"))
}

// chain lets pass what one of the matches fits, and nothing else.
func chain(name string, matches []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n", name)
	for _, m := range matches {
		fmt.Fprintf(&b, "\t\t%s\n", strings.TrimSpace(m+" return"))
	}
	b.WriteString("\t\tcounter drop\n\t}\n")
	return b.String()
}

// ingress are the matches of a rule for connections to a pod.
func (w World) ingress(pod *corev1.Pod, namespace string, r networkingv1.NetworkPolicyIngressRule) []string {
	var matches []string
	for _, port := range ports(r.Ports) {
		match, ok := portMatch(port, pod)
		if !ok {
			continue
		}
		for _, from := range w.peers(opener, namespace, r.From) {
			matches = append(matches, join(from, match))
		}
	}
	return matches
}

// egress are the matches of a rule for connections that a pod opens. What the name of a port
// means is for each of the pods that serve to say.
func (w World) egress(namespace string, r networkingv1.NetworkPolicyEgressRule) []string {
	var matches []string
	for _, port := range ports(r.Ports) {
		if match, ok := portMatch(port, nil); ok {
			for _, to := range w.peers(server, namespace, r.To) {
				matches = append(matches, join(to, match))
			}
			continue
		}
		for _, pod := range w.targets(namespace, r.To) {
			if match, ok := portMatch(port, pod); ok {
				matches = append(matches, join(server+" "+address(pod), match))
			}
		}
	}
	return matches
}

// targets are the pods among the peers; without peers, all.
func (w World) targets(namespace string, peers []networkingv1.NetworkPolicyPeer) []*corev1.Pod {
	if len(peers) == 0 {
		return w.reachable()
	}
	var pods []*corev1.Pod
	for _, peer := range peers {
		if peer.IPBlock == nil {
			pods = append(pods, w.pods(namespace, peer)...)
		}
	}
	return pods
}

// peers are matches of one end of a connection; "" is anybody.
func (w World) peers(end, namespace string, peers []networkingv1.NetworkPolicyPeer) []string {
	if len(peers) == 0 {
		return []string{""}
	}
	var matches, addresses []string
	for _, peer := range peers {
		if block := peer.IPBlock; block != nil {
			match := []string{end + " " + block.CIDR}
			for _, except := range block.Except {
				match = append(match, end+" != "+except)
			}
			matches = append(matches, join(match...))
			continue
		}
		for _, pod := range w.pods(namespace, peer) {
			addresses = append(addresses, address(pod))
		}
	}
	if len(addresses) > 0 {
		matches = append(matches, end+" "+set(addresses))
	}
	return matches
}

// ports are a rule's; nil is any.
func ports(list []networkingv1.NetworkPolicyPort) []*networkingv1.NetworkPolicyPort {
	if len(list) == 0 {
		return []*networkingv1.NetworkPolicyPort{nil}
	}
	all := make([]*networkingv1.NetworkPolicyPort, len(list))
	for i := range list {
		all[i] = &list[i]
	}
	return all
}

// portMatch is the match of a port, "" for any; there is none for a name that the pod does not give to a port.
func portMatch(port *networkingv1.NetworkPolicyPort, pod *corev1.Pod) (string, bool) {
	if port == nil {
		return "", true
	}
	protocol := corev1.ProtocolTCP
	if port.Protocol != nil {
		protocol = *port.Protocol
	}
	match := "meta l4proto " + strings.ToLower(string(protocol))
	switch {
	case port.Port == nil:
		return match, true
	case port.Port.Type == intstr.Int && port.EndPort != nil:
		return fmt.Sprintf("%s %s %d-%d", match, served, port.Port.IntVal, *port.EndPort), true
	case port.Port.Type == intstr.Int:
		return fmt.Sprintf("%s %s %d", match, served, port.Port.IntVal), true
	case pod == nil:
		return "", false
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == port.Port.StrVal && cmp.Or(p.Protocol, corev1.ProtocolTCP) == protocol {
				return fmt.Sprintf("%s %s %d", match, served, p.ContainerPort), true
			}
		}
	}
	return "", false
}

func set(elements []string) string {
	return "{ " + strings.Join(slices.Compact(slices.Sorted(slices.Values(elements))), ", ") + " }"
}

func join(matches ...string) string { return strings.TrimSpace(strings.Join(matches, " ")) }
