// Package process runs the functions' binaries for the tests that look at whole processes: the proofs and the benchmarks.
package process

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// Process is a program that serves HTTP and says in the first line of its log where.
type Process struct {
	// URL is where it listens.
	URL string
	// Began is when it was started.
	Began   time.Time
	Command *exec.Cmd

	tb     testing.TB
	client *http.Client
}

// Start runs dist/bin/NAME until the test ends, with these settings. Budgets are off unless a setting says otherwise: sets that
// are about something else act more often than those allow.
func Start(tb testing.TB, name, kubeconfig string, settings ...string) *Process {
	tb.Helper()
	return StartIn(tb, nil, name, kubeconfig, settings...)
}

// StartIn is Start behind a command that runs another one, such as taskset.
func StartIn(tb testing.TB, front []string, name, kubeconfig string, settings ...string) *Process {
	tb.Helper()
	env := append([]string{
		"LISTEN_ADDRESS=127.0.0.1:0", "PATH=/usr/bin:/bin", "BUDGET_FUNCTION=off", "BUDGET_WORKLOAD=off", "BUDGET_CLUSTER=off",
	}, settings...)
	if kubeconfig != "" {
		env = append(env, "KUBECONFIG="+kubeconfig)
	}
	return Run(tb, append(front, filepath.Join(testkit.Root(tb), "dist", "bin", name)), env)
}

// Run runs a program until the test ends.
func Run(tb testing.TB, command, env []string) *Process {
	tb.Helper()
	p := &Process{tb: tb, Command: exec.CommandContext(tb.Context(), command[0], command[1:]...), client: newClient(tb)}
	p.Command.Env = env
	stderr, err := p.Command.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.Began = time.Now()
	if err := p.Command.Start(); err != nil {
		tb.Fatalf("start %s: %v", command[0], err)
	}
	tb.Cleanup(p.Stop)
	lines := bufio.NewReader(stderr)
	line, err := lines.ReadBytes('\n')
	var listening struct{ Msg, Address, Error string }
	if err != nil || json.Unmarshal(line, &listening) != nil || listening.Address == "" {
		tb.Fatalf("%s did not say where it listens: %s (%v)", command[0], line, err)
	}
	p.URL = "http://" + listening.Address + "/"
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return p
}

// newClient is a client of one test: so many connections that a burst does not make them anew each time.
func newClient(tb testing.TB) *http.Client {
	tb.Helper()
	const connections = 1000
	transport := &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Stop ends the process at once. It may be called again.
func (p *Process) Stop() {
	if p.Command.ProcessState != nil {
		return
	}
	_ = p.Command.Process.Kill()
	_ = p.Command.Wait()
}

// Post sends a request that was captured, to this process.
func (p *Process) Post(r *http.Request) testkit.Answer {
	p.tb.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		p.tb.Fatal(err)
	}
	fresh, err := http.NewRequestWithContext(p.tb.Context(), http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		p.tb.Fatal(err)
	}
	fresh.Header = r.Header.Clone()
	response, err := p.client.Do(fresh) //nolint:bodyclose // ReadAnswer closes it.
	if err != nil {
		p.tb.Fatalf("post to %s: %v", p.URL, err)
	}
	return testkit.ReadAnswer(p.tb, response)
}

// Alert sends a bare alert.
func (p *Process) Alert(body []byte) testkit.Answer {
	p.tb.Helper()
	a, err := p.Deliver(p.tb.Context(), body)
	if err != nil {
		p.tb.Fatalf("post to %s: %v", p.URL, err)
	}
	return a
}

// Deliver sends a bare alert; the error is that of a process that died of it.
func (p *Process) Deliver(ctx context.Context, body []byte) (testkit.Answer, error) {
	return p.Send(ctx, body, "")
}

// Stream sends a body as it comes, and gives the status of the answer and the verdict in its headers: what it says is not read.
func (p *Process) Stream(ctx context.Context, body io.Reader) (status int, verdict string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, body)
	if err != nil {
		return 0, "", err
	}
	answer, err := p.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return answer.StatusCode, answer.Header.Get("Ce-Outcome"), errors.Join(err, answer.Body.Close())
}

// Send is Deliver with a token.
func (p *Process) Send(ctx context.Context, body []byte, token string) (testkit.Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return testkit.Answer{}, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := p.client.Do(r) //nolint:bodyclose // ReadAnswer closes it.
	if err != nil {
		return testkit.Answer{}, err
	}
	return testkit.ReadAnswer(p.tb, response), nil
}

// Try posts a body with a token to an address and gives back the answer.
func Try(tb testing.TB, url, token, body string) (status int, text string) {
	tb.Helper()
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := newClient(tb).Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // It was read only.
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer.StatusCode, string(read)
}

// Memory is a figure of the process's memory in bytes: VmRSS now, or VmHWM at its highest. proc_pid_status(5).
func (p *Process) Memory(name string) int {
	p.tb.Helper()
	return Memory(p.tb, p.Command.Process.Pid, name)
}

// Memory is Process.Memory of any process.
func Memory(tb testing.TB, pid int, name string) int {
	tb.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				tb.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	tb.Fatalf("no %s in /proc", name)
	return 0
}

// CPU is the time the process has used so far, in user and system mode, in clock ticks of 10 ms. proc_pid_stat(5).
func (p *Process) CPU() time.Duration {
	p.tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Command.Process.Pid))
	if err != nil {
		p.tb.Fatal(err)
	}
	// The name, in parentheses, may hold blanks.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, stime, ticks = 11, 12, 100
	total := 0
	for _, i := range []int{utime, stime} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			p.tb.Fatal(err)
		}
		total += n
	}
	return time.Duration(total) * time.Second / ticks
}

// Best is the smallest figure of a benchmark in the output of go test.
func Best(tb testing.TB, output, name, unit string) float64 {
	tb.Helper()
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
		tb.Fatalf("no %s of %s in:\n%s", unit, name, output)
	}
	return least
}
