// Package testkit is what the tests of functions share: the captures, a real Kubernetes API
// server with objects to act on, functions run as their users run them (through their HTTP
// handler, under their own ServiceAccount), faults between a function and the API server, and
// the properties every function owes.
//
// The tests of a function on Kubernetes begin with
//
//	func TestMain(m *testing.M) { os.Exit(testkit.Main(m, "delete-pod")) }
//	func TestConform(t *testing.T) { testkit.ConformOnCluster(t, "delete-pod", New, nil) }
//	func TestRBAC(t *testing.T) { testkit.CheckRBAC(t, "delete-pod") }
//
// The package imports none of the packages under test, so that those can import it.
package testkit

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/riposte-dev/riposte/shared/config"
)

// kubeconfigVariable names the cluster to test on, where there is one already.
const kubeconfigVariable = "RIPOSTE_TEST_KUBECONFIG"

// Env is the cluster that the tests of a process share, with the rights of cluster-admin. Each test
// works in namespaces and on nodes of its own.
type Env struct {
	// Kubeconfig is the path of the cluster-admin's kubeconfig.
	Kubeconfig string
	// Config is the same for clients. It is not to be changed.
	Config *rest.Config

	client    *rest.RESTClient
	transport http.RoundTripper // to the API server, as nobody
	root      string
	process   *clusterProcess // nil where somebody else runs the cluster

	mu       sync.Mutex
	accounts map[string]*Account
	used     map[string]map[Permission]bool
	nodes    []*corev1.Node
}

// only is the process's cluster: to start one for each test would take seconds each.
var only struct { //nolint:gochecknoglobals // A test binary has no other place to keep it.
	once sync.Once
	env  *Env
	err  error
}

// Cluster is the cluster named by RIPOSTE_TEST_KUBECONFIG, or else one that is started for this process
// and ends with it.
func Cluster(tb testing.TB) *Env {
	tb.Helper()
	root := Root(tb)
	only.once.Do(func() { only.env, only.err = newEnv(tb.Context(), root) })
	if only.err != nil {
		tb.Fatalf("get a cluster: %v", only.err)
	}
	return only.env
}

// Main is a package's TestMain: it runs the tests, demands that they used every permission which the
// rbac.yaml of these functions grants, and stops the cluster. It returns the status to exit with.
func Main(m *testing.M, functions ...string) int {
	flag.Parse()
	// Most of a test's time is waiting for controllers, so more tests than cores run at once.
	if f := flag.Lookup("test.parallel"); f != nil && f.Value.String() == f.DefValue {
		_ = f.Value.Set("12")
	}
	status := m.Run()
	env := only.env
	if env == nil {
		return status
	}
	if status == 0 && complete() {
		for _, function := range functions {
			if err := env.checkUsed(function); err != nil {
				fmt.Fprintln(os.Stderr, "FAIL:", err)
				status = 1
			}
		}
	}
	if err := errors.Join(env.removeNodes(), env.process.stop()); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		status = 1
	}
	return status
}

// removeNodes removes the nodes of the tests; their cluster may go on for others.
func (e *Env) removeNodes() error {
	if e.process != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for _, n := range e.nodes {
		ctx := context.Background() //nolint:forbidigo // The tests, which have contexts, are over.
		if err := send(ctx, e.client.Delete().AbsPath(path(n, n.Name)...), metav1.DeleteOptions{}, nil); !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// complete says whether all tests of the package were asked for.
func complete() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

func newEnv(ctx context.Context, root string) (*Env, error) {
	e := &Env{Kubeconfig: config.Environ()[kubeconfigVariable], root: root, accounts: map[string]*Account{}, used: map[string]map[Permission]bool{}}
	if e.Kubeconfig == "" {
		// The cluster outlives the test that is the first to need it.
		process, err := startCluster(context.WithoutCancel(ctx), root)
		if err != nil {
			return nil, err
		}
		e.process, e.Kubeconfig = process, process.kubeconfig
	}
	var err error
	if e.Config, err = clientcmd.BuildConfigFromFlags("", e.Kubeconfig); err != nil {
		return nil, fmt.Errorf("read the kubeconfig of the test cluster: %w", err)
	}
	e.Config.QPS = -1
	if e.client, err = newRESTClient(e.Config); err != nil {
		return nil, err
	}
	if e.transport, err = rest.TransportFor(rest.AnonymousClientConfig(e.Config)); err != nil {
		return nil, fmt.Errorf("reach the API server: %w", err)
	}
	return e, nil
}

// clusterProcess is a cluster that ends when this process does, because then its standard input does.
type clusterProcess struct {
	kubeconfig string
	command    *exec.Cmd
	stdin      io.Closer
}

// startCluster builds the command that runs test clusters and starts one.
func startCluster(ctx context.Context, root string) (*clusterProcess, error) {
	// The test binaries of several packages may do this at once: each builds its own and puts it in place in one step.
	own := fmt.Sprintf("cluster.%d", os.Getpid())
	fresh, err := build(ctx, root, own, "./test/cluster/cmd/cluster")
	if err != nil {
		return nil, err
	}
	binary := strings.TrimSuffix(fresh, own) + "cluster"
	if err := os.Rename(fresh, binary); err != nil {
		return nil, fmt.Errorf("build cluster: %w", err)
	}
	command := exec.CommandContext(ctx, binary, "up", "--until-stdin-closes", "--root", root)
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	stderr := &strings.Builder{}
	command.Stderr = stderr
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	kubeconfig, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "KUBECONFIG=")
	if err != nil || !ok {
		err = errors.Join(err, stdin.Close(), command.Wait())
		return nil, fmt.Errorf("start a cluster: it said %q: %w\n%s", line, err, stderr)
	}
	return &clusterProcess{kubeconfig: kubeconfig, command: command, stdin: stdin}, nil
}

func (p *clusterProcess) stop() error {
	if p == nil {
		return nil
	}
	if err := errors.Join(p.stdin.Close(), p.command.Wait()); err != nil {
		return fmt.Errorf("stop the cluster: %w", err)
	}
	return nil
}

// build builds a program of this checkout into dist/bin, as make does.
func build(ctx context.Context, root, name, pkg string, flags ...string) (string, error) {
	path := filepath.Join(root, "dist", "bin", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // dist holds nothing secret.
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	command := exec.CommandContext(ctx, "go", append(append([]string{"build"}, flags...), "-o", path, pkg)...)
	command.Dir = root
	command.Env = append(command.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", name, err, output)
	}
	return path, nil
}

// Binary builds a function as make does and returns its path.
func Binary(tb testing.TB, function string) string {
	tb.Helper()
	path, err := build(tb.Context(), Root(tb), function, "./functions/"+function+"/cmd", "-trimpath", "-ldflags=-s -w", "-tags=lambda.norpc")
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
