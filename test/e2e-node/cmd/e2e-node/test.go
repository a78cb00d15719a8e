//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// test runs the tests of a binary, and says how many passed, failed, and could not run here.
func test(ctx context.Context, command []string) (int, error) {
	counts := &counter{next: os.Stdout}
	status, missing, err := run(ctx, append([]string{command[0], "-test.v", "-test.timeout=10m"}, command[1:]...), counts)
	if missing != nil {
		_, _ = fmt.Fprintf(os.Stdout, "e2e-node: SKIPPED: %v\n", missing)
		if counts.skipped, err = countTests(ctx, command[0]); err != nil {
			return 1, err
		}
	}
	_, _ = fmt.Fprintf(os.Stdout, "e2e-node: %d passed, %d failed, %d skipped\n", counts.passed, counts.failed, counts.skipped)
	if status == 0 && err == nil && counts.passed+counts.skipped == 0 {
		return 1, fmt.Errorf("%s has no tests that ran", command[0])
	}
	return status, err
}

// countTests counts the tests of a binary without running them.
func countTests(ctx context.Context, binary string) (int, error) {
	list, err := exec.CommandContext(ctx, binary, "-test.list", "^Test").Output() //nolint:gosec // The caller chooses what to run.
	if err != nil {
		return 0, fmt.Errorf("count the tests of %s: %w", binary, err)
	}
	return bytes.Count(list, []byte("\n")), nil
}

// counter counts the tests whose verdicts pass through it; those of subtests are indented.
type counter struct {
	next                    io.Writer
	line                    []byte
	passed, failed, skipped int
}

// Write passes p on.
func (c *counter) Write(p []byte) (int, error) {
	for piece := range bytes.Lines(p) {
		c.line = append(c.line, piece...)
		if bytes.HasSuffix(piece, []byte("\n")) {
			c.count()
			c.line = c.line[:0]
		}
	}
	return c.next.Write(p)
}

func (c *counter) count() {
	switch {
	case bytes.HasPrefix(c.line, []byte("--- PASS: ")):
		c.passed++
	case bytes.HasPrefix(c.line, []byte("--- FAIL: ")):
		c.failed++
	case bytes.HasPrefix(c.line, []byte("--- SKIP: ")):
		c.skipped++
	}
}
