package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// KeepRunningAnnotation with the value "true" on a pod of a Job keeps it running;
// without it the pod succeeds as soon as it runs.
const KeepRunningAnnotation = "test.riposte.dev/keep-running"

// nodeAnnotation marks the nodes that kwok plays.
const nodeAnnotation = "kwok.x-k8s.io/node"

// stages say what happens to a pod on its node.
//
//go:embed stages/*.yaml
var stages embed.FS

// ContainerID returns the id that the container of that name has in the pod with
// that UID: 64 hexadecimal digits, without the containerd:// of the pod's status.
// The container.id of a Falco alert is its first twelve.
func ContainerID(podUID, container string) string {
	sum := sha256.Sum256([]byte(podUID + "/" + container))
	return hex.EncodeToString(sum[:])
}

// writeKwokConfiguration writes the file that kwok reads, and returns its path: the
// stages that kwok ships for nodes and for the end of pods, those of this package,
// and the logs of every container.
func writeKwokConfiguration(ctx context.Context, binary, folder string) (string, error) {
	packaged, err := exec.CommandContext(ctx, binary, "stages").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for the stages of kwok: %w", binary, withStderr(err))
	}
	logs, err := writeContainerLogs(folder)
	if err != nil {
		return "", err
	}
	documents := [][]byte{packaged, logs}
	names, err := fs.Glob(stages, "stages/*.yaml")
	if err != nil {
		return "", fmt.Errorf("read the stages of pods: %w", err)
	}
	for _, name := range names {
		stage, err := stages.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read the stages of pods: %w", err)
		}
		documents = append(documents, stage)
	}
	path := filepath.Join(folder, "kwok.yaml")
	if err := os.WriteFile(path, bytes.Join(documents, []byte("\n---\n")), 0o600); err != nil {
		return "", fmt.Errorf("write the configuration of kwok: %w", err)
	}
	return path, nil
}

// writeContainerLogs writes the text that every container has as its log, and
// returns the kwok object that says so. A log in the format of container runtimes
// has a time and a stream before each line.
func writeContainerLogs(folder string) (object []byte, err error) {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	paths := map[string]string{"containers": "started", "containers-previous": "started before"}
	for name, text := range paths {
		path := filepath.Join(folder, "logs", name+".log")
		line := fmt.Sprintf("%s stdout F %s by kwok: nothing runs in this container\n", now, text)
		if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
			return nil, fmt.Errorf("write the logs of containers: %w", err)
		}
		paths[name] = path
	}
	object, err = json.Marshal(map[string]any{
		"apiVersion": "kwok.x-k8s.io/v1alpha1",
		"kind":       "ClusterLogs",
		"metadata":   map[string]any{"name": "all"},
		"spec": map[string]any{"logs": []any{map[string]any{
			"logsFile":         paths["containers"],
			"previousLogsFile": paths["containers-previous"],
		}}},
	})
	if err != nil {
		return nil, fmt.Errorf("write the logs of containers: %w", err)
	}
	return object, nil
}
