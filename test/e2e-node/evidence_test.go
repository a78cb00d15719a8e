//go:build e2enode

package e2enode_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// TestEvidenceHasTheLogsOfBothLives lets a container die and be started again, so that its kubelet has two logs of it.
func TestEvidenceHasTheLogsOfBothLives(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	_, pods := peers(t, env.Namespace(t), "web", 2)
	pod, other := pods[0], pods[1]
	const secret = "seen-in-the-first-life"
	stream(t, secret, other, pod)
	first := testkit.ContainerID(t, pod)
	for _, p := range processesOf(t, first) {
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	env.Await(t, &pod, "lives again", func() error {
		if s := pod.Status.ContainerStatuses; len(s) != 1 || s[0].RestartCount != 1 || s[0].State.Running == nil || testkit.ContainerID(t, pod) == first {
			return errors.New("its container has not been started again")
		}
		if !testkit.IsReady(pod) {
			return errors.New("it is not ready")
		}
		return nil
	})

	store := t.TempDir()
	answer := start(t, "collect-evidence", "ARTIFACT_URL=file://"+store).alert(t, testkit.AlertFor(t, pod))
	answer.Expect(t, "200 applied")

	for name, has := range map[string]bool{testkit.Container + ".log": false, testkit.Container + ".previous.log": true} {
		log := stored(t, store, name)
		if !strings.Contains(log, `"msg":"started"`) || strings.Contains(log, secret) != has {
			t.Errorf("%s is %q: want a start, and %q: %t", name, log, secret, has)
		}
	}
}

// stored is the only file of that name below a folder.
func stored(t *testing.T, folder, name string) string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if filepath.Base(path) == name {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != 1 {
		t.Fatalf("the evidence has %v of the name %s (%v), want one", found, name, err)
	}
	content, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
