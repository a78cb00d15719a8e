//go:build prove

package prove

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// process is a function's binary, running under its own account.
type process struct {
	t       *testing.T
	url     string
	command *exec.Cmd
}

// start runs dist/bin/NAME until the test ends.
func start(t *testing.T, name, kubeconfig string, settings ...string) *process {
	t.Helper()
	p := &process{t: t, command: exec.CommandContext(t.Context(), filepath.Join(testkit.Root(t), "dist", "bin", name))}
	// Sets that are about something else than budgets act more often than these allow.
	p.command.Env = append([]string{
		"LISTEN_ADDRESS=127.0.0.1:0", "PATH=/usr/bin:/bin", "BUDGET_FUNCTION=off", "BUDGET_WORKLOAD=off", "BUDGET_CLUSTER=off",
	}, settings...)
	if kubeconfig != "" {
		p.command.Env = append(p.command.Env, "KUBECONFIG="+kubeconfig)
	}
	stderr, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = p.command.Process.Kill()
		_ = p.command.Wait()
	})
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadBytes('\n')
	var listening struct{ Msg, Address, Error string }
	if err != nil || json.Unmarshal(line, &listening) != nil || listening.Address == "" {
		t.Fatalf("%s did not say where it listens: %s (%v)", name, line, err)
	}
	p.url = "http://" + listening.Address + "/"
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return p
}

// post sends a request that was captured, to this process.
func (p *process) post(r *http.Request) testkit.Answer {
	p.t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	fresh, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	fresh.Header = r.Header.Clone()
	response, err := http.DefaultClient.Do(fresh)
	if err != nil {
		p.t.Fatalf("post to %s: %v", p.url, err)
	}
	return testkit.ReadAnswer(p.t, response)
}

// alert sends a bare alert.
func (p *process) alert(body []byte) testkit.Answer {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	return p.post(r)
}

// rss is a figure of the process's memory in bytes: VmRSS now, or VmHWM at its highest.
func (p *process) rss(name string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				p.t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	p.t.Fatalf("no %s in /proc", name)
	return 0
}

// try posts a body with a token and gives back the answer.
func try(p proof, url, token, body string) (status int, text string) {
	p.Helper()
	request, err := http.NewRequestWithContext(p.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		p.Fatal(err)
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		p.Fatal(err)
	}
	return answer.StatusCode, string(read)
}

// best is the smallest figure of a benchmark in the output of go test.
func best(p proof, output, name, unit string) float64 {
	p.Helper()
	least := 0.0
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || (fields[0] != name && !strings.HasPrefix(fields[0], name+"-")) {
			continue
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if value, err := strconv.ParseFloat(fields[i], 64); err == nil && fields[i+1] == unit && (least == 0 || value < least) {
				least = value
			}
		}
	}
	if least == 0 {
		p.Fatalf("no %s of %s in:\n%s", unit, name, output)
	}
	return least
}
