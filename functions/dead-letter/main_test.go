package function

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// Credentials belong to the process: the AWS SDK reads them from its environment.
func TestMain(m *testing.M) {
	for name, value := range artifacttest.Environment() {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

type settings = map[string]string

// place is where dead letters are kept in a test.
type place struct {
	address string
	// objects are what is there by name.
	objects func(*testing.T) map[string][]byte
}

func folder(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	return place{"file://" + dir, func(t *testing.T) map[string][]byte { t.Helper(); return files(t, dir) }}
}

func bucket(s *artifacttest.S3) place {
	return place{s.URL(artifacttest.Bucket, "kept"), func(t *testing.T) map[string][]byte {
		t.Helper()
		all := map[string][]byte{}
		for key, content := range s.Objects(t, artifacttest.Bucket) {
			all[strings.TrimPrefix(key, "kept/")] = content
		}
		return all
	}}
}

// files are the contents of a folder by path.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir+"/")] = body
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// keeps starts the function.
func keeps(t *testing.T, p place, more settings) *testkit.Running {
	t.Helper()
	all := settings{"DEAD_LETTER_URL": p.address}
	maps.Copy(all, more)
	f := New()
	r := testkit.Run(t, f, all)
	t.Cleanup(func() {
		if err := f.Stop(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return r
}

// send posts a body with headers, NAME: VALUE, and gives back the status and the answer.
func send(t *testing.T, f testkit.Function, body string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader([]byte(body)))
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	f.Handle(w, r)
	return w.Code, w.Body.String()
}

// expect demands a status, and no body with a success: Knative takes one for a failure.
func expect(t *testing.T, f testkit.Function, status int, body string, header ...string) {
	t.Helper()
	got, text := send(t, f, body, header...)
	if got != status || status/100 == 2 && text != "" {
		t.Fatalf("answered %d %q, want %d", got, text, status)
	}
}

// binary are the headers of a dead letter in binary mode.
func binary(more ...string) []string {
	return append([]string{
		"Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Type: x", "Ce-Source: /x", "Content-Type: application/json",
		"Ce-Knativeerrordest: http://delete-pod.riposte.svc.cluster.local", "Ce-Knativeerrorcode: 500", "Ce-Knativeerrordata: bm8=",
	}, more...)
}

// parse reads a dead letter back.
func parse(t *testing.T, text []byte) event.Event {
	t.Helper()
	var e event.Event
	if err := json.Unmarshal(text, &e); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return e
}

// metric is the value of a line of /metrics, "" where there is none.
func metric(t *testing.T, f testkit.Function, line string) string {
	t.Helper()
	w := httptest.NewRecorder()
	f.Handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for text := range strings.Lines(w.Body.String()) {
		if value, found := strings.CutPrefix(text, line+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
