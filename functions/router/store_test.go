package function

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
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

// A write that fails in the middle leaves what was there: a full disk must not cost a copy that is good.
func TestDiskThatIsFull(t *testing.T) {
	dir := t.TempDir()
	s, err := newStore("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	const limit = 4 << 20
	good := []byte(strings.Repeat("good", limit/4+1))
	if err := s.write(t.Context(), "journal/a.json", good); err != nil {
		t.Fatal(err)
	}
	var usual syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &usual); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ) // What is left is an error of write, as that of a full disk is.
	defer signal.Reset(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: limit, Max: usual.Max}); err != nil {
		t.Fatal(err)
	}
	failed := s.write(t.Context(), "journal/a.json", good)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &usual); err != nil {
		t.Fatal(err)
	}
	got, err := s.read(t.Context(), "journal/a.json")
	if failed == nil || err != nil || !bytes.Equal(got, good) {
		t.Errorf("the write gave %v; of %d bytes %d are left (%v)", failed, len(good), len(got), err)
	}
	if found := files(t, dir); len(found) != 1 {
		t.Errorf("the folder has %d files", len(found))
	}
}

// A journal in which copies come and go is looked through all the same.
func TestListOfABusyFolder(t *testing.T) {
	s, err := newStore("file://" + t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list := func() (names []string) {
		t.Helper()
		if err := s.list(t.Context(), "journal", func(o object) { names = append(names, o.name) }); err != nil {
			t.Fatal(err)
		}
		return names
	}
	if names := list(); len(names) != 0 {
		t.Errorf("an empty journal has %v", names)
	}
	if err := s.write(t.Context(), "journal/stays.json", nil); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for _, name := range []string{"journal/a.json", "journal/b.json", "journal/y.json", "journal/z.json"} {
		group.Go(func() {
			for range 200 {
				if err := errors.Join(s.write(t.Context(), name, nil), s.remove(t.Context(), name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		if !slices.Contains(list(), "journal/stays.json") {
			t.Fatal("a copy was not seen")
		}
	}
	group.Wait()
}

// Copies are touched while the journal is looked through, however long that takes: another router would take them up.
func TestCopiesAreTouchedDuringALongSweep(t *testing.T) {
	b, g := newBucket(t), newGateway(t)
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	stuck := make(chan struct{}, 100)
	b.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "dddd") {
			stuck <- struct{}{}
			select {
			case <-released:
			case <-r.Context().Done():
			}
		}
		b.serve(w, r)
	})
	b.objects["riposte/journal/"+strings.Repeat("d", 32)+".json"] = []byte("{}")
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "JOURNAL_URL", b.address(), "JOURNAL_TAKEOVER", "600ms")
	<-stuck
	s.expect(t, 202, alertAt(t, 1))
	begin := time.Now()
	eventually(t, "the copy is touched again and again", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		for key, at := range b.times {
			if !strings.Contains(key, "dddd") && at.Sub(begin) > 1200*time.Millisecond {
				return true
			}
		}
		return false
	})
	if len(stuck) > 0 || time.Since(begin) > storeTimeout {
		t.Error("the journal was looked through meanwhile")
	}
	close(released)
	eventually(t, "the journal is empty", func() bool { return len(b.keys()) == 0 })
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
