package main

import "syscall"

// commandAttributes has the kernel ask the command to end when this process dies:
// its cluster is gone then.
func commandAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
