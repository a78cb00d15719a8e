// Command generate writes the generated manifests. With --check it writes nothing and exits 1 if anything is out of date.
//
// Run it at the root of the repository.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/riposte-dev/riposte/deploy/generate"
)

func main() {
	check := len(os.Args) == 2 && os.Args[1] == "--check"
	if len(os.Args) > 1 && !check {
		fmt.Fprintf(os.Stderr, "generate: argument is %q: want --check or none\n", os.Args[1:])
		os.Exit(2)
	}
	stale, err := run(".", check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
	for _, file := range stale {
		fmt.Fprintln(os.Stderr, "generate:", file, "is out of date: run make generate")
	}
	if len(stale) > 0 {
		os.Exit(1)
	}
}

// run writes what differs and removes what is not made any more, or with check lists it.
func run(root string, check bool) (stale []string, err error) {
	files, err := generate.All(root)
	if err != nil {
		return nil, err
	}
	for name, content := range files {
		file := filepath.Join(root, filepath.FromSlash(name))
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
			continue
		}
		if check {
			stale = append(stale, name)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // Manifests are for everybody.
			return nil, err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil { //nolint:gosec // Manifests are for everybody.
			return nil, err
		}
	}
	for _, folder := range generate.Folders() {
		present, err := filepath.Glob(filepath.Join(root, folder, "*"))
		if err != nil {
			return nil, err
		}
		for _, file := range present {
			name := path.Join(folder, filepath.Base(file))
			if _, ok := files[name]; ok {
				continue
			}
			if check {
				stale = append(stale, name)
			} else if err := os.Remove(file); err != nil {
				return nil, err
			}
		}
	}
	slices.Sort(stale)
	return stale, nil
}
