package outboundtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Golden compares text with the file testdata/NAME of the test's package, or writes the file where update is set.
func Golden(tb testing.TB, name string, got []byte, update bool) {
	tb.Helper()
	file := filepath.Join("testdata", filepath.FromSlash(name))
	if update {
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			tb.Fatalf("write %s: %v", file, err)
		}
		if err := os.WriteFile(file, got, 0o600); err != nil {
			tb.Fatalf("write %s: %v", file, err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		tb.Fatalf("read the golden file: %v; go test -update writes it", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		tb.Errorf("%s differs (-want +got); read the difference, then go test -update writes it:\n%s", file, diff)
	}
}

// FormatRequest writes a request for a golden file: without the headers that net/http adds by itself, JSON and
// forms in a layout for reading.
func FormatRequest(tb testing.TB, r *http.Request) []byte {
	tb.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatalf("read a request: %v", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\n", r.Method, r.URL.RequestURI(), r.Proto)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		switch name {
		case "Accept-Encoding", "Content-Length", "User-Agent":
			continue
		}
		for _, value := range r.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	b.WriteString("\n")
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		writeForm(tb, &b, string(body))
	} else {
		writeJSON(&b, string(body))
	}
	return b.Bytes()
}

func writeForm(tb testing.TB, b *bytes.Buffer, body string) {
	tb.Helper()
	form, err := url.ParseQuery(body)
	if err != nil {
		tb.Fatalf("read a form: %v", err)
	}
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			b.WriteString(name + " = ")
			writeJSON(b, value)
		}
	}
}

// writeJSON lays JSON out, with the characters that Go's encoder escapes for the sake of HTML; other text stays.
func writeJSON(b *bytes.Buffer, text string) {
	var laidOut bytes.Buffer
	if err := json.Indent(&laidOut, []byte(text), "", "  "); err != nil {
		b.WriteString(text + "\n")
		return
	}
	b.WriteString(strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(laidOut.String()) + "\n")
}
