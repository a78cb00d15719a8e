//go:build linux

package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/riposte-dev/riposte/test/e2e-node/image"
	"github.com/riposte-dev/riposte/test/e2e-node/packages"
)

// containerdConfig keeps all that containerd writes below the node's folder. That the scores of
// the out-of-memory killer are restricted lets it run where lowering them is not allowed.
const containerdConfig = `version = 2
root = "{{.State}}/containerd"
state = "/run/containerd"
[grpc]
  address = "{{.Socket}}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{{.State}}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{{.Image}}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{{.Plugins}}"
    conf_dir = "{{.Networks}}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{{.Runc}}"
        SystemdCgroup = false
`

// startContainerd starts containerd, with the image of the pods.
func startContainerd(ctx context.Context, s Settings, fail context.CancelCauseFunc) error {
	if err := writeNetwork(); err != nil {
		return err
	}
	var config bytes.Buffer
	t, err := template.New("containerd").Parse(containerdConfig)
	if err == nil {
		err = t.Execute(&config, map[string]string{
			"State": state, "Socket": socket, "Image": Image, "Networks": networkConf,
			"Plugins": packages.Program(s.Packages, "usr/lib/cni"), "Runc": packages.Program(s.Packages, "usr/sbin/runc"),
		})
	}
	path := filepath.Join(state, "containerd.toml")
	if err == nil {
		err = os.WriteFile(path, config.Bytes(), 0o600)
	}
	if err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	if err := start(ctx, s, fail, "containerd", packages.Program(s.Packages, "usr/bin/containerd"), "--config", path); err != nil {
		return err
	}
	archive, err := writeImage(s)
	if err != nil {
		return err
	}
	err = await(ctx, "containerd", func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	if err != nil {
		return err
	}
	ctr := packages.Program(s.Packages, "usr/bin/ctr")
	if err := run(ctx, s, nil, ctr, "--address", socket, "--namespace", "k8s.io", "images", "import", archive); err != nil {
		return fmt.Errorf("import the image %s: %w", Image, err)
	}
	return os.Remove(archive)
}

// writeNetwork describes the pods' network: each is at the end of a wire of its own, so that all
// they send to each other is forwarded by the node, where rules can see it.
func writeNetwork() error {
	config, err := json.Marshal(map[string]any{
		"cniVersion": "0.4.0", "name": "pods",
		"plugins": []any{map[string]any{
			"type": "ptp", "ipMasq": false,
			"ipam": map[string]any{
				"type": "host-local", "dataDir": state + "/addresses",
				"ranges": []any{[]any{map[string]string{"subnet": podCIDR}}},
				"routes": []any{map[string]string{"dst": "0.0.0.0/0"}},
			},
		}},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(networkConf, "10-pods.conflist"), config, 0o600)
	}
	if err != nil {
		return fmt.Errorf("configure the network of pods: %w", err)
	}
	return nil
}

func writeImage(s Settings) (string, error) {
	content, err := os.ReadFile(s.Peer)
	if err != nil {
		return "", fmt.Errorf("pack the image of the pods: %w", err)
	}
	var archive bytes.Buffer
	if err := image.Write(&archive, Image, strings.TrimPrefix(Program, "/"), content, "pause"); err != nil {
		return "", err
	}
	path := filepath.Join(state, "image.tar")
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		return "", fmt.Errorf("pack the image of the pods: %w", err)
	}
	return path, nil
}
