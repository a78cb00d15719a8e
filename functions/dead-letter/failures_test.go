package function

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
)

// Whatever is wrong with the store, the Broker is asked to try again: nobody else has the event any more. When it works
// again the next attempt is kept.
func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	puts := func(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodPost }
	for name, fault := range map[string]http.HandlerFunc{
		"it has an error":           artifacttest.Answers(http.StatusInternalServerError, "InternalError"),
		"it is asked too often":     artifacttest.Answers(http.StatusServiceUnavailable, "SlowDown"),
		"the credentials are wrong": artifacttest.Answers(http.StatusForbidden, "AccessDenied"),
		"there is no such bucket":   artifacttest.Answers(http.StatusNotFound, "NoSuchBucket"),
		"it does not answer":        artifacttest.Silence,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := artifacttest.Start(t)
			p := bucket(server)
			f := keeps(t, p, nil)
			server.Break(puts, fault)
			status, text := send(t, f, "{}", binary()...)
			if status != http.StatusInternalServerError || strings.Contains(text, "127.0.0.1") {
				t.Errorf("answered %d %q", status, text)
			}
			if got := metric(t, f, `riposte_dead_letters_total{result="failed"}`); got != "1" {
				t.Errorf("failed are %q", got)
			}
			if log := f.Log(t); !strings.Contains(log, "dead letter not kept") || strings.Contains(log, artifacttest.Environment()["AWS_SECRET_ACCESS_KEY"]) {
				t.Errorf("the log is %s", log)
			}
			server.Break(nil, nil)
			expect(t, f, http.StatusNoContent, "{}", binary()...)
			if found := p.objects(t); len(found) != 1 {
				t.Errorf("there are %d dead letters", len(found))
			}
		})
	}
}

// A folder that cannot be written to is for an operator to put right, and yet the Broker is to try again.
func TestFolderThatIsNone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	f := keeps(t, place{address: "file://" + dir}, nil)
	if err := os.WriteFile(filepath.Join(dir, "dead"), nil, 0o600); err != nil { // In the place of a folder.
		t.Fatal(err)
	}
	expect(t, f, http.StatusInternalServerError, "{}", binary()...)
	if err := os.Remove(filepath.Join(dir, "dead")); err != nil {
		t.Fatal(err)
	}
	expect(t, f, http.StatusNoContent, "{}", binary()...)
}

// A full disk costs nothing that is on it, and leaves no halves.
func TestDiskThatIsFull(t *testing.T) { //nolint:paralleltest // The limit is one of the process.
	p := folder(t)
	f := keeps(t, p, nil)
	expect(t, f, http.StatusNoContent, "[1]", binary()...)
	var usual syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &usual); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ) // What is left is an error of write, as that of a full disk is.
	defer signal.Reset(syscall.SIGXFSZ)
	const limit = 256 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: usual.Max}); err != nil {
		t.Fatal(err)
	}
	large := `"` + strings.Repeat("a", 2*limit) + `"`
	status, _ := send(t, f, large, binary()...)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &usual); err != nil {
		t.Fatal(err)
	}
	if found := p.objects(t); status != http.StatusInternalServerError || len(found) != 1 {
		t.Errorf("answered %d, and there are %d files", status, len(found))
	}
	expect(t, f, http.StatusNoContent, large, binary()...)
	if found := p.objects(t); len(found) != 2 {
		t.Errorf("there are %d files", len(found))
	}
}

// A batch that fails in the middle comes again, and takes the same names.
func TestBatchThatFailsInTheMiddle(t *testing.T) {
	t.Parallel()
	server := artifacttest.Start(t)
	p := bucket(server)
	f := keeps(t, p, nil)
	server.Break(func(r *http.Request) bool { return strings.Contains(r.URL.Path, "-b-") }, artifacttest.Answers(http.StatusForbidden, "AccessDenied"))
	var events []string
	for _, id := range []string{"a", "b", "c"} {
		events = append(events, fmt.Sprintf(`{"specversion":"1.0","id":%q,"type":"x","source":"/x","data":1}`, id))
	}
	batch, header := "["+strings.Join(events, ",")+"]", "Content-Type: application/cloudevents-batch+json"
	expect(t, f, http.StatusInternalServerError, batch, header)
	if found := p.objects(t); len(found) != 1 {
		t.Errorf("there are %d dead letters", len(found))
	}
	server.Break(nil, nil)
	expect(t, f, http.StatusNoContent, batch, header)
	if found := p.objects(t); len(found) != 3 {
		t.Errorf("there are %d dead letters", len(found))
	}
}

// A caller that is gone may have given up for good: what it sent is kept.
func TestCallerThatIsGone(t *testing.T) {
	t.Parallel()
	for where, p := range map[string]place{"in a folder": folder(t), "in a bucket": bucket(artifacttest.Start(t))} {
		f := keeps(t, p, nil)
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", &leaving{Reader: bytes.NewReader([]byte(`{"a":1}`)), leave: cancel})
		f.Handle(httptest.NewRecorder(), r)
		if found := p.objects(t); len(found) != 1 || ctx.Err() == nil {
			t.Errorf("%s: there are %d dead letters", where, len(found))
		}
	}
}

// leaving is a body whose sender is gone when it is read.
type leaving struct {
	*bytes.Reader
	leave func()
}

func (l *leaving) Read(p []byte) (int, error) {
	l.leave()
	return l.Reader.Read(p)
}

// What is too large for every function is kept; a limit there is all the same.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	p := folder(t)
	f := keeps(t, p, nil)
	expect(t, f, http.StatusRequestEntityTooLarge, strings.Repeat("a", maxBody+1), binary()...)
	expect(t, f, http.StatusNoContent, strings.Repeat("a", maxBody), binary()...)
	if found := p.objects(t); len(found) != 1 {
		t.Errorf("there are %d dead letters", len(found))
	}
}
