//go:build linux

// Command e2e-node runs tests, or any command, on a Kubernetes node of their own with real
// containers and enforced NetworkPolicies. See package node.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/riposte-dev/riposte/test/cluster"
	"github.com/riposte-dev/riposte/test/e2e-node/node"
	"github.com/riposte-dev/riposte/test/e2e-node/packages"
)

const usage = `A real Kubernetes node on this machine, in namespaces of its own. It needs root.

Usage:

  e2e-node test BINARY ARGS   run the tests of a test binary on it, and count them
  e2e-node run CMD ARGS       run a command on it, a shell for example, which finds
                              the cluster by RIPOSTE_TEST_KUBECONFIG

Exit status: that of the command; 1 when the node has failed; 2 for bad usage. Where
this machine has not what a node needs, it says so by name, counts the tests as
skipped and exits with 0.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	status, err := dispatch(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e-node:", err)
	}
	os.Exit(status)
}

func dispatch(ctx context.Context, args []string) (int, error) {
	if len(args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	switch stage, rest := args[0], args[1:]; stage {
	case "test":
		return test(ctx, rest)
	case "run":
		status, missing, err := run(ctx, rest, os.Stdout)
		if missing != nil {
			return 0, fmt.Errorf("SKIPPED: %w", missing)
		}
		return status, err
	case node.StageProbe:
		return node.Probe(ctx, rest[0])
	case node.StageInit:
		return node.Init(rest[0])
	case node.StageInside:
		return node.Inside(ctx, rest[0], os.Stderr)
	default:
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
}

// run runs a command on a node, unless something is missing for that.
func run(ctx context.Context, command []string, stdout io.Writer) (status int, missing *node.Missing, err error) {
	s, err := prepare(ctx, command)
	if errors.As(err, &missing) {
		return 0, missing, nil
	}
	if err != nil {
		return 1, nil, err
	}
	status, err = node.Run(ctx, s, stdout, os.Stderr)
	return status, nil, err
}

// prepare looks whether a node can run here before it builds one: that takes minutes.
func prepare(ctx context.Context, command []string) (node.Settings, error) {
	if err := node.Root(); err != nil {
		return node.Settings{}, err
	}
	root, err := cluster.Root(".")
	if err != nil {
		return node.Settings{}, err
	}
	program, err := exec.LookPath(command[0])
	if err == nil {
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return node.Settings{}, fmt.Errorf("find the command: %w", err)
	}
	dist := filepath.Join(root, "dist")
	s := node.Settings{
		Root: root, Packages: filepath.Join(dist, "tools", "node-packages"), Peer: filepath.Join(dist, "bin", "peer"),
		Logs: filepath.Join(dist, "e2e-node", "logs"), Command: append([]string{program}, command[1:]...),
	}
	if err := packages.Fetch(ctx, s.Packages, os.Stderr); err != nil {
		return s, &node.Missing{What: "Debian packages", Err: err}
	}
	if err := node.Check(ctx, s.Packages); err != nil {
		return s, err
	}
	if s.ControlPlane, err = cluster.Build(ctx, root, os.Stderr); err != nil {
		return s, err
	}
	s.Components, err = cluster.BuildNode(ctx, root, os.Stderr)
	return s, err
}
