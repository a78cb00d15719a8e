//go:build linux

// Package node runs a Kubernetes node with real containers and enforced NetworkPolicies on
// this machine, and a command on it: the control plane of package cluster, containerd, runc
// and network plugins from Debian packages, kubelet and kube-proxy, and package policy.
//
// It needs root. Everything runs in namespaces of its own for mounts, processes, network, names
// and IPC, so that its end is that of all it has made, however it ends:
//
//	Run      outside: makes the namespaces, and removes the cgroups afterwards
//	Init     process 1 in there: reaps orphans; the kernel kills the others with it
//	Inside   its child: starts the node, and the command
//
// What they write lies on a tmpfs of theirs. The checkout is seen as it is.
package node

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// What the node is like.
const (
	// Name is the node's.
	Name = "e2e-node"
	// Image is the only one there is: package peer.
	Image = "riposte.test/peer:1"
	// Program is its only file: with "serve" it is a peer, and by itself it holds a pod.
	Program = "/peer"
	// Address is the node's, on its loopback device. It is from a range for documentation:
	// nothing that the node could want to talk to has it.
	Address = "192.0.2.1"
	podCIDR = "10.244.0.0/24"
)

// The node's own files. /run is there on every Linux, and in the namespace it is a tmpfs.
const (
	state       = "/run/riposte"
	socket      = state + "/containerd.sock"
	networkConf = state + "/net.d"
)

// Settings say where the parts are. They pass from process to process.
type Settings struct {
	// Root is the checkout.
	Root string
	// ControlPlane and Components are what cluster.Build and cluster.BuildNode have made.
	ControlPlane, Components string
	// Packages is the folder of package packages.
	Packages string
	// Peer is the program of the image.
	Peer string
	// Logs is the folder for the logs of a node on which something has failed.
	Logs string
	// Command is what to run.
	Command []string
	// Cgroup is the node's cgroup, below the root of each hierarchy. Run sets it.
	Cgroup string
}

// check refuses a checkout that could not be seen from inside.
func (s Settings) check() error {
	for _, hidden := range []string{"/run", "/var/log"} {
		if s.Root == hidden || strings.HasPrefix(s.Root, hidden+string(filepath.Separator)) {
			return fmt.Errorf("the checkout is %s: want one that is not below %s, which the node has of its own", s.Root, hidden)
		}
	}
	return nil
}

func (s Settings) encode() (string, error) {
	b, err := json.Marshal(s)
	return string(b), err
}

// Decode reads what the process before has passed on.
func Decode(text string) (Settings, error) {
	var s Settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("read the settings of the node: %w", err)
	}
	return s, nil
}
