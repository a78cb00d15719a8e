// Package artifacttest runs a real server of S3's API for tests: versitygw, which keeps buckets as folders. Its module is
// test/s3server; it is built into dist/tools when a test first needs it, and serves on an address of this machine.
package artifacttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// The buckets of a server: one that the credentials of Environment may use, and one that is somebody else's.
const (
	Bucket = "evidence"
	Others = "others"
)

// The users of a server.
const (
	writer = "writer"
	owner  = "owner"
	secret = "not-a-secret"
)

// Environment are the variables with which the AWS SDK finds the credentials for Bucket, and no others.
func Environment() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": writer, "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_REGION": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "2",
	}
}

// S3 is a server. Between it and the test stands a proxy that can make requests fail.
type S3 struct {
	endpoint string
	data     string
	serving  sync.RWMutex // held for writing while a bucket is taken away

	mu    sync.Mutex
	fault http.HandlerFunc
	fits  func(*http.Request) bool
}

// Start starts a server that ends with the test.
func Start(tb testing.TB) *S3 {
	tb.Helper()
	binary := build(tb, testkit.Root(tb))
	s := &S3{data: folder(tb, "data")}
	users := folder(tb, "iam")
	account := map[string]any{"accessAccounts": map[string]any{writer: map[string]any{"access": writer, "secret": secret, "role": "user"}}}
	content, err := json.Marshal(account)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(users, "users.json"), content, 0o600); err != nil {
		tb.Fatal(err)
	}
	upstream := run(tb, binary, s.data, users)
	for bucket, of := range map[string]string{Bucket: writer, Others: owner} {
		admin := exec.CommandContext(tb.Context(), binary, "admin", "--access", owner, "--secret", secret, "--endpoint-url", upstream.String(),
			"create-bucket", "--owner", of, "--bucket", bucket)
		if said, err := admin.CombinedOutput(); err != nil {
			tb.Fatalf("make the bucket %s: %v\n%s", bucket, err, said)
		}
	}
	proxy := &httputil.ReverseProxy{
		// The host is part of what is signed.
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(upstream); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		fault, fits := s.fault, s.fits
		s.mu.Unlock()
		if fault != nil && fits(r) {
			fault(w, r)
			return
		}
		s.serving.RLock()
		defer s.serving.RUnlock()
		proxy.ServeHTTP(w, r)
	}))
	tb.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.endpoint = server.URL
	return s
}

func folder(tb testing.TB, name string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		tb.Fatal(err)
	}
	return path
}

// run starts the server on a port that is free, and waits until it answers.
func run(tb testing.TB, binary, data, users string) *url.URL {
	tb.Helper()
	free, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		tb.Fatal(err)
	}
	// Metadata beside the objects, not in extended attributes, which not every file system has.
	command := exec.CommandContext(tb.Context(), binary, "--port", address, "--iam-dir", users, "--quiet",
		"posix", "--sidecar", folder(tb, "metadata"), data)
	command.Env = []string{"ROOT_ACCESS_KEY=" + owner, "ROOT_SECRET_KEY=" + secret}
	command.SysProcAttr = childAttributes()
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		tb.Fatal(err)
	}
	var waited error
	ended := make(chan struct{})
	go func() {
		waited = command.Wait()
		close(ended)
	}()
	tb.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	address = "http://" + address
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for range 1000 {
		select {
		case <-ended:
			tb.Fatalf("the S3 server ended: %v\n%s", waited, &said)
		case <-ticker.C:
		}
		request, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, address, nil)
		if err != nil {
			tb.Fatal(err)
		}
		if answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request); err == nil {
			_ = answer.Body.Close()
			u, err := url.Parse(address)
			if err != nil {
				tb.Fatal(err)
			}
			return u
		}
	}
	tb.Fatal("the S3 server does not answer")
	return nil
}

// URL is the address of a folder in a bucket, as ARTIFACT_URL takes it.
func (s *S3) URL(bucket, prefix string) string {
	return "s3://" + bucket + "/" + prefix + "?region=us-east-1&use_path_style=true&endpoint=" + url.QueryEscape(s.endpoint)
}

// Break has requests that fit answered by fault, until it is nil.
func (s *S3) Break(fits func(*http.Request) bool, fault http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fits, s.fault = fits, fault
}

// Answers is S3's error of a status and a code.
func Answers(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>made up by a test</Message></Error>", code)
	}
}

// Silence takes a request and never answers it.
func Silence(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then is it seen that the caller has gone
	<-r.Context().Done()
}

// Objects are the objects of a bucket by their keys, as they are on the server's disk.
func (s *S3) Objects(tb testing.TB, bucket string) map[string][]byte {
	tb.Helper()
	objects := map[string][]byte{}
	root, err := os.OpenRoot(filepath.Join(s.data, bucket))
	if errors.Is(err, fs.ErrNotExist) {
		return objects
	}
	if err != nil {
		tb.Fatalf("read the bucket: %v", err)
	}
	defer root.Close() //nolint:errcheck // It was read only.
	err = fs.WalkDir(root.FS(), ".", func(key string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(key, ".") { // The server's own files begin with a point.
			return err
		}
		objects[key], err = root.ReadFile(key)
		if errors.Is(err, fs.ErrNotExist) { // replaced in between
			return nil
		}
		return err
	})
	if err != nil {
		tb.Fatalf("read the bucket: %v", err)
	}
	return objects
}

// Parts counts the parts of uploads that were begun in a bucket and neither completed nor taken back.
func (s *S3) Parts(tb testing.TB, bucket string) int {
	tb.Helper()
	count := 0
	err := filepath.WalkDir(filepath.Join(s.data, bucket, ".sgwtmp"), func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			count++
		}
		return err
	})
	if err != nil {
		tb.Fatalf("count parts: %v", err)
	}
	return count
}

// RemoveBucket removes a bucket with all that is in it, between two requests: what the server says of an object whose bucket
// goes while it is being written depends on the moment.
func (s *S3) RemoveBucket(tb testing.TB, bucket string) {
	tb.Helper()
	s.serving.Lock()
	defer s.serving.Unlock()
	if err := os.RemoveAll(filepath.Join(s.data, bucket)); err != nil {
		tb.Fatal(err)
	}
}
