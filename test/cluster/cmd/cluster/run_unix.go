//go:build unix && !linux

package main

import "syscall"

// commandAttributes has nothing to ask for: only Linux can tie the command's life to
// this process's.
func commandAttributes() *syscall.SysProcAttr { return nil }
