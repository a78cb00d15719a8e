package platforms

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/deploy/install"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// installed runs make deploy's program and gives back what it says.
func installed(ctx context.Context, t *testing.T, options install.Options) (string, error) {
	t.Helper()
	var out bytes.Buffer
	options.Root, options.Platform, options.With, options.Environ, options.Out = testkit.Root(t), "knative", "ko", os.Environ(), &out
	options.Arch = "linux/amd64"
	err := install.Run(ctx, options)
	return out.String(), err
}

// snapshot is the objects that are there, as text.
func (s *apiServer) snapshot(t *testing.T, objects []unstructured.Unstructured) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, o := range objects {
		at, err := s.resource(&o)
		if err != nil {
			t.Fatal(err)
		}
		found, err := at.Get(t.Context(), o.GetName(), metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := json.Marshal(install.Content(found))
		if err != nil {
			t.Fatal(err)
		}
		out[install.Name(o)] = string(content)
	}
	return out
}

// make deploy PLATFORM=knative on the real API server, from an empty cluster to an empty cluster.
func TestDeployOnKnative(t *testing.T) {
	s, registry := withKnative(t), newRegistry(t)
	t.Setenv("KUBECONFIG", testkit.Cluster(t).Kubeconfig)
	all, err := install.Build(filepath.Join(testkit.Root(t), "deploy", "knative", "overlays", "dry-run"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := install.Of(all, []string{"delete-pod"})
	this := install.Options{Functions: []string{"delete-pod"}, Registry: registry, DryRun: true}
	t.Cleanup(func() {
		if said, err := installed(context.WithoutCancel(t.Context()), t, install.Options{Registry: registry, DryRun: true, Undeploy: true}); err != nil {
			t.Errorf("undeploy: %v\n%s", err, said)
		}
	})

	before := s.snapshot(t, all)
	plan := this
	plan.Plan = true
	said, err := installed(t.Context(), t, plan)
	if err != nil || !strings.Contains(said, "would apply Service.serving.knative.dev riposte/delete-pod (new)") {
		t.Fatalf("the plan ends with %v and says\n%s", err, said)
	}
	if after := s.snapshot(t, all); len(after) != len(before) {
		t.Fatalf("a plan made something: %v", after)
	}

	if said, err = installed(t.Context(), t, this); err != nil {
		t.Fatalf("deploy: %v\n%s", err, said)
	}
	first := s.snapshot(t, all)
	for _, o := range wanted {
		if first[install.Name(o)] == "" {
			t.Errorf("%s is not there", install.Name(o))
		}
	}
	if len(first) != len(wanted) {
		t.Errorf("%d objects are there, want the %d of delete-pod and of all", len(first), len(wanted))
	}
	if image := s.image(t, "delete-pod"); !strings.HasPrefix(image, registry+"/riposte-delete-pod") || !strings.Contains(image, "@sha256:") {
		t.Errorf("the image is %s: want the digest of what was pushed", image)
	}

	t.Run("a second run leaves every object as it is", func(t *testing.T) {
		said, err := installed(t.Context(), t, this)
		if err != nil {
			t.Fatalf("deploy: %v\n%s", err, said)
		}
		if n := strings.Count(said, "  unchanged\n"); n != len(wanted) {
			t.Errorf("%d objects are unchanged, want %d:\n%s", n, len(wanted), said)
		}
		second := s.snapshot(t, all)
		for name, version := range first {
			if diff := cmp.Diff(version, second[name]); diff != "" {
				t.Errorf("%s (-first +second):\n%s", name, diff)
			}
		}
	})
	t.Run("a plan for what is there says that it stays", func(t *testing.T) {
		said, err := installed(t.Context(), t, plan)
		if err != nil {
			t.Fatal(err)
		}
		// Of the two with an image, the digest is not known before it is built.
		if n := strings.Count(said, " (unchanged)\n") + strings.Count(said, " (unchanged, unless its image is another)\n"); n != len(wanted) ||
			!strings.Contains(said, "would apply Service.serving.knative.dev riposte/delete-pod (unchanged, unless its image is another)") {
			t.Errorf("%d objects would be unchanged, want %d:\n%s", n, len(wanted), said)
		}
	})
	t.Run("what does not get ready says why", func(t *testing.T) {
		waiting := this
		waiting.Wait = time.Nanosecond
		// Nobody looks at Knative's objects here.
		if _, err := installed(t.Context(), t, waiting); err == nil || !strings.Contains(err.Error(), "Broker.eventing.knative.dev riposte/default has not been looked at") {
			t.Errorf("the error is %v, want one that says what the Broker lacks", err)
		}
	})
	t.Run("out of dry run nothing but the function changes", func(t *testing.T) {
		act := this
		act.DryRun = false
		said, err := installed(t.Context(), t, act)
		if err != nil {
			t.Fatalf("deploy: %v\n%s", err, said)
		}
		for name, version := range s.snapshot(t, all) {
			if changed := version != first[name]; changed != (name == "Service.serving.knative.dev riposte/delete-pod") {
				t.Errorf("%s: changed is %t", name, changed)
			}
		}
	})
	t.Run("what somebody else has set is not overwritten", func(t *testing.T) {
		service := wanted[indexOf(t, wanted, "Service.serving.knative.dev riposte/delete-pod")]
		at, err := s.resource(&service)
		if err != nil {
			t.Fatal(err)
		}
		patch := []byte(`{"spec":{"template":{"metadata":{"annotations":{"autoscaling.knative.dev/max-scale":"50"}}}}}`)
		if _, err := at.Patch(t.Context(), service.GetName(), types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
			t.Fatal(err)
		}
		if said, err := installed(t.Context(), t, this); err == nil || !strings.Contains(err.Error(), "somebody") || said != "" {
			t.Errorf("the error is %v, want one that names somebody, before this was done:\n%s", err, said)
		}
		if said, err := installed(t.Context(), t, plan); err != nil || !strings.Contains(said, "missing: leave to apply Service.serving.knative.dev riposte/delete-pod") {
			t.Errorf("the plan ends with %v and says\n%s", err, said)
		}
	})
	t.Run("undeploy leaves the namespace and what is everybody's", func(t *testing.T) {
		away := this
		away.Undeploy = true
		if said, err := installed(t.Context(), t, away); err != nil {
			t.Fatalf("undeploy: %v\n%s", err, said)
		}
		left := s.snapshot(t, wanted)
		for _, o := range wanted {
			if gone := left[install.Name(o)] == ""; gone != (o.GetLabels()["app.kubernetes.io/name"] == "delete-pod") {
				t.Errorf("%s: gone is %t", install.Name(o), gone)
			}
		}
	})
	t.Run("all at once needs the secrets, and says which", func(t *testing.T) {
		said, err := installed(t.Context(), t, install.Options{Registry: registry, DryRun: true})
		if err == nil || said != "" {
			t.Fatalf("the error is %v, and this was done:\n%s", err, said)
		}
		for _, secret := range []string{"riposte-slack", "riposte-router"} {
			if !strings.Contains(err.Error(), "Secret "+secret) {
				t.Errorf("the error does not name the Secret %s: %v", secret, err)
			}
		}
	})
}

// Who may not do it is told so before anything is done, of every object.
func TestDeployWithoutRights(t *testing.T) {
	withKnative(t)
	t.Setenv("KUBECONFIG", testkit.Cluster(t).ServiceAccountKubeconfig(t, "label"))
	said, err := installed(t.Context(), t, install.Options{Functions: []string{"label"}, Registry: "registry.example", DryRun: true})
	if err == nil || said != "" {
		t.Fatalf("the error is %v, and this was done:\n%s", err, said)
	}
	for _, object := range []string{"apply Namespace riposte", "look for Service.serving.knative.dev riposte/label", "look for Trigger.eventing.knative.dev riposte/mark-suspect"} {
		if !strings.Contains(err.Error(), "leave to "+object+": ") {
			t.Errorf("the error does not name %s: %v", object, err)
		}
	}
}

// What an overlay of the user's own needs is looked for, too: namespaces, and Secrets that it does not bring.
func TestDeployNeedsNamespaces(t *testing.T) {
	e := testkit.Cluster(t)
	t.Setenv("KUBECONFIG", e.Kubeconfig)
	going := e.Namespace(t)
	maps := newAPIServer(t, e).client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace(going)
	var stuck unstructured.Unstructured
	stuck.SetAPIVersion("v1")
	stuck.SetKind("ConfigMap")
	stuck.SetName("stuck")
	stuck.SetFinalizers([]string{"riposte.dev/test"})
	if _, err := maps.Create(t.Context(), &stuck, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		patch := []byte(`{"metadata":{"finalizers":null}}`)
		if _, err := maps.Patch(context.WithoutCancel(t.Context()), "stuck", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Errorf("let %s go: %v", going, err)
		}
	})
	kubectl(t, e, "delete", "namespace", going, "--wait=false")
	folder := t.TempDir()
	object := func(kind, namespace, name, rest string) string {
		return "apiVersion: v1\nkind: " + kind + "\nmetadata: {namespace: " + namespace + ", name: " + name + "}\n" + rest + "---\n"
	}
	reads := `apiVersion: apps/v1
kind: Deployment
metadata: {namespace: nowhere, name: reads}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers: [{name: c, image: example.com/c, envFrom: [{secretRef: {name: brought}}, {secretRef: {name: not-brought}}]}]
`
	for file, content := range map[string]string{
		"kustomization.yaml": "resources: [all.yaml]\n",
		"all.yaml":           object("ConfigMap", going, "a", "") + object("ConfigMap", "nowhere", "b", "") + object("Secret", "nowhere", "brought", "") + reads,
	} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	said, err := installed(t.Context(), t, install.Options{Registry: "registry.example", Overlay: folder, DryRun: true})
	if err == nil || said != "" {
		t.Fatalf("the error is %v, and this was done:\n%s", err, said)
	}
	for text, want := range map[string]bool{
		"the namespace " + going + ", which is being deleted": true, "the namespace nowhere on ": true,
		"the Secret not-brought ": true, "the Secret brought ": false,
	} {
		if is := strings.Contains(err.Error(), text); is != want {
			t.Errorf("that the error has %q is %t: %v", text, is, err)
		}
	}
}

func indexOf(t *testing.T, objects []unstructured.Unstructured, name string) int {
	t.Helper()
	for i, o := range objects {
		if install.Name(o) == name {
			return i
		}
	}
	t.Fatalf("there is no %s", name)
	return -1
}

// image is that of a function's Service.
func (s *apiServer) image(t *testing.T, function string) string {
	t.Helper()
	var o unstructured.Unstructured
	o.SetAPIVersion("serving.knative.dev/v1")
	o.SetKind("Service")
	o.SetNamespace("riposte")
	at, err := s.resource(&o)
	if err != nil {
		t.Fatal(err)
	}
	found, err := at.Get(t.Context(), function, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, _, _ := unstructured.NestedSlice(found.Object, "spec", "template", "spec", "containers")
	if len(all) != 1 {
		t.Fatalf("%s has %d containers", function, len(all))
	}
	container, _ := all[0].(map[string]any)
	image, _ := container["image"].(string)
	return image
}
