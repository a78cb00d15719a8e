package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/riposte-dev/riposte/test/cluster"
)

// errParentGone is why a cluster is stopped whose parent has closed the pipe.
var errParentGone = errors.New("standard input was closed")

// up keeps a cluster until it is told to stop.
func up(args []string) error {
	var s settings
	var copyTo string
	var untilStdinCloses bool
	flags := newFlags("up [flags]",
		"Starts a cluster, prints KUBECONFIG=PATH on standard output when it is ready, and\n"+
			"keeps it until SIGINT, SIGTERM or SIGHUP. Everything else goes to standard error.")
	s.add(flags)
	flags.StringVar(&copyTo, "kubeconfig", "", "write the kubeconfig to this new `file` too, until the cluster stops")
	flags.BoolVar(&untilStdinCloses, "until-stdin-closes", false, "stop when standard input ends, so that the cluster does not outlive its parent")
	if err := s.parse(flags, args, false); err != nil {
		return err
	}
	if copyTo != "" {
		if _, err := os.Lstat(copyTo); err == nil {
			return badUsage("flag --kubeconfig is %q, which exists; name a new file, this command removes it at the end", copyTo)
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if untilStdinCloses {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel(errParentGone)
		}()
	}
	c, err := startCluster(ctx, &s)
	if err != nil {
		// To be told to stop before the start is over is no failure.
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	return errors.Join(hold(ctx, c, s.root, copyTo), c.Stop())
}

func startCluster(ctx context.Context, s *settings) (*cluster.Cluster, error) {
	binary, err := cluster.Build(ctx, s.root, os.Stderr)
	if err != nil {
		return nil, err
	}
	s.options.Binary = binary
	s.options.Log = os.Stderr
	return cluster.Start(ctx, s.options)
}

// hold announces the cluster and waits for its end.
func hold(ctx context.Context, c *cluster.Cluster, root, copyTo string) error {
	path := c.Kubeconfig
	if copyTo != "" {
		absolute, err := filepath.Abs(copyTo)
		if err != nil {
			return fmt.Errorf("write the kubeconfig to %q: %w", copyTo, err)
		}
		if err := copyKubeconfig(absolute, path); err != nil {
			return err
		}
		defer func() { _ = os.Remove(absolute) }()
		path = absolute
	}
	fmt.Fprintf(os.Stderr, `
The cluster is ready. In another terminal:

  export KUBECONFIG=%s
  %s kubectl get pods -A

or any other kubectl. Stop it with Ctrl-C.

`, path, cluster.BinaryPath(root))
	if _, err := fmt.Printf("KUBECONFIG=%s\n", path); err != nil {
		return fmt.Errorf("announce the cluster: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-c.Failed():
		return c.Err()
	}
}

// copyKubeconfig never overwrites: the path may be that of the user's own clusters.
func copyKubeconfig(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write the kubeconfig: %w", err)
	}
	if _, err := file.Write(content); err != nil {
		return errors.Join(fmt.Errorf("write the kubeconfig: %w", err), file.Close(), os.Remove(to))
	}
	return file.Close()
}
