package platforms

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// withoutDefinition are the kinds whose definitions cannot be had here, and why.
func withoutDefinition() map[string]string {
	return map[string]string{
		"eventing.knative.dev/v1alpha1 RabbitmqBrokerConfig": "knative.dev/eventing-rabbitmq of these versions is not to be had as a Go module",
	}
}

// apiServer applies objects.
type apiServer struct {
	client dynamic.Interface
	mapper meta.RESTMapper
}

// newAPIServer is that of the test cluster.
func newAPIServer(t *testing.T, e *testkit.Env) *apiServer {
	t.Helper()
	client, err := dynamic.NewForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(e.Config)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(d)
	if err != nil {
		t.Fatal(err)
	}
	return &apiServer{client: client, mapper: restmapper.NewDiscoveryRESTMapper(groups)}
}

// withKnative is the test cluster's API server with Knative's types, which come with the modules that the tests are built of.
func withKnative(t *testing.T) *apiServer {
	t.Helper()
	e := testkit.Cluster(t)
	s := newAPIServer(t, e)
	if _, err := s.mapper.RESTMapping(schema.GroupKind{Group: "serving.knative.dev", Kind: "Service"}); err == nil {
		return s
	}
	var files []string
	for module, manifests := range map[string]string{
		"knative.dev/eventing": "config/core/resources",
		"knative.dev/serving":  "config/core/300-resources/service.yaml",
	} {
		folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if err != nil {
			t.Fatalf("find the manifests of %s: %v", module, err)
		}
		files = append(files, "--filename", filepath.Join(strings.TrimSpace(string(folder)), filepath.FromSlash(manifests)))
	}
	kubectl(t, e, append([]string{"apply", "--server-side", "--force-conflicts"}, files...)...)
	kubectl(t, e, "wait", "--for=condition=Established", "--timeout=60s", "customresourcedefinitions", "--all")
	return newAPIServer(t, e)
}

// kubectl runs the test cluster's kubectl.
func kubectl(t *testing.T, e *testkit.Env, arguments ...string) {
	t.Helper()
	arguments = append([]string{"kubectl", "--kubeconfig", e.Kubeconfig}, arguments...)
	out, err := exec.CommandContext(t.Context(), filepath.Join(testkit.Root(t), "dist", "tools", "controlplane"), arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", arguments[3], err, out)
	}
}

func (s *apiServer) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := s.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return s.client.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return s.client.Resource(mapping.Resource), nil
}

// apply is a server-side apply that takes no field it does not know.
func (s *apiServer) apply(ctx context.Context, o *unstructured.Unstructured, dryRun ...string) error {
	client, err := s.resource(o)
	if err != nil {
		return err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	force := true
	_, err = client.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{
		FieldManager: "manifests", Force: &force, DryRun: dryRun, FieldValidation: metav1.FieldValidationStrict,
	})
	return err
}

// settle makes what others need to be there: the namespace, and the accounts of pods.
func (s *apiServer) settle(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, kind := range []string{"Namespace", "ServiceAccount"} {
		for _, o := range find(objects, "v1", kind) {
			if err := s.apply(t.Context(), o); err != nil {
				t.Fatalf("apply %s: %v", called(o), err)
			}
		}
	}
}

// The API server takes every object of every overlay, and knows every field of it.
func TestAPIServerTakesManifests(t *testing.T) {
	s := withKnative(t)
	s.settle(t, kustomized(t, "deploy/knative/base"))
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			for _, o := range objects {
				if withoutDefinition()[o.GetAPIVersion()+" "+o.GetKind()] != "" {
					continue
				}
				if err := s.apply(t.Context(), pulled(o), metav1.DryRunAll); err != nil {
					t.Errorf("%s: %v", called(o), err)
				}
			}
		})
	}
	t.Run("but not a field that there is not", func(t *testing.T) {
		for _, o := range kustomized(t, "deploy/knative/base") {
			_ = unstructured.SetNestedField(o.Object, "x", "metadata", "lables")
			if err := s.apply(t.Context(), o, metav1.DryRunAll); err == nil {
				t.Errorf("%s is taken", called(o))
			}
		}
	})
}

// The namespace takes the pods of every overlay, by Pod Security's level restricted, and none that is less confined.
func TestPodsAreRestricted(t *testing.T) {
	s := newAPIServer(t, testkit.Cluster(t))
	s.settle(t, kustomized(t, "deploy/knative/base"))
	loosened := 0
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			for _, w := range workloads(t, objects) {
				pod := w.asPod()
				if err := s.apply(t.Context(), pod, metav1.DryRunAll); err != nil {
					t.Errorf("the pod of %s: %v", called(w.Unstructured), err)
				}
				for _, field := range []string{"allowPrivilegeEscalation", "capabilities"} {
					loose := pod.DeepCopy()
					containers, _, _ := unstructured.NestedSlice(loose.Object, "spec", "containers")
					unstructured.RemoveNestedField(containers[0].(map[string]any), "securityContext", field)
					_ = unstructured.SetNestedSlice(loose.Object, containers, "spec", "containers")
					loosened++
					if err := s.apply(t.Context(), loose, metav1.DryRunAll); !apierrors.IsForbidden(err) {
						t.Errorf("the pod of %s without %s: %v, want that it is forbidden", called(w.Unstructured), field, err)
					}
				}
			}
		})
	}
	if loosened == 0 {
		t.Error("no pod was asked for")
	}
}

// asPod is a pod of the workload, as Knative or the Deployment makes it, without Knative's own container.
func (w workload) asPod() *unstructured.Unstructured {
	spec, _, _ := unstructured.NestedMap(pulled(w.Unstructured).Object, "spec", "template", "spec")
	delete(spec, "containerConcurrency")
	containers, _, _ := unstructured.NestedSlice(spec, "containers")
	for _, c := range containers {
		fields, ok := c.(map[string]any)
		if !ok {
			continue
		}
		if fields["name"] == nil {
			fields["name"] = "user-container"
		}
		for _, probe := range []string{"livenessProbe", "readinessProbe"} {
			if _, found, _ := unstructured.NestedFieldNoCopy(fields, probe, "httpGet", "port"); !found {
				_ = unstructured.SetNestedField(fields, int64(8080), probe, "httpGet", "port")
			}
		}
	}
	spec["containers"] = containers
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Pod", "spec": spec}}
	o.SetName("restricted-" + w.GetName())
	o.SetNamespace(w.GetNamespace())
	o.SetLabels(w.labels)
	return o
}
