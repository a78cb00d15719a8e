package triggers

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// file is a manifest's name in the folder and what its file is like.
type file struct {
	name string
	info fs.FileInfo
}

// source is the content of a manifest file.
type source struct {
	name    string
	content []byte
}

func openDir(dir string) (fs.FS, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("read trigger manifests: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("read trigger manifests: %s is not a folder", dir)
	}
	return os.DirFS(dir), nil
}

// list finds the manifests in fsys, in the order of their paths. It follows links,
// to files and to folders: in a mounted ConfigMap every key is one, and so is the
// first folder of every key that has a path.
func list(fsys fs.FS) ([]file, error) {
	root, err := fs.Stat(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read trigger manifests: %w", err)
	}
	l := lister{fsys: fsys}
	if err := l.folder(".", []fs.FileInfo{root}); err != nil {
		return nil, fmt.Errorf("read trigger manifests: %w", err)
	}
	return l.files, nil
}

type lister struct {
	fsys  fs.FS
	files []file
}

// folder lists one folder; above are the folders it is in and itself.
func (l *lister) folder(dir string, above []fs.FileInfo) error {
	entries, err := fs.ReadDir(l.fsys, dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, link := path.Join(dir, entry.Name()), entry.Type()&fs.ModeSymlink != 0
		if skip(name) || (!link && !entry.IsDir() && !manifest(name)) {
			continue
		}
		info, err := fs.Stat(l.fsys, name)
		switch {
		case err != nil:
			return err // A link to nowhere too: it may be half of an update.
		case info.IsDir():
			if within(info, above) {
				continue // A link to a folder that is being read already.
			}
			if err := l.folder(name, append(slices.Clip(above), info)); err != nil {
				return err
			}
		case !manifest(name):
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is not a file but %s", name, info.Mode().Type())
		default:
			l.files = append(l.files, file{name: name, info: info})
		}
	}
	return nil
}

func within(folder fs.FileInfo, above []fs.FileInfo) bool {
	for _, a := range above {
		if os.SameFile(folder, a) {
			return true
		}
	}
	return false
}

func manifest(name string) bool {
	ext := path.Ext(name)
	return ext == ".yaml" || ext == ".yml"
}

// skip says which names hold no manifests: samples beside them, kustomize's own
// file, and the link folders (..data) by which a mounted ConfigMap is updated.
func skip(name string) bool {
	base := path.Base(name)
	return base == "testdata" || base == "samples" || base == "kustomization.yaml" || base == "kustomization.yml" ||
		(base != "." && strings.HasPrefix(base, "."))
}

func read(fsys fs.FS, files []file) ([]source, error) {
	sources := make([]source, 0, len(files))
	for _, f := range files {
		content, err := fs.ReadFile(fsys, f.name)
		if err != nil {
			return nil, fmt.Errorf("read trigger manifests: %w", err)
		}
		sources = append(sources, source{name: f.name, content: content})
	}
	return sources, nil
}
