package function

import (
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// bucket answers as much of S3's API as a store asks for.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations_Amazon_Simple_Storage_Service.html
type bucket struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string][]byte
	times   map[string]time.Time
}

func newBucket(t *testing.T) *bucket {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	b := &bucket{objects: map[string][]byte{}, times: map[string]time.Time{}}
	b.Server = httptest.NewServer(http.HandlerFunc(b.serve))
	t.Cleanup(b.Close)
	return b
}

// address is that of a folder in the bucket.
func (b *bucket) address() string {
	return "s3://alerts/riposte?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(b.URL)
}

func (b *bucket) serve(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/alerts/")
	switch {
	case !strings.Contains(r.Header.Get("Authorization"), "Credential=id/"):
		w.WriteHeader(http.StatusForbidden)
	case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
		b.list(w, r.URL.Query().Get("prefix"))
	case r.Method == http.MethodPut:
		b.objects[key], _ = io.ReadAll(r.Body)
		b.times[key] = time.Now()
		w.Header().Set("ETag", `"1"`)
	case r.Method == http.MethodDelete:
		delete(b.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case b.objects[key] == nil:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `<Error><Code>NoSuchKey</Code></Error>`)
	default:
		w.Header().Set("Last-Modified", b.times[key].UTC().Format(http.TimeFormat))
		_, _ = w.Write(b.objects[key])
	}
}

func (b *bucket) list(w io.Writer, prefix string) {
	type object struct {
		Key, LastModified, ETag string
		Size                    int
	}
	var out struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []object
	}
	for key, body := range b.objects {
		if strings.HasPrefix(key, prefix) {
			out.Contents = append(out.Contents, object{key, b.times[key].UTC().Format(time.RFC3339Nano), `"1"`, len(body)})
		}
	}
	_ = xml.NewEncoder(w).Encode(out)
}

func (b *bucket) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

func TestStores(t *testing.T) {
	b := newBucket(t)
	for name, address := range map[string]string{"a folder": "file://" + t.TempDir() + "/new", "a bucket": b.address()} {
		t.Run(name, func(t *testing.T) {
			s, err := newStore(address)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"one", "two"} {
				if err := s.write(t.Context(), "a/b.json", []byte(text)); err != nil {
					t.Fatal(err)
				}
				if got, err := s.read(t.Context(), "a/b.json"); err != nil || string(got) != text {
					t.Errorf("read %q (%v), want %s", got, err, text)
				}
			}
			for range 2 {
				if err := s.remove(t.Context(), "a/b.json"); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.read(t.Context(), "a/b.json"); !errors.Is(err, errNotFound) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// Two routers share a bucket: what one leaves, the other takes up after a while, not before.
func TestRouterTakesUpWhatAnotherLeft(t *testing.T) {
	b, g := newBucket(t), newGateway(t)
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released), answers(204, ""))
	dir := folder(t, manifest("delete-pod", alerts, quick))
	first := routing(t, g, dir, "JOURNAL_URL", b.address(), "JOURNAL_TAKEOVER", "600ms", "DEAD_LETTER_URL", b.address())
	routing(t, g, dir, "JOURNAL_URL", b.address(), "JOURNAL_TAKEOVER", "600ms", "DEAD_LETTER_URL", b.address())
	first.expect(t, 202, alertAt(t, 1))
	eventually(t, "the function is called", func() bool { return len(g.got("delete-pod")) == 1 })
	called := g.got("delete-pod")[0].at
	eventually(t, "the copy has been touched", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for key, at := range b.times {
			if strings.HasPrefix(key, "riposte/journal/") && at.Sub(called) > time.Second {
				return true
			}
		}
		return false
	})
	if len(g.got("delete-pod")) != 1 {
		t.Errorf("the function got %d calls while the first router worked", len(g.got("delete-pod")))
	}
	// As a router that is killed leaves a copy: nobody touches it.
	b.mu.Lock()
	copied := "riposte/journal/" + strings.Repeat("c", 32) + ".json"
	b.objects[copied], b.times[copied] = b.objects[slices.Collect(maps.Keys(b.objects))[0]], time.Now()
	b.mu.Unlock()
	eventually(t, "a router takes up the copy", func() bool { return len(g.got("delete-pod")) >= 2 })
	close(released)
	eventually(t, "the journal is empty", func() bool { return len(b.keys()) == 0 })
}
