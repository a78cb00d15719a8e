//go:build linux

package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// prepareHost makes of the namespaces a machine for the node: with its own name, network and
// places to write to.
func prepareHost() error {
	if err := unix.Sethostname([]byte(Name)); err != nil {
		return fmt.Errorf("name the node: %w", err)
	}
	for _, step := range []func() error{mountWritable, shieldKernel, bringUpNetwork} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mountWritable gives the node its own of what its parts write to wherever they are told to.
func mountWritable() error {
	for _, folder := range []string{"/run", "/var/log"} {
		if err := mountTmpfs(folder); err != nil {
			return err
		}
	}
	for _, folder := range []string{state, state + "/tmp", networkConf} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("make the folders of the node: %w", err)
		}
	}
	// kubelet and the network plugins have fixed places in /var/lib, which need not exist.
	fixed := []string{"/var/lib/kubelet", "/var/lib/cni"}
	if !exist(fixed) {
		if err := mountOver("/var/lib"); err != nil {
			return err
		}
	}
	for _, folder := range fixed {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("make the folders of the node: %w", err)
		}
		if err := mountTmpfs(folder); err != nil {
			return err
		}
	}
	// Volumes reach containers by mounts that are passed on, within this namespace.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share the mounts with containers: %w", err)
	}
	return nil
}

func exist(folders []string) bool {
	for _, f := range folders {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

func mountTmpfs(folder string) error {
	if err := unix.Mount("tmpfs", folder, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount a tmpfs at %s: %w", folder, err)
	}
	return nil
}

// mountOver keeps what is written to a folder in memory.
func mountOver(folder string) error {
	over := filepath.Join(state, "over", folder)
	upper, work := filepath.Join(over, "upper"), filepath.Join(over, "work")
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755)); err != nil { //nolint:gosec // As the folder itself.
		return fmt.Errorf("mount over %s: %w", folder, err)
	}
	options := "lowerdir=" + folder + ",upperdir=" + upper + ",workdir=" + work
	if err := unix.Mount("overlay", folder, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay at %s: %w", folder, err)
	}
	return nil
}

// shieldKernel hides the settings of the whole machine that a kubelet sets: it finds its own
// values there already.
func shieldKernel() error {
	shield := filepath.Join(state, "sysctl")
	if err := os.MkdirAll(shield, 0o700); err != nil {
		return fmt.Errorf("shield the kernel's settings: %w", err)
	}
	for name, value := range map[string]string{
		"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
		"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
	} {
		own := filepath.Join(shield, filepath.Base(name))
		if err := os.WriteFile(own, []byte(value+"\n"), 0o600); err != nil {
			return fmt.Errorf("shield the kernel's settings: %w", err)
		}
		if err := unix.Mount(own, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("shield the kernel's setting %s: %w", name, err)
		}
	}
	return nil
}

// bringUpNetwork gives the loopback device its address and the node's, and lets the node pass
// on what its pods send to each other.
func bringUpNetwork() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up the network: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	set := func(device string, request uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(device)
		if err == nil {
			err = fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, request, r)
		}
		if err != nil {
			return fmt.Errorf("bring up the device %s: %w", device, err)
		}
		return nil
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil }
	address := func(ip net.IP) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(ip.To4()) }
	}
	// A second address of a device has a name of its own. Its whole network would be local.
	const device, second = "lo", "lo:0"
	return errors.Join(
		set(device, unix.SIOCSIFFLAGS, up),
		set(second, unix.SIOCSIFADDR, address(net.ParseIP(Address))),
		set(second, unix.SIOCSIFNETMASK, address(net.IPv4bcast)),
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600),
	)
}
