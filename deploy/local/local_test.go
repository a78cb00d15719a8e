package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/deploy/local/kube"
	"github.com/riposte-dev/riposte/test/cluster"
)

// patience is for a machine that does other things too.
const patience = 3 * time.Minute

// built is this program, built once as "make run" does, into a folder that TestMain
// removes.
var built = struct {
	sync.Once
	dir, root, binary string
	err               error
}{}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func build(t *testing.T) (root, binary string) {
	t.Helper()
	built.Do(func() {
		if built.root, built.err = cluster.Root("."); built.err != nil {
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "riposte-local-"); built.err != nil { //nolint:usetesting // All tests share it.
			return
		}
		built.binary = filepath.Join(built.dir, "local")
		if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", built.binary, ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, output)
			return
		}
		_, built.err = cluster.Build(t.Context(), built.root, t.Output())
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.root, built.binary
}

// command prepares a run of the program, without the caller's KUBECONFIG.
func command(t *testing.T, root, binary string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, binary, args...)
	c.Dir = root
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "KUBECONFIG=") {
			c.Env = append(c.Env, variable)
		}
	}
	return c
}

func TestOnce(t *testing.T) {
	root, binary := build(t)
	c := command(t, root, binary, "--once")
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	for _, want := range []string{
		`sends "Drop and execute new binary in container"`, "fires collect-evidence, delete-malware, tell-alerts", "calls delete-pod",
		"deleted pod shop/cart-api-", "is gone", "is created", "is ready", "and only that one of", "Deployment shop/cart-api started",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the timeline does not say %q:\n%s", want, stdout.String())
		}
	}
}

func TestArguments(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want int
		says string
	}{
		"help":              {[]string{"--help"}, 0, "-once"},
		"unknown flag":      {[]string{"--twice"}, 2, "twice"},
		"argument":          {[]string{"once"}, 2, `"once"`},
		"target alone":      {[]string{"--target", "a/b"}, 2, "--once"},
		"port out of range": {[]string{"--port", "70000"}, 2, "70000"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if got := run(t.Context(), tc.args, &out, &out); got != tc.want || !strings.Contains(out.String(), tc.says) {
				t.Errorf("ended with %d: %s", got, out.String())
			}
		})
	}
}

// served is a run of the program with its page.
type served struct {
	*exec.Cmd
	page       string
	kubeconfig string
	output     *bytes.Buffer
	ended      chan error
}

func serveNow(t *testing.T, c *exec.Cmd) *served {
	t.Helper()
	s := &served{Cmd: c, output: &bytes.Buffer{}, ended: make(chan error, 1)}
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = s.output
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if page := regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(lines.Text()); page != "" && s.page == "" {
			s.page = page
		}
		if _, file, found := strings.Cut(lines.Text(), "export KUBECONFIG="); found {
			s.kubeconfig = file
		}
		if strings.Contains(lines.Text(), "Ctrl-C") {
			break
		}
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdout)
		s.ended <- c.Wait()
	}()
	if s.page == "" {
		t.Fatalf("it did not start: %v\n%s", <-s.ended, s.output)
	}
	return s
}

// functions returns what the page is told of the functions.
func (s *served) functions(t *testing.T) []functions.Status {
	t.Helper()
	var out []functions.Status
	s.events(t, func(topic string, data []byte) bool {
		if topic == "function" {
			var status functions.Status
			if err := json.Unmarshal(data, &status); err != nil {
				t.Fatal(err)
			}
			out = append(out, status)
		}
		return topic != "ready"
	})
	return out
}

// events reads the page's stream for as long as it is wanted.
func (s *served) events(t *testing.T, more func(topic string, data []byte) bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.page+"events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	topic := ""
	for lines.Scan() {
		if name, found := strings.CutPrefix(lines.Text(), "event: "); found {
			topic = name
		}
		if data, found := strings.CutPrefix(lines.Text(), "data: "); found && !more(topic, []byte(data)) {
			return
		}
	}
	t.Fatalf("the stream ended: %v", lines.Err())
}

// However the program ends, nothing of it is left. (The test in the browser has the
// interrupt of Ctrl-C.)
func TestNothingIsLeftRunning(t *testing.T) {
	root, binary := build(t)
	t.Run("terminated", func(t *testing.T) {
		s := serveNow(t, command(t, root, binary))
		deadFunctionComesBack(t, s)
		nothingIsLeft(t, s, syscall.SIGTERM)
	})
	t.Run("killed", func(t *testing.T) {
		nothingIsLeft(t, serveNow(t, command(t, root, binary)), syscall.SIGKILL)
	})
}

func nothingIsLeft(t *testing.T, s *served, signal syscall.Signal) {
	t.Helper()
	running := s.functions(t)
	if len(running) < 6 {
		t.Fatalf("%d functions run", len(running))
	}
	server := apiServer(t, s.kubeconfig)
	if err := s.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	if err := <-s.ended; (err == nil) != (signal != syscall.SIGKILL) {
		t.Errorf("it ended with %v\n%s", err, s.output)
	}
	for _, f := range running {
		eventually(t, fmt.Sprintf("%s (pid %d) ends", f.Name, f.PID), func() bool { return syscall.Kill(f.PID, 0) != nil })
	}
	eventually(t, "the API server ends", func() bool {
		connection, err := net.DialTimeout("tcp", server, time.Second)
		if err == nil {
			_ = connection.Close()
		}
		return err != nil
	})
}

func apiServer(t *testing.T, kubeconfig string) string {
	t.Helper()
	content, err := os.ReadFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`server: (\S+)`).FindSubmatch(content)
	if found == nil {
		t.Fatalf("no server in %s", kubeconfig)
	}
	u, err := url.Parse(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(20 * time.Second)
	for !check() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("it never happens that %s", what)
		}
	}
}

// A function that dies is started again, and gets alerts at its new address.
func deadFunctionComesBack(t *testing.T, s *served) {
	t.Helper()
	var victim functions.Status
	for _, f := range s.functions(t) {
		if f.Name == "delete-pod" {
			victim = f
		}
	}
	if err := syscall.Kill(victim.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.events(t, func(topic string, data []byte) bool {
		var f functions.Status
		return topic != "function" || json.Unmarshal(data, &f) != nil || f.Name != "delete-pod" || f.State != "ready" || f.PID == victim.PID
	})
	s.press(t, "send", `{"alert":"malware"}`)
	s.events(t, func(topic string, data []byte) bool {
		return topic != "alert" || !bytes.Contains(data, []byte(`"outcome":"applied"`)) || !bytes.Contains(data, []byte("deleted pod"))
	})
}

// press does what a button of the page does.
func (s *served) press(t *testing.T, path, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.page+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Origin", strings.TrimSuffix(s.page, "/"))
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusAccepted {
		t.Fatalf("%s answered %d %s", path, response.StatusCode, answer)
	}
}

// testCluster is the cluster of the test run, or one of our own.
func testCluster(t *testing.T, root string) *cluster.Cluster {
	t.Helper()
	var c *cluster.Cluster
	var err error
	if kubeconfig := os.Getenv("RIPOSTE_TEST_KUBECONFIG"); kubeconfig != "" {
		c, err = cluster.Attach(kubeconfig, cluster.BinaryPath(root))
	} else {
		c, err = cluster.Start(t.Context(), cluster.Options{Binary: cluster.BinaryPath(root), Nodes: 1})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() })
	return c
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: %s}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: app, image: "docker.io/library/alpine:3.20"}]}
`

// On the cluster of a user everything is a dry run, and nothing is created or changed.
func TestUsersCluster(t *testing.T) {
	root, binary := build(t)
	c := testCluster(t, root)
	namespace, err := c.CreateNamespace(t.Context(), "local")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.NewClient(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Apply(t.Context(), fmt.Appendf(nil, deployment, namespace)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watch, err := client.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var pod kube.Pod
	find := func(pods []kube.Pod) bool {
		for _, p := range pods {
			if p.Namespace == namespace && p.Ready && p.ContainerID != "" {
				pod = p
				return true
			}
		}
		return false
	}
	if err := watch.Until(ctx, find); err != nil {
		t.Fatal(err)
	}
	if pod.Owner != "web" || pod.OwnerKind != "Deployment" || pod.Workload() != namespace+"/web" {
		t.Errorf("the pod's owner is %s %s", pod.OwnerKind, pod.Owner)
	}

	t.Run("once", func(t *testing.T) {
		run := command(t, root, binary, "--once", "--target", pod.Key())
		run.Env = append(run.Env, "KUBECONFIG="+c.Kubeconfig)
		output, err := run.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		for _, want := range []string{"YOUR cluster", "dryrun", "Dry run: ", "Nothing was changed"} {
			if !strings.Contains(string(output), want) {
				t.Errorf("it does not say %q:\n%s", want, output)
			}
		}
	})
	t.Run("once without a target", func(t *testing.T) {
		run := command(t, root, binary, "--once")
		run.Env = append(run.Env, "KUBECONFIG="+c.Kubeconfig)
		if output, err := run.CombinedOutput(); err == nil || !strings.Contains(string(output), "--target") {
			t.Errorf("ended with %v:\n%s", err, output)
		}
	})
	t.Run("once at a pod that is not there", func(t *testing.T) {
		run := command(t, root, binary, "--once", "--target", namespace+"/no-such-pod")
		run.Env = append(run.Env, "KUBECONFIG="+c.Kubeconfig)
		output, err := run.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(output), "no-such-pod") {
			t.Errorf("ended with %v:\n%s", err, output)
		}
	})
	t.Run("page", func(t *testing.T) {
		run := command(t, root, binary)
		run.Env = append(run.Env, "KUBECONFIG="+c.Kubeconfig)
		s := serveNow(t, run)
		s.events(t, func(topic string, data []byte) bool {
			if topic != "run" {
				return true
			}
			var state runState
			if err := json.Unmarshal(data, &state); err != nil || state.OwnCluster || !state.DryRun || state.NoAttack == "" {
				t.Errorf("the page is told %s", data)
			}
			return false
		})
		s.press(t, "send", fmt.Sprintf(`{"alert":"api","pod":%q}`, pod.Key()))
		s.events(t, func(topic string, data []byte) bool {
			return topic != "alert" || !bytes.Contains(data, []byte(`"outcome":"dryrun"`))
		})
		if s.kubeconfig != "" {
			t.Error("it offers a kubeconfig of its own")
		}
	})

	after := kube.Pod{}
	for _, p := range watch.Pods() {
		if p.UID == pod.UID {
			after = p
		}
	}
	if !same(pod, after) {
		t.Errorf("the pod was changed: %+v", after)
	}
	if output, err := c.Kubectl(t.Context(), "get", "networkpolicies", "-n", namespace, "-o", "name"); err != nil || len(output) > 0 {
		t.Errorf("there are policies: %s %v", output, err)
	}
}

func TestKubeconfigThatCannotBeRead(t *testing.T) {
	root, binary := build(t)
	run := command(t, root, binary, "--once")
	run.Env = append(run.Env, "KUBECONFIG=/no/such/file")
	if output, err := run.CombinedOutput(); err == nil || !strings.Contains(string(output), "/no/such/file") {
		t.Errorf("ended with %v:\n%s", err, output)
	}
}
