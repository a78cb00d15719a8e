//go:build e2enode

package e2enode_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// process is one of this node's, or of a node within it. One that took the number of another began at another time.
type process struct {
	pid, parent int
	began       string
	command     string
}

// processes are all there are. Those that end meanwhile are not among them.
func processes(t *testing.T) []process {
	t.Helper()
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []process
	for _, f := range folders {
		pid, err := strconv.Atoi(filepath.Base(f))
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := readProcess(pid); ok {
			found = append(found, p)
		}
	}
	return found
}

// readProcess reads what /proc says of a process; see proc_pid_stat(5) for the fields.
func readProcess(pid int) (process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, false
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return process{}, false
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // The name before it may hold anything.
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	return process{pid, parent, fields[19], string(bytes.ReplaceAll(bytes.TrimRight(command, "\x00"), []byte{0}, []byte{' '}))}, err == nil
}

// descendants are the children of a process, theirs, and so on.
func descendants(t *testing.T, pid int) []process {
	t.Helper()
	family := map[int]bool{pid: true}
	var found []process
	all := processes(t)
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if family[p.parent] && !family[p.pid] {
				family[p.pid], grown = true, true
				found = append(found, p)
			}
		}
	}
	return found
}

// processesOf are the processes of a container, which are in its cgroup.
func processesOf(t *testing.T, container string) []process {
	t.Helper()
	var found []process
	for _, p := range processes(t) {
		if groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.pid)); err == nil && strings.Contains(string(groups), container) {
			found = append(found, p)
		}
	}
	return found
}
