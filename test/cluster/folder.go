package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// folderPattern is the name of temporary folders.
	folderPattern = "riposte-cluster-*"
	// lockName is the file that the owner of a temporary folder holds locked.
	lockName = "owner.lock"
	// staleAfter spares folders whose owner may be about to lock them.
	staleAfter = time.Minute
)

// folder holds all files of one cluster.
type folder struct {
	path      string
	temporary bool
	unlock    func()
}

// newFolder prepares the folder at path, or a temporary one where path is empty. It
// first removes the temporary folders of owners who were killed: each holds more
// than 64 MB.
func newFolder(path string) (*folder, error) {
	f := &folder{path: path, unlock: func() {}}
	if path == "" {
		removeStale(os.TempDir())
		temporary, err := os.MkdirTemp("", folderPattern)
		if err != nil {
			return nil, fmt.Errorf("make the cluster's folder: %w", err)
		}
		f.path, f.temporary = temporary, true
		if f.unlock, err = tryLock(f.join(lockName)); err != nil {
			return nil, errors.Join(fmt.Errorf("make the cluster's folder: %w", err), os.RemoveAll(temporary))
		}
	} else if err := f.claim(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(f.join("logs"), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("make the cluster's folder: %w", err), f.remove())
	}
	return f, nil
}

// claim makes the folder that the caller has chosen.
func (f *folder) claim() error {
	absolute, err := filepath.Abs(f.path)
	if err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	f.path = absolute
	entries, err := os.ReadDir(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("make the cluster's folder: Dir is %s, which is not empty; name an empty folder or a new one", f.path)
	}
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("make the cluster's folder: %w", err)
	}
	return nil
}

func (f *folder) join(names ...string) string {
	return filepath.Join(append([]string{f.path}, names...)...)
}

// remove deletes a temporary folder.
func (f *folder) remove() error {
	defer f.unlock()
	if !f.temporary {
		return nil
	}
	if err := os.RemoveAll(f.path); err != nil {
		return fmt.Errorf("remove the cluster's folder: %w", err)
	}
	return nil
}

// removeStale deletes the temporary folders that nobody owns any more. Whatever it
// cannot delete is not its business: somebody else's, or gone meanwhile.
func removeStale(parent string) {
	names, err := filepath.Glob(filepath.Join(parent, folderPattern))
	if err != nil {
		return
	}
	for _, name := range names {
		lock := filepath.Join(name, lockName)
		info, err := os.Lstat(lock)
		if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()) < staleAfter {
			continue
		}
		unlock, err := tryLock(lock)
		if err != nil {
			continue
		}
		_ = os.RemoveAll(name)
		unlock()
	}
}
