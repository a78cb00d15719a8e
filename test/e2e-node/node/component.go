//go:build linux

package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/test/e2e-node/packages"
)

// logs is where the node's own logs are while it runs.
const logs = state + "/logs"

// startTime bounds each wait of the start, which takes seconds on an idle machine.
const startTime = 2 * time.Minute

// start starts a part of the node, which runs until the node ends. fail is called when it ends before.
func start(ctx context.Context, s Settings, fail context.CancelCauseFunc, name, program string, arguments ...string) error {
	log, err := os.Create(filepath.Join(logs, name+".log"))
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	command := exec.CommandContext(ctx, program, arguments...)
	command.Stdout, command.Stderr, command.Dir = log, log, state
	command.Env = environment(s)
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = command.Wait()
		if ctx.Err() == nil {
			fail(fmt.Errorf("%s has ended (%s); the last lines of its log:\n%s", name, command.ProcessState, tail(log.Name())))
		}
	}()
	return nil
}

func environment(s Settings) []string {
	return append(packages.Environment(s.Packages), "HOME="+state, "TMPDIR="+state+"/tmp")
}

// tail is the end of a log.
func tail(log string) string {
	content, err := os.ReadFile(log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}

// run runs a program that ends by itself.
func run(ctx context.Context, s Settings, stdin []byte, program string, arguments ...string) error {
	command := exec.CommandContext(ctx, program, arguments...)
	command.Env = environment(s)
	if stdin != nil {
		command.Stdin = bytes.NewReader(stdin)
	}
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(program), err, bytes.TrimSpace(output))
	}
	return nil
}

// await waits until check finds no fault.
func await(ctx context.Context, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTime, fmt.Errorf("not within %s", startTime))
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last seen: %w", what, context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}
