package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// kubeconfigVariable tells a program where its test cluster is.
const kubeconfigVariable = "RIPOSTE_TEST_KUBECONFIG"

// run runs a command with a cluster of its own.
func run(args []string) error {
	var s settings
	flags := newFlags("run [flags] -- CMD ARGS",
		"Starts a cluster, runs CMD with "+kubeconfigVariable+" set to the path of a\n"+
			"cluster-admin kubeconfig, stops the cluster, and exits with the status of CMD\n"+
			"(128 and the signal's number where a signal has ended it).")
	s.add(flags)
	if err := s.parse(flags, args, true); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return badUsage("no command to run; give it after --")
	}
	path, err := exec.LookPath(flags.Arg(0))
	if err != nil {
		return badUsage("%v", err)
	}

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	starting := make(chan struct{})
	interrupted := make(chan struct{})
	go func() {
		defer close(interrupted)
		select {
		case received := <-signals:
			cancel(fmt.Errorf("interrupted by the signal %q", received))
		case <-starting:
		}
	}()
	c, err := startCluster(ctx, &s)
	close(starting)
	<-interrupted
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), c.Stop())
	}

	command := exec.CommandContext(ctx, path, flags.Args()[1:]...)
	command.Args[0] = flags.Arg(0)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.Env = append(os.Environ(), kubeconfigVariable+"="+c.Kubeconfig)
	command.SysProcAttr = commandAttributes()
	result := runCommand(command, signals)
	if failure := c.Err(); failure != nil {
		fmt.Fprintln(os.Stderr, "cluster: the cluster failed while the command ran:", failure)
	}
	if err := c.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
	}
	return result
}

// runCommand runs the command, passes signals on to it, and returns its status.
func runCommand(command *exec.Cmd, signals <-chan os.Signal) error {
	// See commandAttributes: the thread that starts the command must outlive it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := command.Start(); err != nil {
		return fmt.Errorf("run %s: %w", command.Args[0], err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go forward(command.Process, signals, ended)
	err := command.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitStatus(128 + int(status.Signal()))
		}
		return exitStatus(exit.ExitCode())
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", command.Args[0], err)
	}
	return nil
}

// forward passes signals on. The command is in the same process group, so it gets
// what is typed at the terminal by itself; a second copy would make many programs
// give up their clean end.
func forward(process *os.Process, signals <-chan os.Signal, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case received := <-signals:
			typed := received == os.Interrupt || received == syscall.SIGQUIT
			if typed && atTerminal() {
				continue
			}
			_ = process.Signal(received)
		}
	}
}

// atTerminal tells whether this process is in the group that gets the terminal's
// signals.
func atTerminal() bool {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer func() { _ = terminal.Close() }()
	group, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
