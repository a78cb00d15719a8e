//go:build linux

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/riposte-dev/riposte/test/e2e-node/packages"
)

// Missing says what a machine has not that a node needs.
type Missing struct {
	What string
	Err  error
}

// Error names it.
func (m *Missing) Error() string { return fmt.Sprintf("needs %s: %v", m.What, m.Err) }

// Unwrap is how that was found out.
func (m *Missing) Unwrap() error { return m.Err }

// statusMissing is the status with which a probe names on its standard output what is missing.
const statusMissing = 3

// Root says whether this process may do what a node does.
func Root() error {
	if uid := os.Geteuid(); uid != 0 {
		return &Missing{"root", fmt.Errorf("it runs as user %d", uid)}
	}
	return nil
}

// Check tries what a node does, with the packages that are in the folder. What this machine has
// not is a *Missing.
func Check(ctx context.Context, folder string) error {
	text, err := Settings{Packages: folder}.encode()
	if err != nil {
		return err
	}
	command := self(ctx, StageProbe, text)
	var said, failed strings.Builder
	command.Stdout, command.Stderr = &said, &failed
	err = runLocked(command)
	status, ran := exitStatus(ctx, err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return nil
	case ran != nil: // It could not be started in namespaces of its own.
		return &Missing{"namespaces for mounts, processes, network, names and IPC", err}
	case status == statusMissing:
		what, cause, _ := strings.Cut(said.String(), "\n")
		return &Missing{what, errors.New(cause)}
	}
	return fmt.Errorf("probe this machine: %w: %s", err, failed.String())
}

// Probe is the process that tries. It names what is missing on its standard output.
func Probe(ctx context.Context, settings string) (status int, err error) {
	s, err := Decode(settings)
	if err != nil {
		return 1, err
	}
	var missing *Missing
	if err := probe(ctx, s); errors.As(err, &missing) {
		cause, _, _ := strings.Cut(missing.Err.Error(), "\n")
		_, _ = fmt.Fprintf(os.Stdout, "%s\n%s", missing.What, cause)
		return statusMissing, nil
	}
	return 0, err
}

func probe(ctx context.Context, s Settings) error {
	for _, p := range []struct {
		what string
		try  func() error
	}{
		{"mounts of its own", privateMounts},
		{"tmpfs, overlays, bind mounts and a loopback device", prepareHost},
		{"an overlay on a tmpfs, for containers", probeOverlay},
		{"cgroups it may write to", probeCgroups},
		{"nftables with connection tracking and address translation", func() error { return probeRules(ctx, s) }},
		{"a runc that runs", func() error {
			return run(ctx, s, nil, packages.Program(s.Packages, "usr/sbin/runc"), "--version")
		}},
	} {
		if err := p.try(); err != nil {
			return &Missing{p.what, err}
		}
	}
	return nil
}

// probeOverlay mounts what the file system of a container is.
func probeOverlay() error {
	at := filepath.Join(state, "probe")
	if err := os.MkdirAll(at, 0o700); err != nil {
		return err
	}
	return mountOver(at)
}

func probeCgroups() error {
	g := "riposte-probe"
	if err := createCgroup(g); err != nil {
		return err
	}
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		err = errors.Join(err, removeTree(filepath.Join(root, g)))
	}
	return err
}

// probeRules loads one rule of each kind that the node's programs need.
func probeRules(ctx context.Context, s Settings) error {
	const rules = `table ip probe {
	chain before { type nat hook prerouting priority dstnat; meta l4proto tcp dnat to 192.0.2.2:80; }
	chain after { type nat hook postrouting priority srcnat; masquerade; }
	chain between { type filter hook forward priority filter; ct original ip saddr 192.0.2.3 meta l4proto tcp ct reply proto-src 80 counter drop; }
}`
	return run(ctx, s, []byte(rules), packages.Program(s.Packages, "usr/sbin/nft"), "-f", "-")
}
