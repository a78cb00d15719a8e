// Package archive builds functions for AWS Lambda: a program called bootstrap, in a zip that comes out the same wherever and
// whenever it is made of the same sources by the same Go.
package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// ARM64 and AMD64 are the processors that Lambda has.
const (
	ARM64 = "arm64"
	AMD64 = "amd64"
)

// Program is the name by which Lambda starts a function.
const Program = "bootstrap"

// Zip writes a program as Lambda takes it. The time is the first that a zip can have.
func Zip(w io.Writer, program io.Reader) error {
	z := zip.NewWriter(w)
	header := &zip.FileHeader{Name: Program, Method: zip.Deflate, Modified: time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(0o755)
	f, err := z.CreateHeader(header)
	if err != nil {
		return fmt.Errorf("zip the program: %w", err)
	}
	if _, err := io.Copy(f, program); err != nil {
		return fmt.Errorf("zip the program: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("zip the program: %w", err)
	}
	return nil
}

// File is what a function's zip is called.
func File(function, architecture string) string { return function + "-" + architecture + ".zip" }

// Build builds a function of the repository at root, and puts its zip into the folder. It says where that is.
func Build(ctx context.Context, root, folder, function, architecture, version string) (string, error) {
	if architecture != ARM64 && architecture != AMD64 {
		return "", fmt.Errorf("ARCH is %q: want %s or %s", architecture, ARM64, AMD64)
	}
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // Programs are for everybody.
		return "", fmt.Errorf("build %s for Lambda: %w", function, err)
	}
	at, err := os.MkdirTemp(folder, function+".")
	if err != nil {
		return "", fmt.Errorf("build %s for Lambda: %w", function, err)
	}
	defer os.RemoveAll(at) //nolint:errcheck // What was made of it is elsewhere by then.
	flags := "-s -w"
	if version != "" {
		flags += " -X github.com/riposte-dev/riposte/shared/serve.version=" + version
	}
	program, err := filepath.Abs(filepath.Join(at, Program))
	if err != nil {
		return "", fmt.Errorf("build %s for Lambda: %w", function, err)
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+flags, "-tags=lambda.norpc",
		"-o", program, "./functions/"+function+"/cmd")
	command.Dir = root
	command.Env = append(command.Environ(), "GOOS=linux", "GOARCH="+architecture, "CGO_ENABLED=0", "GOFLAGS=")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s for Lambda: %w\n%s", function, err, output)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return "", fmt.Errorf("build %s for Lambda: %w", function, err)
	}
	var zipped bytes.Buffer
	if err := Zip(&zipped, bytes.NewReader(content)); err != nil {
		return "", fmt.Errorf("build %s for Lambda: %w", function, err)
	}
	file := filepath.Join(folder, File(function, architecture))
	// In one step, for whoever reads it meanwhile.
	half := filepath.Join(at, "zip")
	if err := os.WriteFile(half, zipped.Bytes(), 0o644); err != nil { //nolint:gosec // Programs are for everybody.
		return "", fmt.Errorf("build %s for Lambda: %w", function, err)
	}
	if err := os.Rename(half, file); err != nil {
		return "", fmt.Errorf("build %s for Lambda: %w", function, err)
	}
	return file, nil
}
