package stage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// sync makes the folder hold these files and no others. A file that is the same already is not written, so that its time
// stays. The folder .func, where the func CLI builds, is left alone.
func sync(folder string, want files) (changed bool, err error) {
	var folders []string
	err = filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case file == folder:
			return nil
		case entry.IsDir() && file == filepath.Join(folder, ".func"):
			return filepath.SkipDir
		case entry.IsDir():
			folders = append(folders, file)
			return nil
		}
		below, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		if _, ok := want[filepath.ToSlash(below)]; ok && entry.Type().IsRegular() {
			return nil
		}
		changed = true
		return os.Remove(file) //nolint:gosec // The folder is ours.
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for name, content := range want {
		file := filepath.Join(folder, filepath.FromSlash(name))
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
			continue
		}
		changed = true
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // Sources are for everybody.
			return false, err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // Sources are for everybody.
			return false, err
		}
	}
	// The deepest first. One that is not empty stays.
	for _, f := range slices.Backward(folders) {
		_ = os.Remove(f)
	}
	return changed, nil
}
