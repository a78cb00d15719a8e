package function

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// benchRouter is a router with that many Triggers, each for a rule of its own. It writes its log, to nowhere.
func benchRouter(b *testing.B, triggers int, functionURL string) *router {
	b.Helper()
	var manifests []string
	for n := range triggers {
		manifests = append(manifests, manifest(fmt.Sprintf("f%d", n), alerts, quick, fmt.Sprintf("    - exact: {rule: rule %d}\n", n)))
	}
	dir := b.TempDir()
	rewrite(b, dir, manifests...)
	s, err := newRouter(Config{
		access: access{Auth: authRequired, Secrets: auth.Secrets{Token: config.NewSecret("AUTH_TOKEN", token16)}},
		output: output{Triggers: dir, FunctionURL: functionURL + "/{function}", Concurrency: 10, Queue: 100_000, Timeout: time.Minute},
	}, serve.Host{Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), Metrics: prometheus.NewRegistry(), Tracer: noop.Tracer{}}) //nolint:sloglint // Its lines cost what they cost.
	if err != nil {
		b.Fatal(err)
	}
	r, ok := s.(*router)
	if !ok {
		b.Fatalf("the router is %T", s)
	}
	return r
}

// BenchmarkTake is an event by take() that no Trigger wants: reading, naming, matching, and the line in the log.
// BenchmarkMatch is the same for one that a Trigger wants, without the delivery.
func BenchmarkTake(b *testing.B) {
	for _, triggers := range []int{10, 100, 1000} {
		for name, rule := range map[string]string{"unwanted": "no such rule", "wanted": "rule 5"} {
			b.Run(fmt.Sprintf("%s/%d-triggers", name, triggers), func(b *testing.B) {
				e := benchRouter(b, triggers, "http://127.0.0.1:1").engine
				in := []serve.Event{{Event: response.Event{Type: falco.TypeFalcosidekick, Data: []byte(strings.ReplaceAll(string(alertAt(b, 1)), "Terminal shell in container", rule))}}}
				b.ReportAllocs()
				for b.Loop() {
					if name == "unwanted" {
						if _, err := e.take(b.Context(), in); err != nil {
							b.Fatal(err)
						}
						continue
					}
					if events, err := e.match(b.Context(), in); err != nil || len(events[0].routes) != 1 {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkJournal is an alert by take() with a journal in a folder: written and synced, delivered, removed.
func BenchmarkJournal(b *testing.B) {
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	b.Cleanup(function.Close)
	e := benchRouter(b, 10, function.URL).engine
	var err error
	e.settings.JournalURL = "file://" + b.TempDir()
	if e.journal, err = newJournal(journaling{JournalURL: e.settings.JournalURL, Takeover: time.Minute}); err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			body := bytes.ReplaceAll(alertAt(b, int(n.Add(1))), []byte("Terminal shell in container"), []byte("rule 5"))
			if r, err := e.take(b.Context(), []serve.Event{{Event: response.Event{Type: falco.TypeFalcosidekick, Data: body}}}); err != nil || !r.queued {
				b.Errorf("taken: %v (%v)", r, err)
			}
		}
	})
	e.tasks.drain(time.Minute)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkThroughput posts alerts on one core to one function: through the router, and through a reverse proxy.
func BenchmarkThroughput(b *testing.B) {
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	b.Cleanup(function.Close)
	to, err := url.Parse(function.URL)
	if err != nil {
		b.Fatal(err)
	}
	r := benchRouter(b, 10, function.URL)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.Transport = &http.Transport{MaxIdleConnsPerHost: 100}
	for name, handler := range map[string]http.Handler{
		"router": http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			text, _ := io.ReadAll(q.Body)
			reply, err := r.Exchange(q.Context(), serve.Request{Header: q.Header, Query: q.URL.Query(), Body: text})
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.WriteHeader(reply.Status)
		}),
		"reverse-proxy": proxy,
	} {
		b.Run(name, func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // Package testing sets it for each.
			server := httptest.NewServer(handler)
			defer server.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
			var n atomic.Int64 // Each alert has an identity of its own: repeats would join.
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					body := bytes.ReplaceAll(alertAt(b, int(n.Add(1))), []byte("Terminal shell in container"), []byte("rule 5"))
					q, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL, bytes.NewReader(body))
					q.Header.Set("Authorization", "Bearer "+token16)
					answer, err := client.Do(q)
					if err != nil || answer.StatusCode != http.StatusNoContent {
						b.Errorf("answered %v (%v)", answer, err)
						return
					}
					_ = answer.Body.Close()
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
