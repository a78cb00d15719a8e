//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/test/cluster"
	"github.com/riposte-dev/riposte/test/e2e-node/packages"
	"github.com/riposte-dev/riposte/test/e2e-node/policy"
)

// Inside starts the node and runs the command on it.
func Inside(ctx context.Context, settings string, progress io.Writer) (status int, err error) {
	s, err := Decode(settings)
	if err != nil {
		return 1, err
	}
	defer func() {
		if err != nil || status != 0 {
			err = errors.Join(err, keepLogs(s, progress))
		}
	}()
	began := time.Now()
	if err := prepareHost(); err != nil {
		return 1, err
	}
	if err := createCgroup(s.Cgroup); err != nil {
		return 1, fmt.Errorf("make the cgroup of the node: %w", err)
	}
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return 1, fmt.Errorf("make the folder for logs: %w", err)
	}
	// The end of any part is the end of all.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	c, err := startAll(ctx, s, fail)
	if err != nil {
		return 1, because(ctx, err)
	}
	_, _ = fmt.Fprintf(progress, "e2e-node: the node is ready after %.1f s\n", time.Since(began).Seconds())
	status, err = runCommand(ctx, s, c.Kubeconfig)
	return status, because(ctx, err)
}

// because adds why the context has ended to what that has caused.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return errors.Join(cause, err)
	}
	return err
}

// startAll starts the control plane and, beside it, containerd, and then what needs both.
func startAll(ctx context.Context, s Settings, fail context.CancelCauseFunc) (*cluster.Cluster, error) {
	var containers error
	var started sync.WaitGroup
	started.Go(func() { containers = startContainerd(ctx, s, fail) })
	c, err := cluster.Start(ctx, cluster.Options{Binary: s.ControlPlane, Dir: filepath.Join(state, "cluster"), RealNodes: true})
	started.Wait()
	if err := errors.Join(err, containers); err != nil {
		return nil, err
	}
	go func() {
		select {
		case <-ctx.Done():
		case <-c.Failed():
			fail(c.Err())
		}
	}()
	if err := startEnforcer(ctx, s, c, fail); err != nil {
		return nil, err
	}
	if err := startProxy(ctx, s, c, fail); err != nil {
		return nil, err
	}
	return c, startKubelet(ctx, s, c, fail)
}

// startEnforcer starts to enforce NetworkPolicies, and waits until the first rules are in force.
func startEnforcer(ctx context.Context, s Settings, c *cluster.Cluster, fail context.CancelCauseFunc) error {
	nft := packages.Program(s.Packages, "usr/sbin/nft")
	inForce := make(chan struct{})
	first := sync.OnceFunc(func() { close(inForce) })
	go func() {
		err := policy.Enforce(ctx, c.Config(), func(ctx context.Context, ruleset string) error {
			if err := run(ctx, s, []byte(ruleset), nft, "-f", "-"); err != nil {
				return fmt.Errorf("%w; the rules are:\n%s", err, ruleset)
			}
			first()
			return nil
		})
		if err != nil {
			fail(err)
		}
	}()
	select {
	case <-inForce:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// runCommand runs the command, which finds the cluster as any test does.
func runCommand(ctx context.Context, s Settings, kubeconfig string) (int, error) {
	command := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...)
	//nolint:forbidigo // The environment of the command is its caller's.
	command.Env = append(os.Environ(), "RIPOSTE_TEST_KUBECONFIG="+kubeconfig, "RIPOSTE_ROOT="+s.Root, "TMPDIR="+state+"/tmp")
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	return exitStatus(ctx, command.Run())
}

// keepLogs copies the logs to where they outlive the node.
func keepLogs(s Settings, progress io.Writer) error {
	for _, from := range []string{logs, filepath.Join(state, "cluster", "logs")} {
		files, err := os.ReadDir(from)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("keep the logs: %w", err)
		}
		if err := os.MkdirAll(s.Logs, 0o700); err != nil {
			return fmt.Errorf("keep the logs: %w", err)
		}
		for _, f := range files {
			content, err := os.ReadFile(filepath.Join(from, f.Name()))
			if err == nil {
				err = os.WriteFile(filepath.Join(s.Logs, f.Name()), content, 0o600) //nolint:gosec // The settings are this program's own.
			}
			if err != nil {
				return fmt.Errorf("keep the logs: %w", err)
			}
		}
	}
	_, _ = fmt.Fprintf(progress, "e2e-node: the logs of the node are in %s\n", s.Logs)
	return nil
}
