package platforms

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/deploy/source"
	"github.com/riposte-dev/riposte/deploy/stage"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// funcEnviron is the environment of func's go build. Func sets the processor and CGO_ENABLED and hands on the rest. These flags
// are those of make deploy, for a result as small as ours, and for Go's cache. GOWORK=off, because a folder below the workspace is
// none of it; nothing else, -mod=mod for instance, may be needed.
func funcEnviron() []string {
	return append(os.Environ(), "GOWORK=off", "GOFLAGS=-trimpath -buildvcs=false '-ldflags=-s -w'",
		"CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
}

// stagedFor stages a function for func into a folder of the test.
func stagedFor(t *testing.T, name string) string {
	t.Helper()
	root, folder := testkit.Root(t), filepath.Join(t.TempDir(), name)
	f, err := source.One(root, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stage.Into(t.Context(), root, folder, stage.Func, f); err != nil {
		t.Fatal(err)
	}
	return folder
}

// Every staged function, in a scaffold as the func CLI makes it, starts and does its job. testdata/func is the scaffold of
// func 0.50 for an instanced function with invoke: http, in our own words, with the same requirements.
func TestFunc(t *testing.T) {
	e := testkit.Cluster(t)
	for _, name := range functions(t) {
		t.Run(name, func(t *testing.T) {
			binary := scaffolded(t, stagedFor(t, name))
			w, at := workFor(t, e, name), port(t)
			environ := slices.Concat(w.environ, []string{"LISTEN_ADDRESS=127.0.0.1:" + at})
			p := started(t, binary, at, "healthz", environ)
			figures.add(figure{name, "func", size(t, binary), p.first})
			healthy(t, p.url)
			does(t, p.url, w)
			ends(t, binary, environ)
		})
	}
}

// scaffolded builds the function in the folder as func does, and returns the program.
// https://github.com/knative/func/blob/v0.50.1/pkg/scaffolding/scaffold.go
func scaffolded(t *testing.T, folder string) string {
	t.Helper()
	build := filepath.Join(folder, ".func", "build")
	if err := os.MkdirAll(build, 0o750); err != nil {
		t.Fatal(err)
	}
	own, scaffold := requirements(t, folder), requirements(t, filepath.Join("testdata", "func"))
	sums, err := os.ReadFile(filepath.Join(folder, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"main.go": func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte(`"function"`), []byte(`"`+own.Module.Path+`"`))
		},
		"go.mod": func(b []byte) []byte { return b },
		"go.sum": func(b []byte) []byte { return append(b, sums...) },
	} {
		content, err := os.ReadFile(filepath.Join("testdata", "func", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(build, name), change(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join("..", ".."), filepath.Join(build, "f")); err != nil {
		t.Fatal(err)
	}
	edits := []string{
		"mod", "edit", "-dropreplace=function", "-droprequire=function",
		"-replace=" + own.Module.Path + "=./f", "-require=" + own.Module.Path + "@v0.0.0-00010101000000-000000000000",
	}
	// What the function requires is required, in its versions; but where the scaffold requires it too, in the scaffold's.
	for _, m := range own.Require {
		if !slices.ContainsFunc(scaffold.Require, func(s required) bool { return s.Path == m.Path }) {
			edits = append(edits, "-require="+m.Path+"@"+m.Version)
		}
	}
	binary := filepath.Join(build, "result", "f.linux."+runtime.GOARCH)
	for _, args := range [][]string{edits, {"build", "-o", binary}} {
		command := exec.CommandContext(t.Context(), "go", args...)
		command.Dir, command.Env = build, funcEnviron()
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	return binary
}

// required is a module that a go.mod requires.
type required struct{ Path, Version string }

// requirements are what the go.mod in a folder says.
func requirements(t *testing.T, folder string) (mod struct {
	Module  required
	Require []required
},
) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	command.Dir = folder
	out, err := command.Output()
	if err != nil {
		t.Fatalf("read go.mod: %v", err)
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	return mod
}

// healthy asks for what func.yaml's probes ask, and for what func's middleware answers itself.
func healthy(t *testing.T, url string) {
	t.Helper()
	for _, path := range []string{"healthz", "readyz", "health/liveness", "health/readiness"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Errorf("GET /%s is answered %s", path, answer.Status)
		}
	}
}

// ends starts the program once more and stops it as a kubelet does: it ends by itself, without an error, well before the
// 30 s after which it would be killed.
func ends(t *testing.T, binary string, environ []string) {
	t.Helper()
	at := port(t)
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append(slices.Clone(environ), "LISTEN_ADDRESS=127.0.0.1:"+at)
	var log strings.Builder
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	answered(t, "http://127.0.0.1:"+at+"/healthz")
	began := time.Now()
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("after SIGTERM it ended with %v:\n%s", err, log.String())
		}
	case <-time.After(10 * time.Second):
		_ = command.Process.Kill()
		t.Errorf("%s after SIGTERM it still ran", time.Since(began))
	}
}

// answered waits until something answers at the address.
func answered(t *testing.T, url string) {
	t.Helper()
	testkit.Eventually(t, url+" is answered", func(ctx context.Context) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	})
}
