package function

import (
	"bytes"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func puts(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodPost }

func TestStoreThatFails(t *testing.T) {
	t.Parallel()
	pod := deploy(t)
	manifests := func(r *http.Request) bool { return puts(r) && strings.HasSuffix(r.URL.Path, manifestName) }
	for name, tc := range map[string]struct {
		bucket string
		fits   func(*http.Request) bool
		fault  http.HandlerFunc
		want   string
	}{
		"a bucket that is not there":       {"nowhere", nil, nil, "422"},
		"a bucket of somebody else's":      {artifacttest.Others, nil, nil, "422"},
		"it has an error":                  {artifacttest.Bucket, puts, artifacttest.Answers(http.StatusInternalServerError, "InternalError"), "500"},
		"it is asked too often":            {artifacttest.Bucket, puts, artifacttest.Answers(http.StatusServiceUnavailable, "SlowDown"), "500"},
		"it does not answer":               {artifacttest.Bucket, puts, artifacttest.Silence, "500"},
		"it does not even say what it has": {artifacttest.Bucket, func(*http.Request) bool { return true }, artifacttest.Silence, "500"},
		"it has an error at the end":       {artifacttest.Bucket, manifests, artifacttest.Answers(http.StatusInternalServerError, "InternalError"), "500"},
		"it may be written, but not looked at": {
			artifacttest.Bucket, func(r *http.Request) bool { return r.Method == http.MethodGet }, artifacttest.Answers(http.StatusForbidden, "AccessDenied"), "200 applied",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := artifacttest.Start(t)
			p := bucket(server)
			p.address = server.URL(tc.bucket, "kept")
			server.Break(tc.fits, tc.fault)
			r := run(t, p, settings{"RESPONSE_TIMEOUT": "10s"})
			alert := testkit.AlertFor(t, pod)
			begin := time.Now()
			answer := testkit.Post(t, r, alert)
			answer.Expect(t, tc.want)
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			if strings.Contains(string(answer.Body)+r.Log(t), artifacttest.Environment()["AWS_SECRET_ACCESS_KEY"]) {
				t.Error("the answer or the log shows the key")
			}
			for key := range p.objects(t) {
				if tc.want != "200 applied" && strings.HasSuffix(key, manifestName) {
					t.Errorf("there is %s", key)
				}
			}
			if tc.bucket != artifacttest.Bucket {
				return
			}
			// When it works again, so does the next delivery.
			server.Break(nil, nil)
			testkit.Post(t, r, alert).Expect(t, "200 applied")
			find(t, p)
		})
	}
}

func TestBucketThatIsRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	pod, server := deploy(t), artifacttest.Start(t)
	p := bucket(server)
	r := run(t, p, nil)
	r.Proxy.Inject(&testkit.Fault{Resource: "pods/log", Times: 1, Effect: testkit.Meanwhile(func() { server.RemoveBucket(t, artifacttest.Bucket) })})
	testkit.Post(t, r, testkit.AlertFor(t, pod)).Expect(t, "422")
}

func TestBundleThatIsCompleteIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	pod := deploy(t)
	for name, p := range map[string]place{"in a folder": folder(t), "in a bucket": bucket(artifacttest.Start(t))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			alert := testkit.AlertFor(t, pod)
			first := testkit.Post(t, run(t, p, nil), alert)
			first.Expect(t, "200 applied")
			before := find(t, p)

			other := run(t, p, nil) // one that knows nothing of the first
			other.Proxy.Inject(&testkit.Fault{Resource: "pods/log", Effect: says("what somebody wants it to say")})
			again := testkit.Post(t, other, alert)
			again.Expect(t, "200 applied recovered")

			after := find(t, p)
			if before.sum != after.sum || !bytes.Equal(before.files["logs/app.log"], after.files["logs/app.log"]) {
				t.Error("the bundle has changed")
			}
			checkOutcome(t, after, again, p)
			if again.Record.ID != first.Record.ID {
				t.Errorf("the outcomes are %s and %s, want one", first.Record.ID, again.Record.ID)
			}
			for _, request := range other.Proxy.Requests() {
				if request.Resource == "pods/log" {
					t.Errorf("it asked for %s", request)
				}
			}
		})
	}
}

func TestManifestThatIsNoneIsReplaced(t *testing.T) {
	t.Parallel()
	pod, p := deploy(t), folder(t)
	for name, manifest := range map[string]string{"no json": "x", "empty": "{}", "of another alert": `{"format":1,"alert":{"id":"x"}}`} {
		alert := testkit.AlertFor(t, pod)
		r := run(t, p, nil)
		first := testkit.Post(t, r, alert)
		first.Expect(t, "200 applied")
		s := find(t, p)
		write(t, p, s.folder+"/"+manifestName, manifest)
		second := testkit.Post(t, run(t, p, nil), alert)
		second.Expect(t, "200 applied")
		if now := find(t, p); now.sum == sum([]byte(manifest)) || artifactsOf(t, second).ManifestSHA256 != now.sum {
			t.Errorf("%s: the manifest is still %s", name, now.files[manifestName])
		}
		remove(t, p, s.folder)
	}
}

// A log of 50 MB goes through the function, not into it.
func TestLongLogTakesLittleMemory(t *testing.T) { //nolint:paralleltest // It measures the process.
	const size = 50 << 20
	pod := deploy(t)
	server := artifacttest.Start(t)
	for name, tc := range map[string]struct {
		place place
		limit string
		kept  int
	}{
		"whole in a folder": {folder(t), "64Mi", size},
		"whole in a bucket": {bucket(server), "64Mi", size},
		"cut in a folder":   {folder(t), "2Mi", 2 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t, tc.place, settings{"LOG_LIMIT_BYTES": tc.limit, "PART_TIMEOUT": "50s", "RESPONSE_TIMEOUT": "100s"})
			var most atomic.Uint64
			line := []byte(strings.Repeat("x", 1023) + "\n")
			r.Proxy.Inject(&testkit.Fault{Resource: "pods/log", Effect: onlyLog("app", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
				w.Header().Set("Content-Type", "text/plain")
				var m runtime.MemStats
				for i := range size / len(line) {
					if _, err := w.Write(line); err != nil {
						return
					}
					if i%1024 == 0 {
						runtime.ReadMemStats(&m)
						most.Store(max(most.Load(), m.HeapAlloc))
					}
				}
			})})
			defer debug.SetGCPercent(debug.SetGCPercent(20))
			runtime.GC()
			var before runtime.MemStats
			runtime.ReadMemStats(&before)
			answer := testkit.Post(t, r, testkit.AlertFor(t, pod))
			if answer.Status != http.StatusOK || answer.Attributes["outcome"] != "applied" {
				t.Fatalf("the answer is %q: %s", answer.Verdict(), answer.Body)
			}
			s := find(t, tc.place)
			if got := bytes.Count(s.files["logs/app.log"], []byte("x")); got < tc.kept/1024*1023-1024 || got > tc.kept {
				t.Errorf("%d bytes of the log are kept, want %d", got, tc.kept)
			}
			if grown := int64(most.Load()) - int64(before.HeapAlloc); grown > 32<<20 {
				t.Errorf("the heap grew by %d MiB, want 32 at most", grown>>20)
			}
		})
	}
}
