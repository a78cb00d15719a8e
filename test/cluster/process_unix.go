//go:build unix && !linux

package cluster

import "syscall"

// childAttributes puts a child into a process group of its own, so that a Ctrl-C in
// the terminal does not reach it before Stop does. Only Linux can tie its life to
// its parent's.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
