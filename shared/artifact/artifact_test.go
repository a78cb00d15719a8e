package artifact_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/artifact"
	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/response"
)

func open(t *testing.T, address string) *artifact.Store {
	t.Helper()
	s, err := artifact.Open(address)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		address string
		valid   bool
	}{
		"a folder":                       {"file:///var/evidence", true},
		"a bucket":                       {"s3://evidence", true},
		"a folder in a bucket":           {"s3://evidence/a/b?region=eu-west-1", true},
		"a server of one's own":          {"s3://evidence?endpoint=https%3A%2F%2Fminio.example&use_path_style=true", true},
		"the root":                       {"file:///", false},
		"a folder of another machine":    {"file://host/folder", false},
		"a folder with parameters":       {"file:///folder?create_dir=true", false},
		"no bucket":                      {"s3:///evidence", false},
		"a password":                     {"s3://user:password@evidence", false},
		"a parameter's typing error":     {"s3://evidence?regoin=x", false},
		"another style":                  {"s3://evidence?use_path_style=yes", false},
		"an endpoint that is no address": {"s3://evidence?endpoint=minio", false},
		"an endpoint with a password":    {"s3://evidence?endpoint=http%3A%2F%2Fu%3Ap%40minio", false},
		"a bucket of somebody else's":    {"gs://evidence", false},
		"a path":                         {"/var/evidence", false},
		"nothing":                        {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := artifact.Check(tc.address)
			if (err == nil) != tc.valid {
				t.Errorf("the error is %v, want it valid: %t", err, tc.valid)
			}
			if err != nil && strings.Contains(err.Error(), "password@") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

// stores are a folder and a bucket of a real server.
func stores(t *testing.T) map[string]*artifact.Store {
	t.Helper()
	return map[string]*artifact.Store{
		"a folder": open(t, "file://"+t.TempDir()+"/new"),
		"a bucket": open(t, artifacttest.Start(t).URL(artifacttest.Bucket, "a/prefix")),
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := s.Read(t.Context(), "a/b.txt", -1); !errors.Is(err, artifact.ErrNotFound) {
				t.Errorf("before it is written the error is %v", err)
			}
			for _, body := range []string{"one", "", "three"} {
				if err := s.Write(t.Context(), "a/b.txt", "text/plain", []byte(body)); err != nil {
					t.Fatal(err)
				}
				if got, err := s.Read(t.Context(), "a/b.txt", 5); err != nil || string(got) != body {
					t.Errorf("read %q (%v), want %q", got, err, body)
				}
			}
			if _, err := s.Read(t.Context(), "a/b.txt", 4); err == nil {
				t.Error("five bytes are read where four are allowed")
			}
			if err := s.Probe(t.Context(), "a/c.txt"); err != nil {
				t.Errorf("probe: %v", err)
			}
			if _, err := s.Read(t.Context(), "a/c.txt", -1); !errors.Is(err, artifact.ErrNotFound) {
				t.Errorf("after a probe the error is %v", err)
			}
		})
	}
}

func TestObjectsAreListedAndRemoved(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := func() (names []string) {
				t.Helper()
				if err := s.List(t.Context(), "a", func(o artifact.Object) {
					if age := time.Since(o.Modified); age < -time.Minute || age > time.Minute {
						t.Errorf("%s was written %s ago", o.Name, age)
					}
					names = append(names, o.Name)
				}); err != nil {
					t.Fatal(err)
				}
				slices.Sort(names)
				return names
			}
			if names := list(); len(names) > 0 {
				t.Errorf("before it is written to there is %v", names)
			}
			for _, key := range []string{"a/1", "a/2", "aa/3", "b/4", "5"} {
				if err := s.Write(t.Context(), key, "text/plain", nil); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff([]string{"a/1", "a/2"}, list()); diff != "" {
				t.Error(diff)
			}
			for range 2 { // It may be gone already.
				if err := s.Remove(t.Context(), "a/1"); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff([]string{"a/2"}, list()); diff != "" {
				t.Error(diff)
			}
			if _, err := s.Read(t.Context(), "a", -1); !errors.Is(err, artifact.ErrNotFound) {
				t.Errorf("reading a folder gives %v", err)
			}
		})
	}
}

// S3 lists a thousand objects at a time.
func TestListOfManyObjects(t *testing.T) {
	t.Parallel()
	page := func(more, next, key string) string {
		return `<ListBucketResult><IsTruncated>` + more + `</IsTruncated><NextContinuationToken>` + next + `</NextContinuationToken>` +
			`<Contents><Key>` + key + `</Key></Contents></ListBucketResult>`
	}
	server := artifacttest.Start(t)
	server.Break(func(r *http.Request) bool { return r.Method == http.MethodGet }, func(w http.ResponseWriter, r *http.Request) {
		body := page("true", "x", "prefix/a/1")
		if r.URL.Query().Get("continuation-token") == "x" {
			body = page("false", "", "prefix/a/2")
		}
		_, _ = io.WriteString(w, body)
	})
	var names []string
	err := open(t, server.URL(artifacttest.Bucket, "prefix")).List(t.Context(), "a", func(o artifact.Object) { names = append(names, o.Name) })
	if diff := cmp.Diff([]string{"a/1", "a/2"}, names); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestNamesOutsideOfTheFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, "file://"+folder+"/store")
	if err := os.WriteFile(filepath.Join(folder, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if body, err := s.Read(t.Context(), "../secret", -1); err == nil {
		t.Errorf("read %q", body)
	}
	if err := s.Remove(t.Context(), "../secret"); err == nil {
		t.Error("it is removed")
	}
	if err := s.Write(t.Context(), "../secret", "text/plain", nil); err == nil {
		t.Error("it is written")
	}
	if err := s.List(t.Context(), "..", func(o artifact.Object) { t.Errorf("there is %s", o.Name) }); err == nil {
		t.Error("it is listed")
	}
	if body, err := os.ReadFile(filepath.Join(folder, "secret")); err != nil || string(body) != "secret" {
		t.Errorf("it is %q (%v)", body, err)
	}
}

func TestObjectThatIsAbandonedLeavesTheOlderOne(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		for size, bytes := range map[string]int{"small": 10, "in parts": 12 << 20} {
			t.Run(name+", "+size, func(t *testing.T) {
				t.Parallel()
				key := strings.ReplaceAll(size, " ", "-")
				if err := s.Write(t.Context(), key, "text/plain", []byte("older")); err != nil {
					t.Fatal(err)
				}
				w, err := s.Create(t.Context(), key, "text/plain")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := w.Write(make([]byte, bytes)); err != nil {
					t.Fatal(err)
				}
				if err := w.Abort(); err != nil {
					t.Error(err)
				}
				if got, err := s.Read(t.Context(), key, -1); err != nil || string(got) != "older" {
					t.Errorf("read %d bytes (%v), want the older ones", len(got), err)
				}
			})
		}
	}
}

func TestFolderHasNothingButWhatWasWritten(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := open(t, "file://"+folder)
	w, err := s.Create(t.Context(), "a/b", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Abort(), s.Probe(t.Context(), "a/b"), s.Write(t.Context(), "a/c", "text/plain", nil)); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(folder, "*", "*"))
	if err != nil || len(found) != 1 || filepath.Base(found[0]) != "c" {
		t.Errorf("there is %v (%v), want a/c", found, err)
	}
	if over, err := filepath.Glob(filepath.Join(folder, "*.tmp")); err != nil || len(over) > 0 {
		t.Errorf("there is %v (%v)", over, err)
	}
}

// Parts that nobody completes cost money until somebody removes them.
func TestUploadThatEndsEarlyLeavesNoParts(t *testing.T) {
	t.Parallel()
	server := artifacttest.Start(t)
	s := open(t, server.URL(artifacttest.Bucket, ""))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := s.Create(ctx, "early", "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 11<<20)); err != nil {
		t.Fatal(err)
	}
	if server.Parts(t, artifacttest.Bucket) == 0 {
		t.Fatal("no part is on the server")
	}
	cancel() // as when the time for the alert is over
	if err := w.Close(); err == nil {
		t.Error("it was made after all")
	}
	if left := server.Parts(t, artifacttest.Bucket); left != 0 {
		t.Errorf("%d parts are left", left)
	}
}

// What goes to a bucket is never whole in memory.
func TestLargeObjectsTakeLittleMemory(t *testing.T) { //nolint:paralleltest // It measures the process.
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			const size = 100 << 20
			seed := make([]byte, 1<<20)
			_, _ = rand.Read(seed)
			defer debug.SetGCPercent(debug.SetGCPercent(20))
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			w, err := s.Create(t.Context(), "large", "application/octet-stream")
			if err != nil {
				t.Fatal(err)
			}
			most := uint64(0)
			for range size / len(seed) {
				if _, err := w.Write(seed); err != nil {
					t.Fatal(err)
				}
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if grown := int64(most) - int64(before.HeapAlloc); grown > 32<<20 {
				t.Errorf("the heap grew by %d MiB, want 32 at most", grown>>20)
			}
			got, err := s.Read(t.Context(), "large", -1)
			if err != nil || len(got) != size || !bytes.Equal(got[size-len(seed):], seed) {
				t.Errorf("read %d bytes (%v), want %d", len(got), err, size)
			}
		})
	}
}

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	put := func(r *http.Request) bool { return r.Method == http.MethodPut }
	for name, tc := range map[string]struct {
		bucket string
		fault  http.HandlerFunc
		want   response.Kind
	}{
		"there is no such bucket":          {"nowhere", nil, response.Permanent},
		"it is somebody else's":            {artifacttest.Others, nil, response.Permanent},
		"the keys are unknown":             {artifacttest.Bucket, artifacttest.Answers(http.StatusForbidden, "InvalidAccessKeyId"), response.Permanent},
		"the region is another":            {artifacttest.Bucket, artifacttest.Answers(http.StatusMovedPermanently, "PermanentRedirect"), response.Permanent},
		"it has an error":                  {artifacttest.Bucket, artifacttest.Answers(http.StatusInternalServerError, "InternalError"), response.Transient},
		"it is asked too often":            {artifacttest.Bucket, artifacttest.Answers(http.StatusServiceUnavailable, "SlowDown"), response.Transient},
		"it finds the connection too slow": {artifacttest.Bucket, artifacttest.Answers(http.StatusBadRequest, "RequestTimeout"), response.Transient},
		"the credentials are being renewed": {
			artifacttest.Bucket, artifacttest.Answers(http.StatusBadRequest, "ExpiredToken"), response.Transient,
		},
		"it does not answer": {artifacttest.Bucket, artifacttest.Silence, response.Transient},
		"it hangs up":        {artifacttest.Bucket, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, response.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := artifacttest.Start(t)
			s := open(t, server.URL(tc.bucket, ""))
			server.Break(put, tc.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if strings.Contains(name, "does not answer") {
				cancel()
				ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
			}
			defer cancel()
			for size, bytes := range map[string]int{"small": 10, "in parts": 6 << 20} {
				err := artifact.Classify(s.Write(ctx, size, "text/plain", make([]byte, bytes)))
				if tc.fault != nil && tc.bucket == artifacttest.Bucket && err == nil {
					t.Errorf("%s: it was written", size)
				}
				if err == nil || response.KindOf(err) != tc.want {
					t.Errorf("%s: the kind is %s, want %s: %v", size, response.KindOf(err), tc.want, err)
				}
			}
			if tc.fault == nil {
				if err := artifact.Classify(s.Probe(ctx, "a")); response.KindOf(err) != tc.want {
					t.Errorf("the kind of a probe is %s, want %s: %v", response.KindOf(err), tc.want, err)
				}
				if _, err := s.Read(ctx, "a", -1); response.KindOf(artifact.Classify(err)) != tc.want || errors.Is(err, artifact.ErrNotFound) {
					t.Errorf("reading gives %v, want an error that is %s", err, tc.want)
				}
			}
		})
	}
}

func TestKindsOfErrorsOfAFolder(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, "file://"+folder)
	for name, tc := range map[string]struct {
		key  string
		err  error
		want response.Kind
	}{
		"a file stands where a folder should": {"file/a", nil, response.Permanent},
		"the name is too long":                {strings.Repeat("a", 300), nil, response.Permanent},
		"something else":                      {"", io.ErrUnexpectedEOF, response.Transient},
		"nothing":                             {"", nil, response.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.err
			if tc.key != "" {
				err = s.Write(t.Context(), tc.key, "text/plain", nil)
			}
			if got := response.KindOf(artifact.Classify(err)); got != tc.want {
				t.Errorf("the kind is %s, want %s: %v", got, tc.want, err)
			}
		})
	}
}

func TestAddressForPeople(t *testing.T) {
	t.Parallel()
	server := artifacttest.Start(t)
	if got, want := open(t, server.URL(artifacttest.Bucket, "a/b/")).URL("c/d"), "s3://evidence/a/b/c/d"; got != want {
		t.Errorf("it is %s, want %s", got, want)
	}
}

// What is quoted of an address that cannot be read stands in a log.
func TestShownAddressHasNoSecret(t *testing.T) {
	for name, address := range map[string]string{
		"a password":                         "s3://user:hunter2@evidence/x",
		"a password with a slash":            "s3://user:abc/hunter2@evidence/x",
		"a password with an at sign":         "s3://user:hunter2@hunter2@evidence/x",
		"a key as a parameter":               "s3://evidence/x?secret_access_key=hunter2",
		"an endpoint with a password":        "s3://evidence/x?endpoint=https://user:hunter2@minio",
		"an encoded endpoint with one":       "s3://evidence/x?endpoint=https%3A%2F%2Fuser%3Ahunter2%40minio",
		"an endpoint that cannot be read":    "s3://evidence/x?endpoint=https%3A%2F%2Fuser%3Ahunter2%25zz%40minio",
		"a parameter and a password in both": "https://a:hunter2@evidence/x?token=hunter2",
	} {
		t.Run(name, func(t *testing.T) {
			shown := artifact.Shown(address)
			if strings.Contains(shown, "hunter2") || !strings.Contains(shown, "evidence/x") {
				t.Errorf("it is shown as %s", shown)
			}
			if err := artifact.Check(address); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
