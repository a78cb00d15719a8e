package e2e_test

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// inMemory is the class of Broker whose controllers run here.
const inMemory = "in-memory"

// TestClasses is about the Brokers of deploy/knative/brokers. Kafka, RabbitMQ and NATS are
// not here, so that of their Brokers no more is proved than that Knative takes them.
func TestClasses(t *testing.T) {
	k := start(t)
	k.env.Account(t, "delete-pod") // Makes the namespace.
	root := testkit.Root(t)
	folders, err := filepath.Glob(filepath.Join(root, "deploy", "knative", "brokers", "*", "kustomization.yaml"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("find the classes of Brokers: %d found, %v", len(folders), err)
	}
	for _, folder := range folders {
		folder = filepath.Dir(folder)
		rendered := kustomize(t, root, folder)
		if filepath.Base(folder) == inMemory {
			t.Run("13 the Broker on in-memory channels serves the shipped triggers", func(t *testing.T) {
				k.serves(t, rendered+"\n---\n"+shippedTriggers(t))
			})
			continue
		}
		t.Run("14 Knative's webhooks take the Broker on "+filepath.Base(folder), func(t *testing.T) {
			taken := 0
			for _, o := range parse(t, rendered) {
				if strings.HasPrefix(o.GetAPIVersion(), "eventing.knative.dev/v1alpha1") {
					continue // A type of that class's own.
				}
				k.takes(t, o)
				taken++
			}
			if taken == 0 {
				t.Errorf("there is nothing in\n%s", rendered)
			}
		})
	}
}

// kustomize is what kubectl apply -k would apply.
func kustomize(t *testing.T, root, folder string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(root, "dist", "tools", "controlplane"), "kubectl", "kustomize", folder)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("kustomize %s: %v\n%s", folder, err, output)
	}
	return string(output)
}

// takes demands that the API server, and whom it asks, would take the object.
func (k *knative) takes(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
	if _, err := k.client.Resource(resource(t, o)).Namespace(o.GetNamespace()).Create(t.Context(), o, options); err != nil {
		t.Errorf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
}

// serves demands that an alert gets through.
func (k *knative) serves(t *testing.T, manifests string) {
	t.Helper()
	p := &place{knative: k, journal: &journal{}, namespace: k.env.Namespace(t)}
	manifests = within(p.namespace, manifests)
	functions, _ := k.namedServices(t, manifests)
	for _, name := range functions {
		k.street.build(t, p.namespace, name, p.of(numbered(responds(name))))
	}
	k.declare(t, manifests)
	event := testkit.Find(t, "03").CloudEvent(t, "http://broker.example")
	p.post(t.Context(), t, event)
	testkit.Eventually(t, "the alert and its outcomes are delivered", func(context.Context) error {
		alerts, outcomes := p.services(event.Header.Get("Ce-Id")), p.services(event.Header.Get("Ce-Id")+" delete-pod")
		return unless(strings.Join(alerts, " ") == "collect-evidence delete-pod slack" && strings.Join(outcomes, " ") == "slack", "called are %v, and of the outcome %v", alerts, outcomes)
	})
	for _, c := range p.all() {
		if c.Status != http.StatusOK && c.Status != http.StatusNoContent && c.Status != -1 {
			t.Errorf("%s answered %d", c.service(), c.Status)
		}
	}
}
