package functions

import "syscall"

// childAttributes keeps a Ctrl-C in the terminal from a function until it is stopped
// in order, and has the kernel kill it if this process dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
