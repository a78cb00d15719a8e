//go:build e2enode

package e2enode_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/e2e-node/peer"
)

// The streams of a shop. The first two are those of the suspect.
const (
	toSuspect   = "client-to-suspect"
	fromSuspect = "suspect-to-client"
	beside      = "bystander-to-other"
)

// shop is a Deployment with a Service, and pods that a policy lets talk to it and it to them.
type shop struct {
	env        *testkit.Env
	deployment *appsv1.Deployment
	service    *corev1.Service
	// The suspect and the other are the Deployment's first pods. The client and the bystander are its friends,
	// the stranger is not.
	suspect, other, client, bystander, stranger corev1.Pod
}

func openShop(t *testing.T) *shop {
	t.Helper()
	w := &shop{env: testkit.Cluster(t)}
	namespace := w.env.Namespace(t)
	app, friend := testkit.App("web"), map[string]string{"role": "friend"}
	inside, outside := labelled(app), labelled(friend)
	w.env.Create(t, policy(
		namespace, "web", app,
		[]networkingv1.NetworkPolicyIngressRule{{From: outside, Ports: port(0, portName)}},
		[]networkingv1.NetworkPolicyEgressRule{{To: outside, Ports: port(peer.DataPort, "")}},
	))
	w.env.Create(t, policy(
		namespace, "friends", friend,
		[]networkingv1.NetworkPolicyIngressRule{{From: inside, Ports: port(peer.DataPort, "")}},
		[]networkingv1.NetworkPolicyEgressRule{{To: inside, Ports: port(0, portName)}},
	))
	w.service = service(t, namespace, "web")
	others := map[*corev1.Pod]*corev1.Pod{
		&w.client:    onePeer(t, namespace, "client", friend),
		&w.bystander: onePeer(t, namespace, "bystander", friend),
		&w.stranger:  onePeer(t, namespace, "stranger", nil),
	}
	var pods []corev1.Pod
	w.deployment, pods = peers(t, namespace, "web", 2)
	w.suspect, w.other = pods[0], pods[1]
	for at, pod := range others {
		w.env.Ready(t, pod)
		*at = *pod
	}
	return w
}

// atService is the address of the Service.
func (w *shop) atService() string { return peer.Data(w.service.Spec.ClusterIP) }

// begin proves that the policies are in force and let the shop work, and opens its streams.
func (w *shop) begin(t *testing.T) {
	t.Helper()
	cutOff(t, w.stranger, data(w.suspect), "the policy keeps the stranger out")
	cutOff(t, w.suspect, data(w.stranger), "the policy keeps the suspect from the stranger")
	reaches(t, w.client, data(w.suspect), "the client reaches the suspect")
	reaches(t, w.suspect, data(w.client), "the suspect reaches the client")
	reaches(t, w.client, w.atService(), "the client reaches the service")
	stream(t, toSuspect, w.client, w.suspect)
	stream(t, fromSuspect, w.suspect, w.client)
	stream(t, beside, w.bystander, w.other)
	w.flow(t, toSuspect, w.client, w.suspect)
	w.flow(t, fromSuspect, w.client, w.suspect)
	w.flow(t, beside, w.bystander, w.other)
}

// flow demands that a stream flows both ways.
func (w *shop) flow(t *testing.T, name string, pods ...corev1.Pod) {
	t.Helper()
	for _, p := range pods {
		flows(t, name, p)
	}
}

// received are the bytes of the suspect's streams at each of their ends.
func (w *shop) received(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	for _, name := range []string{toSuspect, fromSuspect} {
		for _, pod := range []corev1.Pod{w.client, w.suspect} {
			s, err := end(ctx, name, pod)
			if err != nil {
				return nil, err
			}
			counts[name+" at "+pod.Name] = s.Received
		}
	}
	return counts, nil
}

// silent waits until none of the suspect's streams has brought a byte, to either end, while the bystander's
// brought a hundred.
func (w *shop) silent(t *testing.T) {
	t.Helper()
	const silence = 100
	var since map[string]int
	var clock int
	testkit.Eventually(t, "the suspect's streams are silent", func(ctx context.Context) error {
		now, err := w.received(ctx)
		if err != nil {
			return err
		}
		tick, err := end(ctx, beside, w.bystander)
		if err != nil {
			return err
		}
		for name, count := range now {
			if since[name] != count {
				since, clock = now, tick.Received
				return fmt.Errorf("%s has %d bytes", name, count)
			}
		}
		if tick.Received < clock+silence {
			return fmt.Errorf("they are, for %d bytes of the bystander", tick.Received-clock)
		}
		return nil
	})
}

func TestIsolateCutsARealPod(t *testing.T) {
	t.Parallel()
	w := openShop(t)
	w.begin(t)
	undisturbed := mustEnd(t, beside, w.bystander)
	container := testkit.ContainerID(t, w.suspect)
	were := processesOf(t, container)

	alert := testkit.AlertFor(t, w.suspect)
	if short := containerIn(t, alert); !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(short) || short != container[:12] {
		t.Fatalf("the alert names the container %q: want the first 12 digits of %s", short, container)
	}
	answer := start(t, "isolate").alert(t, alert)
	answer.Expect(t, "200 applied")

	cutOff(t, w.client, data(w.suspect), "the client gets no new connection to the suspect")
	cutOff(t, w.suspect, data(w.client), "the suspect gets no new connection to the client")
	cutOff(t, w.suspect, data(w.other), "the suspect gets no new connection to its replica")
	cutOff(t, w.suspect, w.atService(), "the suspect gets no new connection to the service")
	w.silent(t)
	w.replaced(t)
	if now := processesOf(t, container); len(were) == 0 || !slices.Equal(now, were) {
		t.Errorf("the suspect's container has the processes %v, it had %v: it was to stay for study", now, were)
	}

	w.release(t)

	w.flow(t, beside, w.bystander, w.other)
	now := mustEnd(t, beside, w.bystander)
	if now.Local != undisturbed.Local || now.Remote != undisturbed.Remote || now.Ended != "" || now.LongestGap > 2*time.Second {
		t.Errorf("the bystander's stream is %+v, it was %+v", now, undisturbed)
	}
}

// replaced waits until the Deployment has as many pods as before, all of which serve behind the Service,
// and demands that the suspect does not.
func (w *shop) replaced(t *testing.T) {
	t.Helper()
	w.env.Ready(t, w.deployment)
	want := map[string]bool{}
	for _, p := range w.env.Pods(t, w.deployment) {
		want[p.Name] = true
	}
	if len(want) != 2 || want[w.suspect.Name] || !want[w.other.Name] {
		t.Fatalf("the pods of the deployment are %v: want the one beside the suspect, and a new one", want)
	}
	testkit.Eventually(t, "every pod of the deployment serves through the service", func(ctx context.Context) error {
		host, err := of(w.client).Try(ctx, w.atService())
		if err != nil {
			return err
		}
		if host == w.suspect.Name {
			return errors.New("the suspect serves")
		}
		delete(want, host)
		if len(want) > 0 {
			return fmt.Errorf("%v have not served", want)
		}
		return nil
	})
}

// release undoes the isolation and waits until the suspect is back at work.
func (w *shop) release(t *testing.T) {
	t.Helper()
	// Back in the Deployment, the suspect makes it one pod too many. Which one goes is not left to chance.
	for _, p := range w.env.Pods(t, w.deployment) {
		if p.UID != w.other.UID {
			w.env.Patch(t, &p, map[string]any{"metadata": map[string]any{"annotations": map[string]any{"controller.kubernetes.io/pod-deletion-cost": "-1"}}})
		}
	}
	start(t, "release").request(t, map[string]any{
		"kind": "Pod", "namespace": w.suspect.Namespace, "name": w.suspect.Name, "uid": w.suspect.UID,
	}).Expect(t, "200 applied")
	reaches(t, w.client, data(w.suspect), "the client reaches the suspect again")
	reaches(t, w.suspect, data(w.client), "the suspect reaches the client again")
	cutOff(t, w.stranger, data(w.suspect), "the policy keeps the stranger out as before")
	testkit.Eventually(t, "the suspect serves through the service", func(ctx context.Context) error {
		host, err := of(w.client).Try(ctx, w.atService())
		if err == nil && host != w.suspect.Name {
			err = errors.New(host + " serves")
		}
		return err
	})
	if !w.env.Lives(t, w.suspect) {
		t.Error("the suspect is not the same or on its way out")
	}
}

// containerIn is the container.id of an alert.
func containerIn(t *testing.T, alert []byte) string {
	t.Helper()
	var a struct {
		Fields map[string]any `json:"output_fields"`
	}
	d := json.NewDecoder(bytes.NewReader(alert))
	if err := d.Decode(&a); err != nil {
		t.Fatal(err)
	}
	id, _ := a.Fields["container.id"].(string)
	return id
}
