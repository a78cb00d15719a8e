package function

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

const token16 = "0123456789abcdef"

// call is one request that a function got.
type call struct {
	header http.Header
	body   []byte
	at     time.Time
}

// gateway is a server with functions behind it, as OpenFaaS's is: /function/NAME. Everything else takes dead letters.
type gateway struct {
	*httptest.Server
	working   sync.WaitGroup
	mu        sync.Mutex
	functions map[string]http.HandlerFunc
	calls     map[string][]call
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{functions: map[string]http.HandlerFunc{}, calls: map[string][]call{}}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(func() {
		g.CloseClientConnections()
		g.Close()
		g.working.Wait()
	})
	return g
}

func (g *gateway) serve(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.mu.Lock()
	g.calls[name] = append(g.calls[name], call{r.Header.Clone(), body, time.Now()})
	function := g.functions[name]
	g.mu.Unlock()
	switch {
	case function == nil:
	case strings.HasPrefix(r.URL.Path, "/async-function/"):
		g.queue(w, r, name, function)
	default:
		function(w, r)
	}
}

// queue answers as the asynchronous route does, and calls back as the queue's worker does.
// https://github.com/openfaas/nats-queue-worker/blob/master/main.go
func (g *gateway) queue(w http.ResponseWriter, r *http.Request, name string, function http.HandlerFunc) {
	w.Header().Set("X-Call-Id", "1")
	w.WriteHeader(http.StatusAccepted)
	body, _ := io.ReadAll(r.Body)
	later := r.Clone(context.WithoutCancel(r.Context()))
	g.working.Go(func() { //nolint:contextcheck // The request's context ends before the queue is done.
		later.Body = io.NopCloser(bytes.NewReader(body))
		result := httptest.NewRecorder()
		function(result, later)
		if result.Code == lostResult {
			return
		}
		back, err := http.NewRequestWithContext(later.Context(), http.MethodPost, later.Header.Get("X-Callback-Url"), result.Body)
		if err != nil {
			return
		}
		back.Header = result.Header().Clone()
		back.Header.Set("X-Function-Status", strconv.Itoa(result.Code))
		back.Header.Set("X-Function-Name", name)
		back.Header.Set("X-Duration-Seconds", "0.1")
		back.Header.Set("X-Call-Id", "1")
		if answer, err := g.Client().Do(back); err == nil {
			_ = answer.Body.Close()
		}
	})
}

// lostResult is the status of a function whose result the queue loses.
const lostResult = 599

// function puts a function behind the gateway. Of several handlers each takes one call, the last all further ones.
func (g *gateway) function(name string, handlers ...http.HandlerFunc) {
	var mu sync.Mutex
	next := 0
	g.mu.Lock()
	defer g.mu.Unlock()
	g.functions[name] = func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[min(next, len(handlers)-1)]
		next++
		mu.Unlock()
		h(w, r)
	}
}

// then says what a function answers at its nth call, counted from 0, and at all further ones.
func (g *gateway) then(name string, n int, handler http.HandlerFunc) {
	g.mu.Lock()
	before := g.functions[name]
	g.mu.Unlock()
	if n == 0 {
		g.function(name, handler)
		return
	}
	var handlers []http.HandlerFunc
	for range n {
		handlers = append(handlers, before)
	}
	g.function(name, append(handlers, handler)...)
}

func (g *gateway) got(name string) []call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]call(nil), g.calls[name]...)
}

func answers(status int, text string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
}

// hangsUntil answers when the channel is closed.
func hangsUntil(released <-chan struct{}) http.HandlerFunc {
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	}
}

// outcomes answers every alert with an outcome, as functions do.
func outcomes(function string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		alert, _ := io.ReadAll(r.Body)
		record := map[string]any{
			"id": r.Header.Get("Ce-Id")[:16] + token16, "response": function, "outcome": "applied", "message": "done",
			"alert": json.RawMessage(alert), "alert_id": r.Header.Get("Ce-Id"),
		}
		if r.Header.Get("Ce-Type") == response.TypeOutcome {
			record["alert"] = json.RawMessage(`{"rule":"r","priority":"Notice","time":"2026-01-01T00:00:00Z","output_fields":{"a":"b"}}`)
		}
		for name, value := range map[string]string{
			"specversion": "1.0", "type": response.TypeOutcome, "source": "/functions/" + function, "id": r.Header.Get("Ce-Id")[:16] + token16,
			"response": function, "outcome": "applied", "rule": "r", "priority": "Notice", "eventsource": "syscall", "alertid": r.Header.Get("Ce-Id"),
		} {
			w.Header().Set("Ce-"+name, value)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(record)
	}
}

// manifest is a Trigger of alerts, or of outcomes, for a function.
func manifest(function, eventType, delivery string, filters ...string) string {
	return fmt.Sprintf(`apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: to-%[1]s, namespace: riposte}
spec:
  broker: default
  filters:
    - exact: {type: %[2]s}
%[4]s  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: %[1]s}}
  delivery: {%[3]s}
---
`, function, eventType, delivery, strings.Join(filters, ""))
}

const (
	alerts = "dev.riposte.alert.v1"
	done   = "dev.riposte.response.v1"
	// quick is a policy that a test can wait for, of three attempts.
	quick = "retry: 2, backoffPolicy: exponential, backoffDelay: PT0.1S, timeout: PT10S"
	// patient is one of a single attempt that outlasts a test.
	patient = "retry: 0, timeout: PT2M"
)

// folder writes manifests where a router finds them.
func folder(t *testing.T, manifests ...string) string {
	t.Helper()
	dir := t.TempDir()
	rewrite(t, dir, manifests...)
	return dir
}

func rewrite(tb testing.TB, dir string, manifests ...string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(strings.Join(manifests, "")), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// started is a router that runs in this process, by its own handler.
type started struct {
	*testkit.Running
	server   *httptest.Server
	URL      string
	settings map[string]string
}

// routing starts a router with these Triggers in front of the gateway.
func routing(t *testing.T, g *gateway, dir string, more ...string) *started {
	t.Helper()
	settings := map[string]string{"AUTH_TOKEN": token16, "TRIGGERS": dir, "FUNCTION_URL": g.URL + "/function/{function}", "DEAD_LETTER_URL": g.URL + "/dead"}
	if dir == "" {
		delete(settings, "TRIGGERS")
		delete(settings, "FUNCTION_URL")
	}
	for i := 0; i+1 < len(more); i += 2 {
		if settings[more[i]] = more[i+1]; more[i+1] == "" {
			delete(settings, more[i])
		}
	}
	f := New()
	s := &started{Running: testkit.Run(t, f, settings), settings: settings}
	s.server = httptest.NewServer(http.HandlerFunc(f.Handle))
	s.URL = s.server.URL
	t.Cleanup(func() {
		s.server.CloseClientConnections()
		s.server.Close()
		if err := f.Stop(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return s
}

// post sends a body with the token, and gives back status, header and body of the answer.
func (s *started) post(t *testing.T, body []byte, header ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token16)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := s.server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(text)
}

// expect posts an alert and demands a status.
func (s *started) expect(t *testing.T, status int, body []byte, header ...string) (http.Header, string) {
	t.Helper()
	got, h, text := s.post(t, body, header...)
	if got != status {
		t.Fatalf("answered %d %s, want %d", got, text, status)
	}
	return h, text
}

// metric is the value of a line of /metrics, "" where there is none.
func (s *started) metric(t *testing.T, line string) string {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	for text := range strings.Lines(w.Body.String()) {
		if value, found := strings.CutPrefix(text, line+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// alertAt is an alert like that of a capture, of its own identity and with bytes that no encoder would write.
func alertAt(tb testing.TB, n int) []byte {
	tb.Helper()
	at := time.Date(2026, 1, 1, 0, 0, 0, n, time.UTC).Format(time.RFC3339Nano)
	return fmt.Appendf(nil, `{ "rule":"Terminal shell in container","priority":"Notice", "time":%q,"source":"syscall","hostname":"n1","tags":["a","b"],`+
		`"output":"é\u00e9 <x>","output_fields":{"k8s.ns.name":"shop","k8s.pod.name":"cart-0","container.id":"0123456789ab","n":12345678901234567890.10} }`, at)
}
