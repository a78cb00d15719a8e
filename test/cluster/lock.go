//go:build unix

package cluster

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// errLocked says that another process holds a lock.
var errLocked = errors.New("locked by another process")

// tryLock takes the lock of the file at path, which it makes if need be. The kernel
// frees it when the process ends, however it ends.
func tryLock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}
