package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/riposte-dev/riposte/deploy/local/doctor"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// TestDoctor sends the canary by the shipped trigger to the real function, and lets the doctor look.
func TestDoctor(t *testing.T) {
	k := start(t)
	p := &place{knative: k, journal: &journal{}, namespace: k.env.Namespace(t)}
	manifests := within(p.namespace, promptBroker+file(t, "triggers", "canary.yaml"))
	_, sinks := k.namedServices(t, manifests)
	for _, name := range sinks {
		k.street.build(t, p.namespace, name, p.of(accepts()))
	}
	k.declare(t, manifests)

	t.Run("15 the doctor sees the whole way of its canary", func(t *testing.T) {
		k.runFunction(t, p.journal, p.namespace, "delete-pod", "KUBECONFIG="+k.env.ServiceAccountKubeconfig(t, "delete-pod"))
		report := p.examine(t, 30*time.Second)
		if failed := report.Failed(); failed != nil || len(report.Hops) < 5 {
			t.Errorf("failed is %+v of %+v, want none of five or more", failed, report.Hops)
		}
	})
	t.Run("16 the doctor says where the way of its canary ends", func(t *testing.T) { // The function is gone by now.
		report := p.examine(t, 3*time.Second)
		if failed := report.Failed(); failed == nil || failed.Name != "delete-pod received" {
			t.Errorf("failed is %+v of %+v, want that delete-pod did not receive it", failed, report.Hops)
		}
	})
}

// examine runs the doctor, and demands that it leaves no Trigger behind.
func (p *place) examine(t *testing.T, timeout time.Duration) doctor.Report {
	t.Helper()
	client, err := kube.Connect(kube.Settings{Kubeconfig: p.env.Kubeconfig}, response.Settings{}, "doctor")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := url.Parse(p.broker(p.namespace, "default"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := doctor.Run(t.Context(), doctor.Options{
		Entry: doctor.Entry{URL: entry, Kind: doctor.Broker}, Function: "delete-pod", Namespace: p.namespace, Priority: falco.Notice,
		Taps:     &doctor.Knative{Client: client, Namespace: p.namespace, Broker: "default", Trigger: "canary", Now: time.Now},
		Listener: listener, Advertise: &url.URL{Scheme: "http", Host: listener.Addr().String()},
		Timeout: timeout, Ready: 30 * time.Second, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	triggers := schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"}
	testkit.Eventually(t, "the canary's Trigger is the only one", func(ctx context.Context) error {
		list, err := p.client.Resource(triggers).Namespace(p.namespace).List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			return fmt.Errorf("there are %d: %w", len(list.Items), err)
		}
		return nil
	})
	return report
}
