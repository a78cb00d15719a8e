//go:build linux

package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCounterCountsTestsAndNotTheirParts(t *testing.T) {
	const said = "=== RUN   TestA\n--- PASS: TestA (0.1s)\n    --- FAIL: TestA/part (0.1s)\n--- FAIL: TestB (1s)\nx--- FAIL: no\n--- SKIP: TestC (0s)\n--- PASS: TestD (0s)\nPASS\n"
	for name, size := range map[string]int{"at once": len(said), "byte by byte": 1, "in pieces": 7} {
		t.Run(name, func(t *testing.T) {
			var passed bytes.Buffer
			c := &counter{next: &passed}
			for rest := said; rest != ""; {
				n := min(size, len(rest))
				if _, err := c.Write([]byte(rest[:n])); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			if diff := cmp.Diff([]int{2, 1, 1}, []int{c.passed, c.failed, c.skipped}); diff != "" {
				t.Errorf("passed, failed, skipped (-want +got):\n%s", diff)
			}
			if passed.String() != said {
				t.Errorf("it passed on %q", passed.String())
			}
		})
	}
}
