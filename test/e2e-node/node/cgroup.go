//go:build linux

package node

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// cgroup is the cgroup of a node, one folder in each hierarchy. It is the only thing of a node
// that does not go with its processes. The lock on a file of the checkout says that somebody
// has it: the next node removes what a killed one has left.
type cgroup struct {
	name string
	lock *os.File
}

// removalTime bounds the wait for processes that are being killed.
const removalTime = 10 * time.Second

func newCgroup(root string) (*cgroup, error) {
	locks := filepath.Join(root, "dist", "e2e-node", "cgroups")
	if err := os.MkdirAll(locks, 0o700); err != nil {
		return nil, err
	}
	removeStale(locks)
	g := &cgroup{name: "riposte-" + strings.ToLower(rand.Text()[:10])}
	var err error
	if g.lock, err = lockFile(filepath.Join(locks, g.name)); err != nil {
		return nil, err
	}
	return g, nil
}

func lockFile(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// removeStale removes the cgroups of nodes that have ended without.
func removeStale(locks string) {
	entries, err := os.ReadDir(locks)
	if err != nil {
		return
	}
	for _, e := range entries {
		file, err := lockFile(filepath.Join(locks, e.Name()))
		if err != nil {
			continue // Somebody has it.
		}
		stale := &cgroup{name: e.Name(), lock: file}
		_ = stale.removeNow()
		_ = file.Close()
	}
}

// remove waits until the cgroup is empty and removes it.
func (g *cgroup) remove(ctx context.Context) error {
	defer func() { _ = g.lock.Close() }()
	// Whatever has ended the node must not keep it from tidying up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removalTime)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := g.removeNow()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove the cgroup %s: %w", g.name, err)
		case <-ticker.C:
		}
	}
}

func (g *cgroup) removeNow() error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if err := removeTree(filepath.Join(root, g.name)); err != nil {
			return err
		}
	}
	return os.Remove(g.lock.Name())
}

// removeTree removes empty cgroups, the inner ones first. Their files are not to be removed.
func removeTree(folder string) error {
	var folders []string
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && e.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	for _, f := range slices.Backward(folders) {
		if gone := os.Remove(f); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// createCgroup makes the folders of a cgroup.
func createCgroup(name string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		if len(roots) == 1 {
			if err := enableControllers(root); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil { //nolint:gosec // As every cgroup.
			return err
		}
	}
	return nil
}

// hierarchies are where cgroups are mounted, those of version 1 first. Where there are any, the one of version 2 has no
// controllers, but runc makes the same folders there.
func hierarchies() ([]string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	scanner := bufio.NewScanner(bytes.NewReader(mounts))
	for scanner.Scan() {
		before, after, ok := strings.Cut(scanner.Text(), " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if ok && len(fields) > 4 && len(kind) > 0 && strings.HasPrefix(kind[0], "cgroup") && !slices.Contains(found[kind[0]], fields[4]) {
			found[kind[0]] = append(found[kind[0]], fields[4])
		}
	}
	all := slices.Concat(found["cgroup"], found["cgroup2"])
	if len(all) == 0 {
		return nil, errors.New("no cgroups are mounted")
	}
	return all, nil
}

// enableControllers lets the children of a root of version 2 have its controllers. Version 1 has
// no such file.
func enableControllers(root string) error {
	available, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	enabled, err := os.ReadFile(filepath.Join(root, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	var missing []string
	for _, controller := range []string{"cpu", "cpuset", "memory", "pids"} {
		if !slices.Contains(strings.Fields(string(available)), controller) {
			return fmt.Errorf("%s has no controller %s", root, controller)
		}
		if !slices.Contains(strings.Fields(string(enabled)), controller) {
			missing = append(missing, "+"+controller)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte(strings.Join(missing, " ")), 0o600)
}
