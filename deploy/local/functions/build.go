// Package functions builds the functions of the checkout and runs each as a process
// of its own, with its own settings and its own right in the cluster, on an address
// of this machine. A function that ends is started again.
package functions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// List returns the names of the functions of the checkout at root: the folders under
// functions/ that have a main.
func List(root string) ([]string, error) {
	mains, err := filepath.Glob(filepath.Join(root, "functions", "*", "cmd", "main.go"))
	if err != nil {
		return nil, fmt.Errorf("list functions: %w", err)
	}
	names := make([]string, 0, len(mains))
	for _, file := range mains {
		names = append(names, filepath.Base(filepath.Dir(filepath.Dir(file))))
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("list functions: no functions/NAME/cmd/main.go under %s: %w", root, fs.ErrNotExist)
	}
	slices.Sort(names)
	return names, nil
}

// Binary is where "make build" puts a function.
func Binary(root, name string) string {
	return filepath.Join(root, "dist", "bin", name)
}

// Build builds the functions whose binary is missing or older than its sources, by
// "make build", and writes what it does to progress.
func Build(ctx context.Context, root string, names []string, progress io.Writer) error {
	var stale []string
	for _, name := range names {
		fresh, err := fresh(root, name)
		if err != nil {
			return fmt.Errorf("build function %s: %w", name, err)
		}
		if !fresh {
			stale = append(stale, name)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	began := time.Now()
	_, _ = fmt.Fprintf(progress, "building %s\n", strings.Join(stale, ", "))
	targets := []string{"--no-print-directory"}
	for _, name := range stale {
		targets = append(targets, filepath.Join("dist", "bin", name))
	}
	command := exec.CommandContext(ctx, "make", targets...)
	command.Dir = root
	// The go command behind make is asked to end, so that it removes its temporary files.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", strings.Join(stale, ", "), err, strings.TrimSpace(output.String()))
	}
	// make leaves a binary alone that would be the same; its time says "checked".
	now := time.Now()
	for _, name := range stale {
		if err := os.Chtimes(Binary(root, name), now, now); err != nil {
			return fmt.Errorf("build function %s: %w", name, err)
		}
	}
	_, _ = fmt.Fprintf(progress, "built %d functions in %.1f s\n", len(stale), time.Since(began).Seconds())
	return nil
}

// fresh says whether the binary is newer than everything it is made of in this
// checkout. Modules of others change with go.mod.
func fresh(root, name string) (bool, error) {
	info, err := os.Stat(Binary(root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	built := info.ModTime()
	newer := errors.New("newer")
	for _, part := range []string{"functions/" + name, "shared", "go.work", "Makefile"} {
		err := filepath.WalkDir(filepath.Join(root, filepath.FromSlash(part)), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".md") {
				return err
			}
			if info, err := entry.Info(); err != nil || info.ModTime().After(built) {
				return errors.Join(err, newer)
			}
			return nil
		})
		if errors.Is(err, newer) {
			return false, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return true, nil
}
