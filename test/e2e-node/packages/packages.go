// Package packages gets programs from Debian packages and installs nothing: the packages are
// unpacked into a folder of the checkout, and stay there for the next time.
package packages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Names are the packages with containerd, runc, the network plugins and nft, and the libraries
// that these need beyond those of any system. The versions are those of the machine's own
// release, so that its C library fits.
func Names() []string {
	return []string{
		"containerd", "runc", "containernetworking-plugins", "nftables",
		"libnftables1", "libnftnl11", "libxtables12", "libmnl0", "libjansson4", "libgmp10", "libedit2", "libbsd0", "libmd0", "libseccomp2",
	}
}

// stampName is the file that says which packages a folder holds. It is written last.
const stampName = "packages"

// Fetch makes sure that the packages are unpacked below folder. It writes its progress, which
// is nothing at all where there is nothing to do.
func Fetch(ctx context.Context, folder string, progress io.Writer) error {
	stamp := filepath.Join(folder, stampName)
	want := strings.Join(Names(), "\n") + "\n"
	if got, err := os.ReadFile(stamp); err == nil && string(got) == want {
		return nil
	}
	for _, program := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("get Debian packages: no %s on the PATH", program)
		}
	}
	_, _ = fmt.Fprintf(progress, "e2e-node: downloading %d Debian packages (36 MB)\n", len(Names()))
	if err := fetch(ctx, folder); err != nil {
		return fmt.Errorf("get Debian packages: %w", err)
	}
	return os.WriteFile(stamp, []byte(want), 0o600)
}

func fetch(ctx context.Context, folder string) error {
	archives := folder + ".archives"
	if err := errors.Join(os.RemoveAll(folder), os.RemoveAll(archives), os.MkdirAll(folder, 0o700), os.MkdirAll(archives, 0o700)); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(archives) }()
	if err := download(ctx, archives); err != nil {
		// The machine's lists may be missing, as in most images of containers, or too old.
		lists := filepath.Join(archives, "state")
		if again := downloadAnew(ctx, archives, lists); again != nil {
			return fmt.Errorf("%w; after apt-get update: %w", err, again)
		}
	}
	found, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return err
	}
	if len(found) != len(Names()) {
		return fmt.Errorf("%d packages were downloaded: want %d", len(found), len(Names()))
	}
	for _, archive := range found {
		if err := run(ctx, archives, "dpkg-deb", "-x", archive, folder); err != nil {
			return err
		}
	}
	return nil
}

// download gets the packages into the folder at which it runs; the user that apt sandboxes
// downloads with cannot write there.
func download(ctx context.Context, at string, options ...string) error {
	arguments := slices.Concat(options, []string{"-q", "-o", "APT::Sandbox::User=root", "download"}, Names())
	return run(ctx, at, "apt-get", arguments...)
}

// downloadAnew does so with lists of its own.
func downloadAnew(ctx context.Context, at, lists string) error {
	options := []string{"-o", "Dir::State::lists=" + lists, "-o", "Dir::Cache=" + lists, "-o", "APT::Sandbox::User=root"}
	if err := os.MkdirAll(filepath.Join(lists, "partial"), 0o700); err != nil {
		return err
	}
	if err := run(ctx, at, "apt-get", slices.Concat(options, []string{"-q", "update"})...); err != nil {
		return err
	}
	return download(ctx, at, options...)
}

func run(ctx context.Context, at, program string, arguments ...string) error {
	command := exec.CommandContext(ctx, program, arguments...)
	command.Dir = at
	output, err := command.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		return fmt.Errorf("%s: %w: %s", program, err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return nil
}

// Environment is what the unpacked programs need: a PATH with them and the machine's own, and
// where their libraries are.
func Environment(folder string) []string {
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err == nil {
			libraries = append(libraries, found...)
		}
	}
	path := []string{
		filepath.Join(folder, "usr/sbin"), filepath.Join(folder, "usr/bin"),
		"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
	}
	return []string{"PATH=" + strings.Join(path, ":"), "LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}
}

// Program is the path of an unpacked program, such as usr/bin/containerd.
func Program(folder, name string) string { return filepath.Join(folder, name) }
