package platforms

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// helmCommand runs helm, with nothing of the user's; CHART stands for the chart's folder.
func helmCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	args = slices.Clone(args)
	for i, a := range args {
		if a == "CHART" {
			args[i] = filepath.Join(testkit.Root(t), "deploy", "helm", "riposte")
		}
	}
	command := exec.CommandContext(t.Context(), tool(t, "helm"), args...)
	command.Env = []string{"HOME=" + t.TempDir(), "PATH=/nowhere"}
	return command
}

// helmFlags are the values as flags.
func helmFlags(values []string) []string {
	var flags []string
	for _, v := range values {
		flags = append(flags, "--set", v)
	}
	return flags
}

// helm are the objects that the chart makes with these values.
func helm(t *testing.T, values ...string) []*unstructured.Unstructured {
	t.Helper()
	out, err := helmCommand(t, append([]string{"template", "riposte", "CHART", "--namespace", "riposte"}, helmFlags(values)...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("helm template with %q: %v\n%s", values, err, out)
	}
	var all []*unstructured.Unstructured
	for document := range strings.SplitSeq(string(out), "\n---\n") {
		// A template that makes nothing leaves its name.
		if strings.Contains(document, "\nkind: ") {
			all = append(all, parsed(t, []byte(document)))
		}
	}
	return all
}

// helmNotes are what Helm says after an installation. It says so only when there is a cluster with all types, so a copy of the
// chart says it in an object.
func helmNotes(t *testing.T, values ...string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "riposte")
	if err := os.CopyFS(folder, os.DirFS(filepath.Join(testkit.Root(t), "deploy", "helm", "riposte"))); err != nil {
		t.Fatal(err)
	}
	const notes = `apiVersion: v1
kind: Notes
text: {{ include (print .Template.BasePath "/NOTES.txt") . | toJson }}
`
	if err := os.WriteFile(filepath.Join(folder, "templates", "said.yaml"), []byte(notes), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := helmCommand(t, append([]string{"template", "riposte", folder, "--namespace", "riposte", "--show-only", "templates/said.yaml"}, helmFlags(values)...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, _, _ := unstructured.NestedString(parsed(t, out).Object, "text")
	return text
}

// substances are the objects without what kustomize and Helm write each in its own way: the labels of releases, the digest
// of the settings and the references of images. Variables have no order.
func substances(t *testing.T, objects []*unstructured.Unstructured) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for _, o := range objects {
		o = o.DeepCopy()
		labels := o.GetLabels()
		for _, own := range []string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"} {
			delete(labels, own)
		}
		o.SetLabels(labels)
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", "helm.sh/resource-policy") // Helm alone deletes what is not kept.
		if len(o.GetAnnotations()) == 0 {
			o.SetAnnotations(nil)
		}
		name := o.GetAPIVersion() + " " + called(o)
		if all[name] != nil {
			t.Errorf("%s is there twice", name)
		}
		all[name] = o.Object
		annotations, _, _ := unstructured.NestedStringMap(o.Object, "spec", "template", "metadata", "annotations")
		if digest, ok := annotations["riposte.dev/settings"]; ok {
			if len(digest) != 16 {
				t.Errorf("%s has the digest %q of its settings, want 16 digits", name, digest)
			}
			unstructured.RemoveNestedField(o.Object, "spec", "template", "metadata", "annotations", "riposte.dev/settings")
		}
		containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		for _, c := range containers {
			container, _ := c.(map[string]any)
			container["image"] = functionOfImage(t, container["image"])
			env := map[string]any{}
			variables, _ := container["env"].([]any)
			for _, v := range variables {
				variable, _ := v.(map[string]any)
				if env[variable["name"].(string)] != nil {
					t.Errorf("%s has %s twice", name, variable["name"])
				}
				env[variable["name"].(string)] = variable
			}
			container["env"] = env
		}
		if len(containers) > 0 {
			_ = unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
		}
	}
	return all
}

// functionOfImage is the function that an image is of.
func functionOfImage(t *testing.T, image any) string {
	t.Helper()
	reference, _ := image.(string)
	if path, ok := strings.CutPrefix(reference, "ko://github.com/riposte-dev/riposte/functions/"); ok {
		return strings.TrimSuffix(path, "/cmd")
	}
	name, ok := strings.CutPrefix(reference, "ghcr.io/riposte-dev/riposte-")
	name, tag, _ := strings.Cut(name, ":")
	if !ok || !strings.HasPrefix(tag, "v") {
		t.Errorf("the image is %q, want ko://github.com/riposte-dev/riposte/functions/NAME/cmd or ghcr.io/riposte-dev/riposte-NAME:vVERSION", reference)
	}
	return name
}
