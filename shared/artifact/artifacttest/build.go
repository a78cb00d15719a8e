package artifacttest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// server is the program, from the module test/s3server.
const server = "github.com/versity/versitygw/cmd/versitygw"

// build builds the server unless it is newer than its module's go.mod, and returns its path. Of the test binaries of several
// packages one builds and the others wait. It takes about a minute.
func build(tb testing.TB, root string) string {
	tb.Helper()
	binary, source := filepath.Join(root, "dist", "tools", "versitygw"), filepath.Join(root, "test", "s3server")
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil { //nolint:gosec // dist holds nothing secret.
		tb.Fatal(err)
	}
	lock, err := os.OpenFile(binary+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	defer lock.Close() //nolint:errcheck // The kernel frees it then.
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		tb.Fatalf("wait for another build of the S3 server: %v", err)
	}
	if fresh(binary, filepath.Join(source, "go.mod")) {
		return binary
	}
	own := fmt.Sprintf("%s.%d", binary, os.Getpid())
	command := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", own, server)
	command.Dir = source
	command.Env = append(command.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOFLAGS=")
	if said, err := command.CombinedOutput(); err != nil {
		tb.Fatalf("build the S3 server: %v\n%s", err, said)
	}
	if err := os.Rename(own, binary); err != nil {
		tb.Fatal(err)
	}
	return binary
}

func fresh(binary, source string) bool {
	built, err := os.Stat(binary)
	if err != nil {
		return false
	}
	changed, err := os.Stat(source)
	return err == nil && built.ModTime().After(changed.ModTime())
}
