package artifacttest

import "syscall"

// childAttributes has the kernel end the server when the test does not get to it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
