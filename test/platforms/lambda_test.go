package platforms

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/deploy/archive"
	"github.com/riposte-dev/riposte/deploy/generate"
	"github.com/riposte-dev/riposte/deploy/source"
	"github.com/riposte-dev/riposte/shared/kube/ekstest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// onLambda are the functions that run on AWS Lambda.
func onLambda(t *testing.T) []string {
	t.Helper()
	all, err := source.Functions(testkit.Root(t))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range all {
		skip, err := generate.NotOnLambda(f)
		if err != nil {
			t.Fatal(err)
		}
		if skip == "" {
			names = append(names, f.Name)
		}
	}
	return names
}

// bootstrap is a function as Lambda has it: built for this machine, zipped, and unzipped again.
func bootstrap(t *testing.T, name string) string {
	t.Helper()
	folder := t.TempDir()
	file, err := archive.Build(t.Context(), testkit.Root(t), folder, name, archive.AMD64, "")
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if len(z.File) != 1 {
		t.Fatalf("%s has %d files, want one", file, len(z.File))
	}
	packed, err := z.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	program, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, z.File[0].Name)
	if err := os.WriteFile(path, program, z.File[0].Mode()); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every function from its zip, invoked by every service that may invoke it, on a cluster of EKS that knows nothing but its
// role, with the rights of deploy/lambda/rbac.yaml.
func TestLambda(t *testing.T) {
	e := testkit.Cluster(t)
	groups := bindGroups(t, e)
	for _, name := range onLambda(t) {
		t.Run(name, func(t *testing.T) {
			w, program := workFor(t, e, name), bootstrap(t, name)
			var cluster *ekstest.Cluster
			environ := without(w.environ, "KUBECONFIG")
			if group := groups[name]; group != "" {
				cluster = ekstest.Start(t, e.Kubeconfig, group)
				environ = append(environ, cluster.Environ...)
			}
			began := time.Now()
			function := testkit.StartLambda(t, program, environ...)
			if answer := function.Invoke(t, []byte(unwanted)); answer.Error == nil {
				t.Errorf("another's event is answered %s, want an error", answer.Payload)
			}
			figures.add(figure{name, "lambda", size(t, program), time.Since(began)})
			for form, f := range lambdaForms() {
				t.Run(form, func(t *testing.T) {
					j := w.next()
					before := changes(cluster)
					answer := function.Invoke(t, encoded(t, f.payload(t, j)))
					if answer.Error != nil {
						t.Fatalf("it fails: %+v", *answer.Error)
					}
					f.check(t, j, answer.Payload)
					if j.done != nil {
						if err := j.done(); err != nil {
							t.Error(err)
						}
					}
					// What answers with a list says nothing of the outcome, so the cluster has to.
					if cluster != nil && name != "collect-evidence" && changes(cluster) == before {
						t.Error("nothing was changed on the cluster")
					}
				})
			}
		})
	}
}

func changes(c *ekstest.Cluster) int {
	if c == nil {
		return 0
	}
	return len(c.Changed())
}

// without is an environment without a variable.
func without(environ []string, name string) []string {
	var left []string
	for _, e := range environ {
		if !strings.HasPrefix(e, name+"=") {
			left = append(left, e)
		}
	}
	return left
}

func encoded(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The zip is the same whoever makes it, where and when.
func TestLambdaZipIsReproducible(t *testing.T) {
	if !*full {
		t.Log("not built for arm64, twice: -full does that")
		return
	}
	root, elsewhere := testkit.Root(t), filepath.Join(t.TempDir(), "elsewhere")
	for _, part := range []string{"deploy", "functions", "shared", "test", "triggers"} {
		if err := os.CopyFS(filepath.Join(elsewhere, part), os.DirFS(filepath.Join(root, part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.work", "go.work.sum"} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var zips [][]byte
	for _, from := range []string{root, root, elsewhere} {
		file, err := archive.Build(t.Context(), from, t.TempDir(), "delete-pod", archive.ARM64, "v1")
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		zips = append(zips, content)
	}
	if !bytes.Equal(zips[0], zips[1]) || !bytes.Equal(zips[0], zips[2]) {
		t.Error("three zips of the same sources differ")
	}
}
