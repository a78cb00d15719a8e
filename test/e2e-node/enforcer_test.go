//go:build e2enode

package e2enode_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/e2e-node/peer"
)

// TestPoliciesAreEnforced shows that what the other tests rely on is there: each policy lets one of two peers
// pass and not the other.
func TestPoliciesAreEnforced(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	here := env.Namespace(t)
	there := env.Namespace(t, func(n *corev1.Namespace) { n.Labels = map[string]string{"trusted": "yes"} })
	server, near, far := onePeer(t, here, "server", testkit.App("server")), onePeer(t, here, "near", testkit.App("near")), onePeer(t, there, "far", testkit.App("far"))
	for _, p := range []*corev1.Pod{server, near, far} {
		env.Ready(t, p)
	}
	trusted := &metav1.LabelSelector{MatchLabels: map[string]string{"trusted": "yes"}}
	block := func(but *corev1.Pod) []networkingv1.NetworkPolicyPeer {
		return []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "10.244.0.0/16", Except: []string{but.Status.PodIP + "/32"}}}}
	}
	type in = networkingv1.NetworkPolicyIngressRule
	type out = networkingv1.NetworkPolicyEgressRule
	ends := int32(peer.DataPort + 5)
	span := port(peer.DataPort-5, "")
	span[0].EndPort = &ends

	// Each is a rule for connections to the server, or for those from it. It is given with the
	// pod that may, and the one that may not; where there is none, nobody may.
	cases := map[string]struct {
		in         []in
		out        []out
		may, maynt *corev1.Pod
	}{
		"to: nobody":                       {in: []in{}, maynt: near},
		"to: pods of the namespace":        {in: []in{{From: labelled(nil)}}, may: near, maynt: far},
		"to: pods with a label":            {in: []in{{From: labelled(testkit.App("near"))}}, may: near, maynt: far},
		"to: a namespace with a label":     {in: []in{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: trusted}}}}, may: far, maynt: near},
		"to: addresses, but for one":       {in: []in{{From: block(near)}}, may: far, maynt: near},
		"to: a port by name":               {in: []in{{From: labelled(nil), Ports: port(0, portName)}}, may: near, maynt: far},
		"to: a name that no port has":      {in: []in{{Ports: port(0, "other")}}, maynt: near},
		"to: another port":                 {in: []in{{Ports: port(peer.DataPort+1, "")}}, maynt: near},
		"to: a range of ports":             {in: []in{{From: labelled(nil), Ports: span}}, may: near, maynt: far},
		"from: nobody":                     {out: []out{}, maynt: near},
		"from: pods with a label":          {out: []out{{To: labelled(testkit.App("near"))}}, may: near, maynt: far},
		"from: a namespace with a label":   {out: []out{{To: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: trusted}}}}, may: far, maynt: near},
		"from: addresses, but for one":     {out: []out{{To: block(far)}}, may: near, maynt: far},
		"from: a port by name":             {out: []out{{To: labelled(nil), Ports: port(0, portName)}}, may: near, maynt: far},
		"from: a port by number":           {out: []out{{To: labelled(nil), Ports: port(peer.DataPort, "")}}, may: near, maynt: far},
		"from: another port":               {out: []out{{Ports: port(peer.DataPort+1, "")}}, maynt: near},
		"both: rules are those of all":     {in: []in{{From: labelled(testkit.App("nobody"))}, {From: labelled(testkit.App("near"))}}, may: near, maynt: far},
		"both: a pod from another network": {in: []in{{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "198.51.100.0/24"}}}}}, maynt: near},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			from := func(p *corev1.Pod) (corev1.Pod, string) { return *p, data(*server) }
			if c.in == nil {
				from = func(p *corev1.Pod) (corev1.Pod, string) { return *server, data(*p) }
			}
			rule := policy(here, "rule", testkit.App("server"), c.in, c.out)
			env.Create(t, rule)
			pod, to := from(c.maynt)
			cutOff(t, pod, to, c.maynt.Name+" is kept apart")
			if c.may != nil {
				pod, to := from(c.may)
				reaches(t, pod, to, c.may.Name+" is not")
			}
			env.Delete(t, rule)
			pod, to = from(c.maynt)
			reaches(t, pod, to, "without the policy "+c.maynt.Name+" is not")
		})
	}
}
