package stage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// sync makes the folder hold these files and no others. A file that is the same already is not written, so that its time
// stays. The folder .func, where the func CLI builds, is left alone. Links are not followed: what they point to is not ours.
func sync(folder string, want files) (changed bool, err error) {
	if info, err := os.Lstat(folder); err == nil && !info.IsDir() {
		if err := os.Remove(folder); err != nil {
			return false, err
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // Sources are for everybody.
		return false, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return false, err
	}
	changed, err = want.sync(root)
	return changed, errors.Join(err, root.Close())
}

func (want files) sync(root *os.Root) (changed bool, err error) {
	var folders []string
	err = fs.WalkDir(root.FS(), ".", func(file string, entry fs.DirEntry, err error) error {
		_, wanted := want[file]
		switch {
		case err != nil:
			return err
		case file == ".":
			return nil
		case entry.IsDir() && file == ".func":
			return fs.SkipDir
		case entry.IsDir():
			folders = append(folders, file)
			return nil
		case wanted && entry.Type().IsRegular():
			return nil
		}
		changed = true
		return root.Remove(filepath.FromSlash(file))
	})
	if err != nil {
		return changed, err
	}
	// The deepest first. One that has something in it stays.
	for _, f := range slices.Backward(folders) {
		if err := root.Remove(filepath.FromSlash(f)); err == nil {
			changed = true
		}
	}
	for name, content := range want {
		file := filepath.FromSlash(name)
		if old, err := root.ReadFile(file); err == nil && bytes.Equal(old, content) {
			continue
		}
		changed = true
		if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o755); err != nil {
			return changed, err
		}
		// Another file, not other content: the old one may be read-only, or a build may be reading it.
		if err := root.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return changed, err
		}
		if err := root.WriteFile(file, content, 0o644); err != nil {
			return changed, err
		}
	}
	return changed, nil
}
