package platforms

import (
	"bytes"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"

	"github.com/riposte-dev/riposte/deploy/source"
	"github.com/riposte-dev/riposte/deploy/stage"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// staged is the folder that faas-cli takes a function from.
func staged(t *testing.T, name string) string {
	t.Helper()
	root := testkit.Root(t)
	f, err := source.One(root, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stage.Stage(t.Context(), root, stage.OpenFaaS, f); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, stage.Folder(stage.OpenFaaS, name))
}

// buildContext is the template with the function in its folder function, as faas-cli lays it out for the image's build.
func buildContext(t *testing.T, handler string) string {
	t.Helper()
	folder := t.TempDir()
	for from, to := range map[string]string{filepath.Join("testdata", "golang-http"): folder, handler: filepath.Join(folder, "function")} {
		if err := os.CopyFS(to, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// ownModule does to go.mod what the template's clean-up documents: the function's module becomes that of the whole program,
// called handler, and what it replaces by a folder of its own is found below function.
func ownModule(t *testing.T, folder string) {
	t.Helper()
	function := filepath.Join(folder, "function")
	content, err := os.ReadFile(filepath.Join(function, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	// As text: the template knows nothing more of it.
	content = bytes.ReplaceAll(content, []byte("=> ./"), []byte("=> ./function/"))
	mod, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := mod.AddModuleStmt("handler"); err != nil {
		t.Fatal(err)
	}
	if err := mod.AddReplace("handler/function", "", "./function", ""); err != nil {
		t.Fatal(err)
	}
	if content, err = mod.Format(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "go.mod"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(function, "go.mod")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(function, "go.sum"), filepath.Join(folder, "go.sum")); err != nil {
		t.Fatal(err)
	}
}

// formatted demands what the template's build demands of every Go file.
func formatted(t *testing.T, folder string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, ".go") {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if better, err := format.Source(content); err != nil || !bytes.Equal(better, content) {
			t.Errorf("%s is not as gofmt formats it: the template refuses to build it (%v)", file, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goTool runs the go command as the template's Dockerfile does. The flags come by GOFLAGS, a build argument of the
// template: so the results are shared with other builds.
func goTool(t *testing.T, folder string, arguments ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", arguments...)
	command.Dir = folder
	command.Env = append(command.Environ(), "GOWORK=off", "GO111MODULE=on", "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=-trimpath -buildvcs=false")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// imageOf does the steps of the template's Dockerfile to a build context, and returns the folder that becomes the image's
// working directory: the program and the folder static.
func imageOf(t *testing.T, folder string) string {
	t.Helper()
	formatted(t, folder)
	ownModule(t, folder)
	function, image := filepath.Join(folder, "function"), t.TempDir()
	goTool(t, function, "test", "./...", "-cover")
	goTool(t, folder, "build", "-ldflags=-s -w", "-o", filepath.Join(image, "handler"), ".")
	static := filepath.Join(function, "static")
	if err := os.MkdirAll(static, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(image, "static"), os.DirFS(static)); err != nil {
		t.Fatal(err)
	}
	return image
}
