package cluster

import "syscall"

// childAttributes puts a child into a process group of its own, so that a Ctrl-C in
// the terminal does not reach it before Stop does, and has the kernel kill it when
// the thread that started it ends. See launch for that thread.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
