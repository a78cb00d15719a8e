//go:build linux

package node

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Init is process 1 of the node. It starts Inside and returns its status. Processes whose parents
// have ended, such as the shims of containers, become its children: it waits for them.
func Init(settings string) (status int, err error) {
	if err := privateMounts(); err != nil {
		return 1, err
	}
	child, err := syscall.ForkExec("/proc/self/exe", []string{"e2e-node", StageInside, settings}, &syscall.ProcAttr{
		Env:   os.Environ(), //nolint:forbidigo // The environment of the command is its caller's.
		Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		return 1, fmt.Errorf("start the node: %w", err)
	}
	for {
		var ended syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ended, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 1, fmt.Errorf("wait for the node: %w", err)
		case pid == child && ended.Exited():
			return ended.ExitStatus(), nil
		case pid == child:
			return 1, fmt.Errorf("the node was ended by the signal %s", ended.Signal())
		}
	}
}

// privateMounts lets no mount out of the namespace, and shows its processes in /proc.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}
