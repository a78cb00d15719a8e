//go:build e2enode

package e2enode_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/e2e-node/node"
	"github.com/riposte-dev/riposte/test/e2e-node/peer"
)

// portName is how policies may call a peer's data port.
const portName = "data"

// peerSpec runs a peer.
func peerSpec() corev1.PodSpec {
	no, grace := false, int64(1)
	return corev1.PodSpec{
		AutomountServiceAccountToken: &no, EnableServiceLinks: &no, TerminationGracePeriodSeconds: &grace,
		DNSPolicy: corev1.DNSDefault,
		Containers: []corev1.Container{{
			Name: testkit.Container, Image: node.Image, ImagePullPolicy: corev1.PullNever,
			Command: []string{node.Program, "serve"},
			Ports:   []corev1.ContainerPort{{Name: portName, ContainerPort: peer.DataPort}},
			ReadinessProbe: &corev1.Probe{
				ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(peer.ControlPort)}},
				PeriodSeconds: 1,
			},
		}},
	}
}

// peers makes a Deployment of peers and waits until all are ready.
func peers(t *testing.T, namespace, name string, replicas int32) (*appsv1.Deployment, []corev1.Pod) {
	t.Helper()
	d := testkit.Deployment(namespace, name, replicas, func(d *appsv1.Deployment) { d.Spec.Template.Spec = peerSpec() })
	return d, testkit.Cluster(t).Deploy(t, d)
}

// onePeer makes a pod without an owner; it is ready when await says so.
func onePeer(t *testing.T, namespace, name string, labels map[string]string) *corev1.Pod {
	t.Helper()
	p := testkit.Pod(namespace, name, func(p *corev1.Pod) { p.Labels, p.Spec = labels, peerSpec() })
	testkit.Cluster(t).Create(t, p)
	return p
}

// service leads to the peers of the Deployment of the same name.
func service(t *testing.T, namespace, name string) *corev1.Service {
	t.Helper()
	s := testkit.Service(namespace, name, func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Port: peer.DataPort, TargetPort: intstr.FromString(portName)}}
	})
	testkit.Cluster(t).Create(t, s)
	return s
}

func of(p corev1.Pod) peer.Client { return peer.Client{Address: p.Status.PodIP} }

func data(p corev1.Pod) string { return peer.Data(p.Status.PodIP) }

// reaches waits until one peer gets a connection to another.
func reaches(t *testing.T, from corev1.Pod, to, what string) {
	t.Helper()
	testkit.Eventually(t, what, func(ctx context.Context) error {
		_, err := of(from).Try(ctx, to)
		return err
	})
}

// cutOff waits until a peer gets no connection any more.
func cutOff(t *testing.T, from corev1.Pod, to, what string) {
	t.Helper()
	testkit.Eventually(t, what, func(ctx context.Context) error {
		host, err := of(from).Try(ctx, to)
		switch {
		case errors.Is(err, peer.ErrUnreachable):
			return nil
		case err == nil:
			err = fmt.Errorf("%s answers", host)
		}
		return err
	})
}

// stream opens a stream from one pod to another.
func stream(t *testing.T, name string, from, to corev1.Pod) {
	t.Helper()
	if err := of(from).Stream(t.Context(), name, data(to)); err != nil {
		t.Fatal(err)
	}
}

// end is the end of a stream at a pod, of which there must be one.
func end(ctx context.Context, name string, at corev1.Pod) (peer.Stream, error) {
	list, err := of(at).Streams(ctx)
	if err != nil {
		return peer.Stream{}, err
	}
	var found []peer.Stream
	for _, s := range list {
		if s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return peer.Stream{}, fmt.Errorf("pod %s has %d ends of the stream %s: want one", at.Name, len(found), name)
	}
	return found[0], nil
}

func mustEnd(t *testing.T, name string, at corev1.Pod) peer.Stream {
	t.Helper()
	s, err := end(t.Context(), name, at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// flows waits until a stream brings more bytes to a pod.
func flows(t *testing.T, name string, at corev1.Pod) {
	t.Helper()
	const bytes = 25
	before := mustEnd(t, name, at)
	testkit.Eventually(t, "the stream "+name+" flows to "+at.Name, func(ctx context.Context) error {
		now, err := end(ctx, name, at)
		if err == nil && now.Received < before.Received+bytes {
			err = fmt.Errorf("it has brought %d bytes, after %d: %s", now.Received, before.Received, now.Ended)
		}
		return err
	})
}

// policy is a NetworkPolicy with these rules; a direction without rules is not restricted.
func policy(namespace, name string, pods map[string]string, in []networkingv1.NetworkPolicyIngressRule, out []networkingv1.NetworkPolicyEgressRule) *networkingv1.NetworkPolicy {
	return testkit.NetworkPolicy(namespace, name, pods, func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress, p.Spec.Egress, p.Spec.PolicyTypes = in, out, nil
		if in != nil {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
		}
		if out != nil {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	})
}

// labelled are the pods with these labels in the policy's namespace.
func labelled(labels map[string]string) []networkingv1.NetworkPolicyPeer {
	return []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: labels}}}
}

// port is a TCP port by number or name.
func port(number int32, name string) []networkingv1.NetworkPolicyPort {
	tcp, at := corev1.ProtocolTCP, intstr.FromInt32(number)
	if name != "" {
		at = intstr.FromString(name)
	}
	return []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &at}}
}
