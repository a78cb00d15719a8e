package platforms

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// The real func CLI builds staged functions with its host builder, and what it wrote into its OCI layout does the same jobs.
// It builds for three processors, so a short run takes two functions: the smallest and the largest.
func TestFuncCLI(t *testing.T) {
	cli, err := exec.LookPath("func")
	if err != nil {
		t.Log("func is not on the PATH: TestFunc builds what it builds, and its own builder is left out")
		return
	}
	e, names := testkit.Cluster(t), []string{"delete-pod", "router"}
	if *full {
		names = functions(t)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			folder := stagedFor(t, name)
			before := manifestOf(t, folder)
			command := exec.CommandContext(t.Context(), cli, "build", "--builder", "host", "--registry", "registry.example/riposte", "--push=false")
			command.Dir = folder
			for _, v := range funcEnviron() {
				// Func says for which processor.
				if !strings.HasPrefix(v, "GOOS=") && !strings.HasPrefix(v, "GOARCH=") && !strings.HasPrefix(v, "CGO_ENABLED=") {
					command.Env = append(command.Env, v)
				}
			}
			if out, err := command.CombinedOutput(); err != nil {
				t.Fatalf("func build: %v\n%s", err, out)
			}
			understood(t, before, manifestOf(t, folder), "func.yaml")

			image := funcImage(t, filepath.Join(folder, ".func", "build", "oci"))
			binary, environ := unpacked(t, image)
			w, at := workFor(t, e, name), port(t)
			environ = slices.Concat(withoutOwn(t, environ, before), w.environ, []string{"LISTEN_ADDRESS=127.0.0.1:" + at})
			p := started(t, binary, at, "healthz", environ)
			figures.add(figure{name, "func build", size(t, binary), p.first})
			healthy(t, p.url)
			does(t, p.url, w)
			ends(t, binary, environ)
		})
	}
}

// manifestOf is the func.yaml of a folder.
func manifestOf(t *testing.T, folder string) map[string]any {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, "func.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := yaml.UnmarshalStrict(content, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// understood checks that func, which writes func.yaml anew, has kept what it read: it drops what it does not know.
func understood(t *testing.T, ours, theirs any, field string) {
	t.Helper()
	switch ours := ours.(type) {
	case map[string]any:
		m, _ := theirs.(map[string]any)
		for key, value := range ours {
			understood(t, value, m[key], field+"."+key)
		}
	case []any:
		l, _ := theirs.([]any)
		if len(l) != len(ours) {
			t.Errorf("%s has %d entries after func build, want %d", field, len(l), len(ours))
			return
		}
		for i, value := range ours {
			understood(t, value, l[i], fmt.Sprintf("%s[%d]", field, i))
		}
	default:
		// No value and 0 are the same, as scale.min of 0 is.
		if diff := cmp.Diff(fmt.Sprint(ours), fmt.Sprint(theirs)); diff != "" {
			t.Errorf("%s (-ours +func's):\n%s", field, diff)
		}
	}
}

// withoutOwn is the image's environment without what func has put there of func.yaml: values, and references to Secrets as the
// text that they are. The Service has them again, and there they are what they stand for.
func withoutOwn(t *testing.T, environ []string, manifest map[string]any) []string {
	t.Helper()
	run, _ := manifest["run"].(map[string]any)
	envs, _ := run["envs"].([]any)
	own := map[string]bool{}
	for _, e := range envs {
		e, _ := e.(map[string]any)
		if name, ok := e["name"].(string); ok {
			own[name] = true
		}
	}
	if len(own) == 0 {
		t.Fatal("func.yaml sets no variable: it is not read")
	}
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return own[name]
	})
}

// funcImage is the image for this machine in an OCI layout.
func funcImage(t *testing.T, folder string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range manifest.Manifests {
		all = append(all, m.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64", "linux/arm/v7"}, all); diff != "" {
		t.Errorf("func builds for (-want +got):\n%s", diff)
	}
	for _, m := range manifest.Manifests {
		if m.Platform.OS == "linux" && m.Platform.Architecture == runtime.GOARCH {
			image, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			return image
		}
	}
	t.Fatalf("the layout has no image for linux/%s", runtime.GOARCH)
	return nil
}

// unpacked is the image's program, and the environment that the image gives it.
func unpacked(t *testing.T, image v1.Image) (binary string, environ []string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "1000:1000" || !slices.Equal(c.Cmd, []string{"/func/f"}) || len(c.Entrypoint) > 0 {
		t.Errorf("the image runs %v %v as %q: want /func/f, and not as root", c.Entrypoint, c.Cmd, c.User)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(t.TempDir(), "f")
	for _, l := range layers {
		packed, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		unpack(t, packed, binary)
		_ = packed.Close()
	}
	return binary, config.Config.Env
}

// unpack looks through a layer, and writes the program if it is there.
func unpack(t *testing.T, packed io.Reader, binary string) {
	t.Helper()
	r, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(r); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Join("/", h.Name)
		switch {
		case name == "/func/f" && h.Typeflag == tar.TypeReg:
			content, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(binary, content, 0o700); err != nil {
				t.Fatal(err)
			}
		case strings.HasSuffix(name, "_test.go"), strings.Contains(name, "/.func"), strings.Contains(name, "/testdata"):
			t.Errorf("the image has %s", name)
		}
	}
}
