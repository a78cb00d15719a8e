package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Whatever is in a file, something is said of it, and the lines that are named are lines of the file.
func FuzzRead(f *testing.F) {
	for _, pattern := range []string{"testdata/*.*", "testdata/folder/[a-z]*", captures + "1*/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("found no %s: %v", pattern, err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content, true)
			f.Add(content, false)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte, router bool) {
		r := reader{name: "f", sender: sender{router: router}}
		r.read(content)
		if len(r.alerts)+len(r.problems()) == 0 {
			t.Error("nothing is said")
		}
		for _, a := range r.alerts {
			if a.line < 0 || a.line > 1+bytes.Count(content, []byte("\n")) {
				t.Errorf("line %d of %q", a.line, content)
			}
			if err := a.event.Validate(); err != nil {
				t.Errorf("event of %q: %v", content, err)
			}
		}
	})
}
