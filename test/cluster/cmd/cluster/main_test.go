package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// patience bounds every wait.
const patience = 2 * time.Minute

// command is the program under test, built once.
var command string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cluster-command-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	command = filepath.Join(dir, "cluster")
	for _, args := range [][]string{{"go", "build", "-o", command, "."}, {command, "build"}} {
		step := exec.CommandContext(context.Background(), args[0], args[1:]...)
		step.Stderr = os.Stderr
		if err := step.Run(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", strings.Join(args, " "), err)
			return 1
		}
	}
	return m.Run()
}

// running is an instance of "cluster up".
type running struct {
	*exec.Cmd
	stdin      io.WriteCloser
	kubeconfig string
	rest       chan string // What follows the line, when standard output ends.
	stderr     *buffer
}

// buffer may be read while it is written.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

// Write keeps p.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// String is what was written so far.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// startUp starts "cluster up" with temporary files in tmp, and waits for its line.
func startUp(t *testing.T, tmp string, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	r := &running{Cmd: exec.CommandContext(ctx, command, append([]string{"up", "--nodes", "1"}, args...)...), rest: make(chan string, 1), stderr: &buffer{}}
	r.Env = append(os.Environ(), "TMPDIR="+tmp)
	r.Stderr = r.stderr
	stdin, err := r.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.stdin = stdin
	stdout, err := r.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	path, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "KUBECONFIG=")
	if err != nil || !found {
		t.Fatalf("the first line is %q, %v; standard error:\n%s", line, err, r.stderr)
	}
	r.kubeconfig = path
	t.Cleanup(func() { _ = r.Process.Kill() })
	go func() {
		rest, _ := io.ReadAll(lines)
		r.rest <- string(rest)
	}()
	return r
}

// children returns the processes that r has started, where the system tells them.
func (r *running) children(t *testing.T) []int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux lists the children of a process, and only there they die with it")
	}
	var pids []int
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", r.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		content, err := os.ReadFile(list)
		if err != nil {
			continue // The thread has ended.
		}
		for field := range strings.FieldsSeq(string(content)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	if len(pids) != 5 {
		t.Fatalf("cluster up has %d children, want 5", len(pids))
	}
	return pids
}

// ended waits until none of the processes runs. A dead one may stay in the table
// until whoever inherited it looks.
func ended(t *testing.T, pids []int) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var left []int
		for _, pid := range pids {
			if content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
				_, after, _ := strings.Cut(string(content), ") ")
				if !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X") {
					left = append(left, pid)
				}
			}
		}
		if len(left) == 0 {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("processes %v still run", left)
		case <-tick.C:
		}
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestUpStops(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		end  func(*running) error
	}{
		"when its parent closes the pipe": {[]string{"--until-stdin-closes"}, func(r *running) error { return r.stdin.Close() }},
		"when it is interrupted":          {nil, func(r *running) error { return r.Process.Signal(os.Interrupt) }},
		"when it is terminated":           {nil, func(r *running) error { return r.Process.Signal(syscall.SIGTERM) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			r := startUp(t, tmp, tc.args...)
			children := r.children(t)
			config, err := clientcmd.BuildConfigFromFlags("", r.kubeconfig)
			if err != nil || len(config.CertData) == 0 || len(config.KeyData) == 0 || len(config.CAData) == 0 {
				t.Errorf("the kubeconfig cannot stand alone: %v", err)
			}
			if err := tc.end(r); err != nil {
				t.Fatal(err)
			}
			if rest := <-r.rest; rest != "" {
				t.Errorf("standard output has more than one line: %q", rest)
			}
			if err := r.Wait(); err != nil {
				t.Errorf("cluster up: %v; standard error:\n%s", err, r.stderr)
			}
			ended(t, children)
			empty(t, tmp)
		})
	}
}

func TestKilledUpLeavesNoProcess(t *testing.T) {
	t.Parallel()
	r := startUp(t, t.TempDir())
	children := r.children(t)
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.rest
	if err := r.Wait(); err == nil {
		t.Error("a killed process has succeeded")
	}
	ended(t, children)
}

func TestUpFailsWhenAComponentDies(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	copied := filepath.Join(t.TempDir(), "kubeconfig")
	r := startUp(t, tmp, "--kubeconfig", copied)
	if r.kubeconfig != copied {
		t.Errorf("the line names %s, want %s", r.kubeconfig, copied)
	}
	if info, err := os.Stat(copied); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the kubeconfig: %v, %v", info, err)
	}
	children := r.children(t)
	if err := syscall.Kill(children[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.rest
	err := r.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(r.stderr.String(), "ended (signal: killed)") {
		t.Errorf("cluster up: %v; standard error:\n%s", err, r.stderr)
	}
	ended(t, children)
	empty(t, tmp)
	if _, err := os.Stat(copied); !os.IsNotExist(err) {
		t.Errorf("the copied kubeconfig is still there: %v", err)
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	const script = `test "$KUBECONFIG" = the-users && grep -q client-key-data "$RIPOSTE_TEST_KUBECONFIG" && echo "seen by $1" && exit 7`
	run := exec.CommandContext(t.Context(), command, "run", "--nodes", "1", "--", "sh", "-c", script, "sh", "the command")
	run.Env = append(os.Environ(), "TMPDIR="+tmp, "KUBECONFIG=the-users")
	var stderr bytes.Buffer
	run.Stderr = &stderr
	out, err := run.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || string(out) != "seen by the command\n" {
		t.Errorf("cluster run: %q, %v; standard error:\n%s", out, err, &stderr)
	}
	empty(t, tmp)
}

func TestRunForwardsSignals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		ends   bool // whether its input ends after the signal
		status int
	}{
		// The shell runs its trap when read returns.
		"the command ends as it likes": {`trap 'exit 5' TERM; echo ready; while :; do read -r line || :; done`, true, 5},
		"the signal ends the command":  {`echo ready; exec cat`, false, 128 + int(syscall.SIGTERM)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			run := exec.CommandContext(ctx, command, "run", "--nodes", "1", "--", "sh", "-c", tc.script)
			run.Env = append(os.Environ(), "TMPDIR="+tmp)
			stdin, err := run.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := run.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := run.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
				t.Fatalf("the command says %q, %v", line, err)
			}
			if err := run.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if tc.ends {
				if err := stdin.Close(); err != nil {
					t.Fatal(err)
				}
			}
			var exit *exec.ExitError
			if err := run.Wait(); !errors.As(err, &exit) || exit.ExitCode() != tc.status {
				t.Errorf("cluster run: %v, want the status %d", err, tc.status)
			}
			empty(t, tmp)
		})
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	existing := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(existing, []byte("the user's own"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args   []string
		status int
		says   string // On standard error for a fault, on standard output for help.
	}{
		"no command":                    {nil, 2, "cluster up"},
		"an unknown command":            {[]string{"down"}, 2, `"down"`},
		"an unknown flag":               {[]string{"up", "--node", "3"}, 2, "-node"},
		"no nodes":                      {[]string{"up", "--nodes", "0"}, 2, "--nodes"},
		"nodes that are no number":      {[]string{"run", "--nodes", "many", "--", "true"}, 2, "-nodes"},
		"an argument too many":          {[]string{"up", "now"}, 2, `"now"`},
		"a kubeconfig that exists":      {[]string{"up", "--kubeconfig", existing}, 2, "--kubeconfig"},
		"a root that is none":           {[]string{"build", "--root", "/"}, 2, "--root"},
		"nothing to run":                {[]string{"run", "--"}, 2, "after --"},
		"a command that does not exist": {[]string{"run", "--", "no-such-command"}, 2, "no-such-command"},
		"help":                          {[]string{"--help"}, 0, "cluster up"},
		"help for up":                   {[]string{"up", "--help"}, 0, "until-stdin-closes"},
		"help for run":                  {[]string{"run", "-h"}, 0, "RIPOSTE_TEST_KUBECONFIG"},
		"help for build":                {[]string{"build", "--help"}, 0, "root"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			call := exec.CommandContext(t.Context(), command, tc.args...)
			call.Stdout, call.Stderr = &stdout, &stderr
			_ = call.Run()
			said := &stderr
			if tc.status == 0 {
				said = &stdout
			}
			if status := call.ProcessState.ExitCode(); status != tc.status || !strings.Contains(said.String(), tc.says) {
				t.Errorf("status %d, want %d; %q must contain %q", status, tc.status, said, tc.says)
			}
		})
	}
	if content, err := os.ReadFile(existing); err != nil || string(content) != "the user's own" {
		t.Errorf("the existing kubeconfig now holds %q, %v", content, err)
	}
}
