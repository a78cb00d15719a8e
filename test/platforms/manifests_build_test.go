package platforms

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// kustomized is what kubectl kustomize makes of a folder of the checkout.
func kustomized(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	return kustomizedIn(t, filesys.MakeFsOnDisk(), filepath.Join(testkit.Root(t), folder))
}

func kustomizedIn(t *testing.T, files filesys.FileSystem, folder string) []*unstructured.Unstructured {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, folder)
	if err != nil {
		t.Fatalf("kustomize %s: %v", folder, err)
	}
	all := make([]*unstructured.Unstructured, 0, built.Size())
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatalf("kustomize %s: %v", folder, err)
		}
		all = append(all, parsed(t, text))
	}
	return all
}

// parsed is one object. Numbers are as the API server's clients have them.
func parsed(t *testing.T, text []byte) *unstructured.Unstructured {
	t.Helper()
	content, err := yaml.YAMLToJSON(text)
	o := &unstructured.Unstructured{}
	if err == nil {
		err = o.UnmarshalJSON(content)
	}
	if err != nil {
		t.Fatalf("read an object: %v\n%s", err, text)
	}
	return o
}

// overlays are the folders of deploy/knative/overlays with what they make.
func overlays(t *testing.T) map[string][]*unstructured.Unstructured {
	t.Helper()
	folders, err := filepath.Glob(filepath.Join(testkit.Root(t), "deploy", "knative", "overlays", "*", "kustomization.yaml"))
	if err != nil || len(folders) < 6 {
		t.Fatalf("find overlays: %d, %v", len(folders), err)
	}
	all := map[string][]*unstructured.Unstructured{}
	for _, folder := range folders {
		name := filepath.Base(filepath.Dir(folder))
		all[name] = kustomized(t, filepath.Join("deploy", "knative", "overlays", name))
	}
	return all
}

// called is how messages name an object.
func called(o *unstructured.Unstructured) string { return o.GetKind() + " " + o.GetName() }

// find are the objects of a kind.
func find(objects []*unstructured.Unstructured, apiVersion, kind string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, o := range objects {
		if o.GetAPIVersion() == apiVersion && o.GetKind() == kind {
			found = append(found, o)
		}
	}
	return found
}

// has says whether there is such an object.
func has(objects []*unstructured.Unstructured, apiVersion, kind, name string) bool {
	return slices.ContainsFunc(find(objects, apiVersion, kind), func(o *unstructured.Unstructured) bool { return o.GetName() == name })
}

// workload is what makes pods.
type workload struct {
	*unstructured.Unstructured
	// labels are those of its pods, with what Knative adds.
	labels map[string]string
	pod    corev1.PodSpec
}

// workloads are the Services of Knative and the Deployments.
func workloads(t *testing.T, objects []*unstructured.Unstructured) []workload {
	t.Helper()
	var all []workload
	for _, o := range slices.Concat(find(objects, "serving.knative.dev/v1", "Service"), find(objects, "apps/v1", "Deployment")) {
		w := workload{Unstructured: o}
		w.labels, _, _ = unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "labels")
		if o.GetKind() == "Service" {
			w.labels["serving.knative.dev/service"] = o.GetName()
		}
		spec, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
		content, err := json.Marshal(spec)
		if err == nil {
			err = json.Unmarshal(content, &w.pod)
		}
		if err != nil || len(w.pod.Containers) == 0 {
			t.Fatalf("read the pods of %s: %v", called(o), err)
		}
		all = append(all, w)
	}
	if len(all) < len(functions(t)) {
		t.Fatalf("there are %d workloads of %d functions", len(all), len(functions(t)))
	}
	return all
}

// environ are the variables of the first container.
func (w workload) environ() map[string]corev1.EnvVar {
	all := map[string]corev1.EnvVar{}
	for _, e := range w.pod.Containers[0].Env {
		all[e.Name] = e
	}
	return all
}

// Every kustomization of deploy/knative, the components by the overlays that have them, can be built.
func TestKustomizationsBuild(t *testing.T) {
	root := testkit.Root(t)
	var components []string
	used := map[string]bool{}
	for _, folder := range []string{"deploy", "triggers", "config"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(file string, _ fs.DirEntry, err error) error {
			if err != nil || !slices.Contains(konfig.RecognizedKustomizationFileNames(), filepath.Base(file)) {
				return err
			}
			content, err := filesys.MakeFsOnDisk().ReadFile(file)
			if err != nil {
				return err
			}
			var k struct {
				Kind       string   `json:"kind"`
				Components []string `json:"components"`
			}
			if err := yaml.Unmarshal(content, &k); err != nil {
				return err
			}
			for _, c := range k.Components {
				used[filepath.Join(filepath.Dir(file), c)] = true
			}
			if k.Kind == "Component" {
				components = append(components, filepath.Dir(file))
				return nil
			}
			below, err := filepath.Rel(root, filepath.Dir(file))
			if err == nil && len(kustomized(t, below)) == 0 {
				t.Errorf("%s makes nothing", below)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	for _, c := range components {
		if !used[c] {
			t.Errorf("no overlay has the component %s", filepath.Base(c))
		}
	}
}

// checkout is a copy of what kustomizations read, in memory: nothing is written beside the real ones.
func checkout(t *testing.T) filesys.FileSystem {
	t.Helper()
	files, root := filesys.MakeFsInMemory(), os.DirFS(testkit.Root(t))
	for _, folder := range []string{"config", "triggers", "deploy/knative", "deploy/release", "functions"} {
		err := fs.WalkDir(root, folder, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(file, ".go") {
				return err
			}
			content, err := fs.ReadFile(root, file)
			if err != nil {
				return err
			}
			return files.WriteFile("/"+file, content)
		})
		if err != nil {
			t.Fatalf("copy %s: %v", folder, err)
		}
	}
	return files
}

// The overlay of one's own in docs/knative.md is one, and does what is said of it: functions are left out with all that is
// theirs, the others act, but for one; and the other way round.
func TestOverlayOfTheDocumentation(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "knative.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(doc), "    # deploy/knative/overlays/mine/kustomization.yaml\n")
	example, _, ended := strings.Cut(after, "\n\n")
	if !found || !ended {
		t.Fatal("docs/knative.md has no example of an overlay")
	}
	example = strings.ReplaceAll("\n"+example, "\n    ", "\n")
	alone := strings.NewReplacer("\n  - ../../components/enforce", "", `value: "true"`, `value: "false"`).Replace(example)
	for name, c := range map[string]struct{ overlay, taint, others string }{
		"all act but for one": {example, "true", "false"},
		"one acts alone":      {alone, "false", "true"},
	} {
		t.Run(name, func(t *testing.T) {
			files := checkout(t)
			if err := files.WriteFile("/deploy/knative/overlays/mine/kustomization.yaml", []byte(c.overlay)); err != nil {
				t.Fatal(err)
			}
			all := kustomized(t, "deploy/knative/overlays/broker-kafka")
			for _, w := range workloads(t, all) {
				dry := c.others
				if w.GetName() == "taint" {
					dry = c.taint
				}
				containers, _, _ := unstructured.NestedSlice(w.Object, "spec", "template", "spec", "containers")
				first, _ := containers[0].(map[string]any)
				for _, e := range first["env"].([]any) {
					if variable, _ := e.(map[string]any); variable["name"] == "DRY_RUN" {
						variable["value"] = dry
					}
				}
				if err := unstructured.SetNestedSlice(w.Object, containers, "spec", "template", "spec", "containers"); err != nil {
					t.Fatal(err)
				}
			}
			var want []*unstructured.Unstructured
			for _, o := range all {
				if !slices.Contains([]string{"slack", "lambda"}, o.GetLabels()["app.kubernetes.io/name"]) {
					want = append(want, o)
				}
			}
			got := kustomizedIn(t, files, "/deploy/knative/overlays/mine")
			if diff := cmp.Diff(substances(t, want), substances(t, got)); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}

// What belongs to one function can be told by a label, and what belongs to all has no such label.
func TestManifestsAreLabelled(t *testing.T) {
	common := []string{"Namespace", "ConfigMap", "Broker", "RabbitmqBrokerConfig", "EventPolicy"}
	either := []string{"NetworkPolicy"}
	clusterWide := []string{"Namespace", "ClusterRole", "ClusterRoleBinding"}
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			all := functions(t)
			for _, o := range objects {
				labels := o.GetLabels()
				if labels["app.kubernetes.io/part-of"] != "riposte" {
					t.Errorf("%s has the labels %v: want app.kubernetes.io/part-of: riposte", called(o), labels)
				}
				function, own := labels["app.kubernetes.io/name"]
				if own && !slices.Contains(all, function) {
					t.Errorf("%s belongs to %q, which is no function", called(o), function)
				}
				if own == slices.Contains(common, o.GetKind()) && !slices.Contains(either, o.GetKind()) {
					t.Errorf("%s belongs to a function: %t", called(o), own)
				}
				if (o.GetNamespace() == "riposte") == slices.Contains(clusterWide, o.GetKind()) {
					t.Errorf("%s is in the namespace %q", called(o), o.GetNamespace())
				}
				subscriber, _, _ := unstructured.NestedString(o.Object, "spec", "subscriber", "ref", "name")
				if o.GetKind() == "Trigger" && function != strings.TrimPrefix(subscriber, "intake-") {
					t.Errorf("%s calls %s and belongs to %q", called(o), subscriber, function)
				}
				if account, ok := strings.CutPrefix(o.GetName(), "riposte-"); o.GetKind() == "ServiceAccount" && (!ok || account != function) {
					t.Errorf("%s belongs to %q", called(o), function)
				}
			}
		})
	}
}

// A router that applies the triggers itself has every one of them, as it is.
func TestRouterOfRabbitMQHasAllTriggers(t *testing.T) {
	objects := kustomized(t, "deploy/knative/overlays/broker-rabbitmq")
	if n := len(find(objects, "eventing.knative.dev/v1", "Trigger")); n != 1 {
		t.Errorf("RabbitMQ's Broker has %d Triggers: want to-router alone, since it ignores spec.filters", n)
	}
	maps := find(objects, "v1", "ConfigMap")
	at := slices.IndexFunc(maps, func(o *unstructured.Unstructured) bool { return o.GetName() == "riposte-triggers" })
	if at < 0 {
		t.Fatal("there is no ConfigMap riposte-triggers")
	}
	data, _, _ := unstructured.NestedStringMap(maps[at].Object, "data")
	files, err := filepath.Glob(filepath.Join(testkit.Root(t), "triggers", "*.yaml"))
	if err != nil || len(files) != len(data) || len(files) == 0 {
		t.Errorf("the ConfigMap has %d of %d files: %v", len(data), len(files), err)
	}
	for _, file := range files {
		content, err := filesys.MakeFsOnDisk().ReadFile(file)
		if err != nil || !bytes.Equal(content, []byte(data[filepath.Base(file)])) {
			t.Errorf("%s is not in the ConfigMap as it is: %v", filepath.Base(file), err)
		}
	}
}
