//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// Stages are the arguments with which this program calls itself.
const (
	StageProbe  = "stage-probe"
	StageInit   = "stage-init"
	StageInside = "stage-inside"
)

const namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC

// Run runs the command on a node of its own and returns the command's status. An error says
// that the node has failed.
func Run(ctx context.Context, s Settings, stdout, stderr io.Writer) (status int, err error) {
	if err := s.check(); err != nil {
		return 1, err
	}
	group, err := newCgroup(s.Root)
	if err != nil {
		return 1, fmt.Errorf("make the cgroup of the node: %w", err)
	}
	defer func() { err = errors.Join(err, group.remove(ctx)) }()
	s.Cgroup = group.name
	text, err := s.encode()
	if err != nil {
		return 1, err
	}
	command := self(ctx, StageInit, text)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, stdout, stderr
	return exitStatus(ctx, runLocked(command))
}

// self is this program with other arguments, in new namespaces.
func self(ctx context.Context, stage, settings string) *exec.Cmd {
	command := exec.CommandContext(ctx, "/proc/self/exe", stage, settings)
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: syscall.SIGKILL}
	return command
}

// runLocked runs a command with a Pdeathsig, which the kernel sends when the thread that started
// it ends.
func runLocked(command *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return command.Run()
}

// exitStatus tells a command that has run and failed from one that could not run.
func exitStatus(ctx context.Context, err error) (int, error) {
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 1, context.Cause(ctx)
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	return 1, err
}
