package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// heartbeat is the time between two lines of progress of a build.
const heartbeat = 10 * time.Second

// kubernetesModule is the module whose version the built components report.
const kubernetesModule = "k8s.io/kubernetes"

// Root returns the root of the checkout that dir belongs to: the nearest folder
// upwards that holds the control plane's module.
func Root(dir string) (string, error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the root of the checkout: %w", err)
	}
	for at := absolute; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(sourceFolder(at), "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find the root of the checkout: no folder from %s upwards holds test/cluster/controlplane", absolute)
		}
	}
}

// BinaryPath returns where [Build] puts the control plane of the checkout at root.
func BinaryPath(root string) string {
	return filepath.Join(root, "dist", "tools", "controlplane")
}

func sourceFolder(root string) string {
	return filepath.Join(root, "test", "cluster", "controlplane")
}

// Build makes sure that the control plane of the checkout at root is built from its
// present sources, and returns the path of the binary. It writes its progress, which
// is nothing at all where there is nothing to do. Any number of processes may call
// it at once: one builds, the others wait for it.
func Build(ctx context.Context, root string, progress io.Writer) (string, error) {
	return product{
		name: "the control plane", program: ".", binary: BinaryPath(root),
		contents: "etcd and kwok", duration: "about seven minutes on two cores",
	}.build(ctx, root, progress)
}

// BuildNode does what [Build] does for the other program of the control plane's module:
// kubelet and kube-proxy, for clusters with [Options.RealNodes].
func BuildNode(ctx context.Context, root string, progress io.Writer) (string, error) {
	return product{
		name: "the node", program: "./node", binary: filepath.Join(filepath.Dir(BinaryPath(root)), "node"),
		contents: "its kubelet and kube-proxy", duration: "half a minute where the control plane was built before",
	}.build(ctx, root, progress)
}

// product is a program of the control plane's module.
type product struct {
	name, program, binary string
	contents, duration    string // What is said of it when it is built.
}

func (p product) build(ctx context.Context, root string, progress io.Writer) (_ string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("build %s: %w", p.name, err)
		}
	}()
	if p.binary, err = filepath.Abs(p.binary); err != nil {
		return "", err
	}
	b := build{product: p, source: sourceFolder(root), stamp: p.binary + ".stamp", progress: &progressWriter{w: progress}}
	want, err := b.want(ctx)
	if err != nil || b.fresh(want) {
		return p.binary, err
	}
	if err := os.MkdirAll(filepath.Dir(p.binary), 0o755); err != nil { //nolint:gosec // G301: dist/ holds nothing secret.
		return "", err
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	// Another process may have built it while this one waited.
	if b.fresh(want) {
		return p.binary, nil
	}
	return p.binary, b.run(ctx, want)
}

type build struct {
	product
	source, stamp string
	progress      *progressWriter
}

// want returns the stamp of a binary that is built from the present sources by the
// present compiler.
func (b build) want(ctx context.Context) (string, error) {
	version, err := b.goCommand(ctx, "env", "GOVERSION", "GOOS", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("ask go for its version: %w", withStderr(err))
	}
	hash := sha256.New()
	hash.Write(version)
	// The function that compiles belongs to the sources: what it passes matters.
	hash.Write([]byte(strings.Join(b.arguments("", ""), " ")))
	names, err := filepath.Glob(filepath.Join(b.source, b.program, "*.go"))
	if err != nil {
		return "", err
	}
	names = append(names, filepath.Join(b.source, "go.mod"), filepath.Join(b.source, "go.sum"))
	slices.Sort(names)
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read the sources: %w", err)
		}
		hash.Write(fmt.Appendf(nil, "\n%s %d\n", filepath.Base(name), len(content)))
		hash.Write(content)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// fresh tells whether the binary was built from the sources with this stamp. The
// stamp is written last, so an interrupted build never looks fresh.
func (b build) fresh(want string) bool {
	got, err := os.ReadFile(b.stamp)
	if err != nil || strings.TrimSpace(string(got)) != want {
		return false
	}
	info, err := os.Stat(b.binary)
	return err == nil && info.Mode().IsRegular()
}

// lock waits until this process is the only one that builds.
func (b build) lock(ctx context.Context) (unlock func(), err error) {
	path := b.binary + ".lock"
	started, told := time.Now(), time.Time{}
	for {
		unlock, err := tryLock(path)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		if time.Since(told) > heartbeat {
			told = time.Now()
			b.progress.sayf("%s: another process is building it, waiting (%.0f s)", b.name, time.Since(started).Seconds())
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for the build of another process: %w", err)
		}
	}
}

func (b build) run(ctx context.Context, stamp string) error {
	modules, kubernetes, err := b.requirements(ctx)
	if err != nil {
		return err
	}
	b.progress.sayf("%s: building Kubernetes %s, %s from source; the first build takes %s and downloads up to %d modules",
		b.name, kubernetes, b.contents, b.duration, modules)

	// An interrupted go command leaves its work folder behind, hundreds of megabytes.
	// The binary is made there too: whoever runs the old one keeps it.
	work := b.binary + ".work"
	if err := errors.Join(os.RemoveAll(work), os.Mkdir(work, 0o700)); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	fresh := filepath.Join(work, filepath.Base(b.binary))
	output := &buildOutput{}
	command := b.goCommand(ctx, b.arguments(fresh, kubernetes)...)
	command.Env = append(command.Env, "GOTMPDIR="+work)
	command.Stdout, command.Stderr = output, output
	started := time.Now()
	stop := b.beat(started, output)
	err = command.Run()
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted after %.0f s: %w", time.Since(started).Seconds(), context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("go build in %s: %w; its last lines:\n%s", b.source, err, lastLines(output.Bytes(), 20))
	}
	if err := os.Rename(fresh, b.binary); err != nil {
		return err
	}
	if err := os.WriteFile(b.stamp, []byte(stamp+"\n"), 0o600); err != nil {
		return err
	}
	b.progress.sayf("%s: built in %.0f s", b.name, time.Since(started).Seconds())
	return nil
}

// arguments are those of the go command. The components report the version they
// would have in a release: without it they say v0.0.0, and clients that check the
// server's version take that for a server of 2014.
func (p product) arguments(output, kubernetes string) []string {
	const variables = "k8s.io/component-base/version."
	flags := "-s -w"
	if parts := strings.SplitN(strings.TrimPrefix(kubernetes, "v"), ".", 3); len(parts) == 3 {
		flags += fmt.Sprintf(" -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", variables, kubernetes, parts[0], parts[1])
	}
	return []string{"build", "-trimpath", "-ldflags=" + flags, "-o", output, p.program}
}

// requirements returns how many modules the control plane needs, and the version of
// Kubernetes among them.
func (b build) requirements(ctx context.Context) (modules int, kubernetes string, err error) {
	out, err := b.goCommand(ctx, "mod", "edit", "-json").Output()
	if err != nil {
		return 0, "", fmt.Errorf("read its go.mod: %w", withStderr(err))
	}
	var file struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(out, &file); err != nil {
		return 0, "", fmt.Errorf("read its go.mod: %w", err)
	}
	for _, require := range file.Require {
		if require.Path == kubernetesModule {
			return len(file.Require), require.Version, nil
		}
	}
	return 0, "", fmt.Errorf("read its go.mod: no requirement for %s", kubernetesModule)
}

// goCommand is the go command for the control plane's module, outside the workspace
// and without the caller's build flags, which may not fit it.
func (b build) goCommand(ctx context.Context, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = b.source
	//nolint:forbidigo // The go command needs the caller's proxies, caches and PATH.
	command.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	// Interrupted alone, the go command waits for its compilers.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	command.WaitDelay = 10 * time.Second
	return command
}

// beat writes a line of progress now and then, until it is stopped.
func (b build) beat(started time.Time, output *buildOutput) (stop func()) {
	done := make(chan struct{})
	var ended sync.WaitGroup
	ended.Go(func() {
		ticker := time.NewTicker(heartbeat)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				b.progress.sayf("%s: still building, %.0f s (%d modules downloaded, %d cores)",
					b.name, time.Since(started).Seconds(), output.downloads(), runtime.NumCPU())
			}
		}
	})
	return func() {
		close(done)
		ended.Wait()
	}
}

// buildOutput keeps what the go command says.
type buildOutput struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps p.
func (o *buildOutput) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// Bytes returns all that was written so far.
func (o *buildOutput) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.buf.Bytes())
}

func (o *buildOutput) downloads() int {
	return bytes.Count(o.Bytes(), []byte("go: downloading "))
}

// progressWriter tells how things go, to nobody where w is nil. Several goroutines
// may use it.
type progressWriter struct {
	mu sync.Mutex
	w  io.Writer
}

// sayf writes one line. That nobody can hear it is no reason to fail.
func (p *progressWriter) sayf(format string, args ...any) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, format+"\n", args...)
}

// lastLines returns the last n lines of text.
func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// withStderr adds to the error of a command what it said.
func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, lastLines(exit.Stderr, 5))
	}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; the go command must be on the PATH", err)
	}
	return err
}

// pause waits for d, or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
