package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// resources are the types the tests work with.
var resources = map[string]schema.GroupVersionResource{
	"eventing.knative.dev/v1 Broker":  {Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"},
	"eventing.knative.dev/v1 Trigger": {Group: "eventing.knative.dev", Version: "v1", Resource: "triggers"},
	"serving.knative.dev/v1 Service":  {Group: "serving.knative.dev", Version: "v1", Resource: "services"},
	"v1 Service":                      {Version: "v1", Resource: "services"},
	"v1 ConfigMap":                    {Version: "v1", Resource: "configmaps"},
}

func resource(t *testing.T, o *unstructured.Unstructured) schema.GroupVersionResource {
	t.Helper()
	r, ok := resources[o.GetAPIVersion()+" "+o.GetKind()]
	if !ok {
		t.Fatalf("no test works with a %s %s", o.GetAPIVersion(), o.GetKind())
	}
	return r
}

// parse reads YAML documents.
func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var objects []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		o := &unstructured.Unstructured{}
		if err == nil {
			err = yaml.Unmarshal(document, &o.Object)
		}
		if err != nil {
			t.Fatalf("read manifests: %v", err)
		}
		if len(o.Object) > 0 {
			objects = append(objects, o)
		}
	}
}

// file reads a file of the checkout.
func file(t *testing.T, name ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{testkit.Root(t)}, name...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// promptBroker answers when it has an event, before that is delivered, as the shipped one in memory does.
const promptBroker = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: riposte, annotations: {messaging.knative.dev/async-handler: "true"}}
spec:
  delivery: {retry: 6, backoffPolicy: exponential, backoffDelay: PT0.5S, deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead-letter}}}
---
`

// shipped are the manifests of the project's triggers, and a Broker.
func shipped(t *testing.T) string {
	t.Helper()
	return promptBroker + shippedTriggers(t)
}

// shippedTriggers are the manifests of the project's triggers.
func shippedTriggers(t *testing.T) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(testkit.Root(t), "triggers", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("find the shipped triggers: %d found, %v", len(paths), err)
	}
	var all strings.Builder
	for _, path := range paths {
		all.WriteString(file(t, "triggers", filepath.Base(path)) + "\n---\n")
	}
	return all.String()
}

// within puts manifests, which are written for the namespace riposte, into another.
func within(namespace, manifests string) string {
	return strings.NewReplacer("namespace: riposte", "namespace: "+namespace, ".riposte.svc", "."+namespace+".svc").Replace(manifests)
}

// apply is a server-side apply, through Knative's webhooks.
func (k *knative) apply(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	body, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	force := true
	client := k.client.Resource(resource(t, o)).Namespace(o.GetNamespace())
	_, err = client.Patch(t.Context(), o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: "e2e", Force: &force})
	if err != nil {
		t.Fatalf("apply %s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
	}
	t.Cleanup(func() {
		err := client.Delete(context.WithoutCancel(t.Context()), o.GetName(), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("delete %s %s/%s: %v", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	})
}

// declare applies Brokers and Triggers and waits until each is Ready and served. The
// Services that they name have to be there.
func (k *knative) declare(t *testing.T, manifests string) {
	t.Helper()
	for _, o := range parse(t, manifests) {
		k.apply(t, o)
	}
	k.awaitReady(t, manifests)
}

func (k *knative) awaitReady(t *testing.T, manifests string) {
	t.Helper()
	subscriptions := map[string]int{} // By the host of the Broker's channel.
	for _, o := range parse(t, manifests) {
		switch o.GetKind() {
		case "Broker":
			subscriptions[channel(o.GetNamespace(), o.GetName())] += 0
		case "Trigger":
			name, _, _ := unstructured.NestedString(o.Object, "spec", "broker")
			subscriptions[channel(o.GetNamespace(), name)]++
		default:
			continue
		}
		client := k.client.Resource(resource(t, o)).Namespace(o.GetNamespace())
		testkit.Eventually(t, fmt.Sprintf("%s %s/%s is Ready", o.GetKind(), o.GetNamespace(), o.GetName()), func(ctx context.Context) error {
			now, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			return ready(now)
		})
	}
	for name, want := range subscriptions {
		testkit.Eventually(t, "the triggers of "+name+" are served", func(ctx context.Context) error {
			got, err := k.served(ctx, name)
			return errors.Join(err, unless(got == want, "%d of %d are", got, want))
		})
	}
}

// channel is the host of a Broker's channel.
func channel(namespace, broker string) string {
	return host(namespace, broker+"-kne-trigger-kn-channel")
}

// served is how many subscriptions of a channel the dispatcher serves: see cmd/knative.
func (k *knative) served(ctx context.Context, name string) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.ingress+"/subscriptions/"+name, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(said)))
}

// ready says why an object of Knative's is not ready.
func ready(o *unstructured.Unstructured) error {
	observed, _, _ := unstructured.NestedInt64(o.Object, "status", "observedGeneration")
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		if fields, ok := c.(map[string]any); ok && fields["type"] == "Ready" && fields["status"] == "True" && observed == o.GetGeneration() {
			return nil
		}
	}
	said, _ := json.Marshal(conditions)
	return fmt.Errorf("generation %d, observed %d: %s", o.GetGeneration(), observed, said)
}

// function makes a Knative Service, as Serving leaves it when it runs.
func (k *knative) function(t *testing.T, namespace, name string) {
	t.Helper()
	at := "http://" + host(namespace, name)
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "serving.knative.dev/v1", "kind": "Service",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{"template": map[string]any{"spec": map[string]any{
			"containers": []any{map[string]any{"image": "registry.example.com/riposte/" + name}},
		}}},
	}}
	k.apply(t, o)
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"url": at, "address": map[string]any{"url": at},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	client := k.client.Resource(resource(t, o)).Namespace(namespace)
	if _, err := client.Patch(t.Context(), name, types.MergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatalf("give the service %s an address: %v", name, err)
	}
}

// service makes a Service of Kubernetes' own, such as the dead letter's.
func (k *knative) service(t *testing.T, namespace, name string) {
	t.Helper()
	k.apply(t, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name, "namespace": namespace},
		"spec": map[string]any{"ports": []any{map[string]any{"port": int64(80)}}},
	}})
}

// namedServices makes every Service that manifests name as a subscriber or a dead-letter
// sink, and returns the names of the functions and of the others.
func (k *knative) namedServices(t *testing.T, manifests string) (functions, others []string) {
	t.Helper()
	seen := map[string]bool{}
	visit := func(o *unstructured.Unstructured, path ...string) {
		ref, found, _ := unstructured.NestedStringMap(o.Object, path...)
		namespace := ref["namespace"]
		if namespace == "" {
			namespace = o.GetNamespace()
		}
		key := ref["apiVersion"] + " " + namespace + "/" + ref["name"]
		if !found || seen[key] {
			return
		}
		seen[key] = true
		if ref["apiVersion"] == "v1" {
			k.service(t, namespace, ref["name"])
			others = append(others, ref["name"])
			return
		}
		k.function(t, namespace, ref["name"])
		functions = append(functions, ref["name"])
	}
	for _, o := range parse(t, manifests) {
		visit(o, "spec", "subscriber", "ref")
		visit(o, "spec", "delivery", "deadLetterSink", "ref")
	}
	return functions, others
}
