//go:build e2enode

package e2enode_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/cluster"
	"github.com/riposte-dev/riposte/test/e2e-node/node"
)

// onInner is what runs on the node that is killed: a pod, until then.
const onInner = `
kubectl() { "$0" kubectl --kubeconfig="$RIPOSTE_TEST_KUBECONFIG" "$@" >&2; }
kubectl run peer --image="$1" --image-pull-policy=Never --command -- "$2" serve
kubectl wait pod/peer --for=condition=Ready --timeout=60s
echo the pod runs
exec sleep infinity`

// TestKilledNodeLeavesNothing kills a node that runs within this one, as kill -9 does from outside.
func TestKilledNodeLeavesNothing(t *testing.T) {
	t.Parallel()
	outer := innerNode(t, "/bin/sh", "-ec", onInner, cluster.BinaryPath(testkit.Root(t)), node.Image, node.Program)
	var complaints strings.Builder
	outer.Stderr = &complaints
	outer.WaitDelay = 10 * time.Second // Processes that are left would keep it open.
	said, err := outer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := outer.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		t.Fatalf("the node said %q and ended (%v):\n%s", line, ignoreStatus(outer.Wait()), &complaints)
	}
	var all []process
	testkit.Eventually(t, "the node has all its processes", func(context.Context) error {
		all = descendants(t, outer.Process.Pid)
		for _, part := range []string{
			"containerd --config", "containerd-shim", "kubelet --config", "kube-proxy --config", "kube-apiserver", "etcd", node.Program + " pause", node.Program + " serve",
		} {
			if !slices.ContainsFunc(all, func(p process) bool { return strings.Contains(p.command, part) }) {
				return fmt.Errorf("%s is not among its %d processes", part, len(all))
			}
		}
		return nil
	})

	if err := errors.Join(outer.Process.Kill(), ignoreStatus(outer.Wait())); err != nil {
		t.Fatal(err)
	}

	testkit.Eventually(t, "the node's processes are gone", func(context.Context) error {
		for _, p := range all {
			if now, ok := readProcess(p.pid); ok && now == p {
				return fmt.Errorf("process %d is there: %s", p.pid, p.command)
			}
		}
		return nil
	})

	groups := cgroupOf(t, all)
	if len(groups) == 0 {
		t.Error("the killed node has left no cgroups: this test looks in the wrong place")
	}
	if output, err := innerNode(t, "/bin/true").CombinedOutput(); err != nil {
		t.Fatalf("run the next node: %v\n%s", err, output)
	}
	if groups = cgroupOf(t, all); len(groups) > 0 {
		t.Errorf("the next node has not removed the cgroups %v", groups)
	}
}

// innerNode runs a command on a node within this one.
func innerNode(t *testing.T, command ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(testkit.Root(t), "dist", "bin", "e2e-node"), append([]string{"run"}, command...)...)
	c.Dir = testkit.Root(t)
	return c
}

// ignoreStatus drops the error of a program that has run and failed, or was killed.
func ignoreStatus(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// cgroupOf are the folders of the node's cgroup, whose name its processes were told.
func cgroupOf(t *testing.T, all []process) []string {
	t.Helper()
	for _, p := range all {
		if m := regexp.MustCompile(`"Cgroup":"([^"]+)"`).FindStringSubmatch(p.command); m != nil {
			var found []string
			for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
				folders, err := filepath.Glob(pattern + m[1])
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, folders...)
			}
			return found
		}
	}
	t.Fatalf("no process knows the cgroup: %v", all)
	return nil
}
