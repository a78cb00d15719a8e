package archive

import (
	"archive/zip"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

func TestZip(t *testing.T) {
	program := strings.Repeat("a program\n", 10_000)
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := Zip(w, strings.NewReader(program)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two zips of one program differ")
	}
	z, err := zip.NewReader(bytes.NewReader(first.Bytes()), int64(first.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(z.File) != 1 {
		t.Fatalf("it has %d files, want one", len(z.File))
	}
	f := z.File[0]
	if f.Name != "bootstrap" || f.Mode() != 0o755 || !f.Modified.Equal(time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("it has %s, mode %s, of %s", f.Name, f.Mode(), f.Modified)
	}
	// Lambda goes by the attributes of Unix, which are there only if the zip says that Unix made it.
	if f.CreatorVersion>>8 != 3 {
		t.Errorf("it was made by system %d, want 3, which is Unix", f.CreatorVersion>>8)
	}
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != program {
		t.Errorf("the program is another: %d bytes, %v", len(got), err)
	}
}

func TestBuildForAnotherProcessor(t *testing.T) {
	if _, err := Build(t.Context(), ".", t.TempDir(), "delete-pod", "riscv64", ""); err == nil || !strings.Contains(err.Error(), "riscv64") {
		t.Errorf("it gives %v, want an error that names riscv64", err)
	}
}
