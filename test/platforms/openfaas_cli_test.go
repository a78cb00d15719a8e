package platforms

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// OpenFaaS's own CLI lays out what the tests lay out, and reads in both stack files what they read.
func TestOpenFaaSCLI(t *testing.T) {
	cli, err := exec.LookPath("faas-cli")
	if err != nil {
		t.Log("faas-cli is not on the PATH: the layout of build contexts and the meaning of stack.yml are as documented, and not as it has them")
		return
	}
	root, folder := testkit.Root(t), t.TempDir()
	for _, name := range []string{filepath.Join("template", "golang-http"), "config"} {
		from := filepath.Join(root, name)
		if name != "config" {
			from = filepath.Join("testdata", "golang-http")
		}
		if err := os.CopyFS(filepath.Join(folder, name), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(arguments ...string) []byte {
		t.Helper()
		command := exec.CommandContext(t.Context(), cli, arguments...)
		command.Dir = folder
		command.Env = append(command.Environ(), "HANDLERS="+filepath.Join(root, ".stage", "openfaas"), "TAG=tested")
		var stderr bytes.Buffer
		command.Stderr = &stderr
		out, err := command.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s%s", command, err, out, stderr.Bytes())
		}
		return out
	}
	for _, file := range []string{communityStack, proStack} {
		t.Run(file, func(t *testing.T) {
			stack := stackOf(t, file)
			generated := functionsOf(t, run("generate", "--yaml", filepath.Join(root, file)))
			if diff := cmp.Diff(slices.Sorted(maps.Keys(stack)), slices.Sorted(maps.Keys(generated))); diff != "" {
				t.Fatalf("functions (-stack +generated):\n%s", diff)
			}
			for name, f := range stack {
				if diff := cmp.Diff(environmentOf(t, f), generated[name].Environment); diff != "" {
					t.Errorf("the environment of %s (-tests +faas-cli):\n%s", name, diff)
				}
				if want := "ghcr.io/riposte-dev/riposte-" + name + ":tested"; generated[name].Image != want {
					t.Errorf("the image of %s is %q, want %q", name, generated[name].Image, want)
				}
			}
		})
	}
	stack := stackOf(t, communityStack)
	for name := range stack {
		staged(t, name)
	}
	run("build", "--shrinkwrap", "--yaml", filepath.Join(root, communityStack))
	for name := range stack {
		if diff := cmp.Diff(filesIn(t, buildContext(t, staged(t, name))), filesIn(t, filepath.Join(folder, "build", name))); diff != "" {
			t.Errorf("the build context of %s (-tests +faas-cli):\n%s", name, diff)
		}
	}
}

// generatedFunction is what faas-cli generate makes of an entry: a Function, which OpenFaaS Pro's operator takes.
type generatedFunction struct {
	Image       string            `json:"image"`
	Environment map[string]string `json:"environment"`
}

// functionsOf are the Functions of a stream of YAML, by their names.
func functionsOf(t *testing.T, stream []byte) map[string]generatedFunction {
	t.Helper()
	all := map[string]generatedFunction{}
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096); ; {
		var f struct {
			Kind     string `json:"kind"`
			Metadata struct {
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"metadata"`
			Spec generatedFunction `json:"spec"`
		}
		err := d.Decode(&f)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, stream)
		}
		if f.Kind == "" {
			continue
		}
		if f.Kind != "Function" || f.Metadata.Namespace != openfaasNamespace {
			t.Errorf("%s %s is in %s", f.Kind, f.Metadata.Name, f.Metadata.Namespace)
		}
		all[f.Metadata.Name] = f.Spec
	}
}

// filesIn are the files of a folder.
func filesIn(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(folder), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(folder, path))
		all[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
