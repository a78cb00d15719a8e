//go:build !linux

package functions

import "syscall"

// childAttributes keeps a Ctrl-C in the terminal from a function until it is stopped
// in order. Where this process is killed the functions stay: only Linux can tell them.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
