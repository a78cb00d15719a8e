//go:build e2enode

package e2enode_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// function is a function's program, running under its own account.
type function struct{ url string }

// start runs dist/bin/NAME until the test ends.
func start(t *testing.T, name string, settings ...string) function {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join(testkit.Root(t), "dist", "bin", name))
	kubeconfig := testkit.Cluster(t).ServiceAccountKubeconfig(t, name)
	command.Env = append([]string{"LISTEN_ADDRESS=127.0.0.1:0", "KUBECONFIG=" + kubeconfig}, settings...)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadBytes('\n')
	var listening struct{ Address string }
	if err != nil || json.Unmarshal(line, &listening) != nil || listening.Address == "" {
		rest, _ := io.ReadAll(lines)
		t.Fatalf("%s did not say where it listens: %s%s (%v)", name, line, rest, err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return function{"http://" + listening.Address + "/"}
}

// post sends what Falco or a driver sends, with these headers of an event.
func (f function) post(t *testing.T, header http.Header, body []byte) testkit.Answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatalf("post to %s: %v", f.url, err)
	}
	return testkit.ReadAnswer(t, answer)
}

// alert sends the alert in the body as Falcosidekick's CloudEvents output does.
func (f function) alert(t *testing.T, body []byte) testkit.Answer {
	t.Helper()
	header := testkit.Find(t, "03").CloudEvent(t, "").Header.Clone()
	header.Del("Content-Length")
	return f.post(t, header, body)
}

// request asks for the release of a target, as a driver does.
func (f function) request(t *testing.T, target map[string]any) testkit.Answer {
	t.Helper()
	body, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	return f.post(t, http.Header{
		"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Type": {"dev.riposte.release.v1"},
		"Ce-Source": {"/e2e-node"}, "Ce-Id": {rand.Text()}, "Ce-Time": {time.Now().UTC().Format(time.RFC3339Nano)},
	}, body)
}
