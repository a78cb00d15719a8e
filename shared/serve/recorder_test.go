package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// recorder is a response that keeps what it is called with.
type recorder struct {
	mu      sync.Mutex
	alerts  []falco.Alert
	records []response.Record
	// respond, where set, is asked for the answer.
	respond func(context.Context, falco.Alert) (response.Outcome, error)
}

func (r *recorder) Respond(ctx context.Context, a falco.Alert) (response.Outcome, error) {
	r.mu.Lock()
	r.alerts = append(r.alerts, a)
	r.mu.Unlock()
	if r.respond != nil {
		return r.respond(ctx, a)
	}
	return response.Outcome{Verdict: response.Applied, Message: "recorded"}, nil
}

func (r *recorder) RespondOutcome(_ context.Context, record response.Record) (response.Outcome, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record)
	return response.Outcome{Verdict: response.Applied, Message: "recorded"}, nil
}

// taken are the alerts since the last time it was asked.
func (r *recorder) taken() []falco.Alert {
	r.mu.Lock()
	defer r.mu.Unlock()
	alerts := r.alerts
	r.alerts = nil
	return alerts
}

// define is the recorder as a function of that name.
func define(name string, r response.Responder) *serve.Function {
	return serve.New(serve.Define(serve.Info{Name: name, Summary: "keeps what it gets.", Activity: response.Detect},
		func(struct{}, response.Settings) (response.Responder, error) { return r, nil }))
}

// start is the recorder as a running function, which takes alerts of any age, and each of them as often as it comes.
func start(tb testing.TB, r response.Responder, environ map[string]string) *serve.Function {
	tb.Helper()
	all := map[string]string{"MAX_ALERT_AGE": "0", "LOG_LEVEL": "ERROR", "CLAIMS": "none"}
	maps.Copy(all, environ)
	f := define("recorder", r)
	if err := f.Start(tb.Context(), all); err != nil {
		tb.Fatal(err)
	}
	return f
}

// listen is a running function behind a real server.
func listen(t *testing.T, r response.Responder, environ map[string]string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(start(t, r, environ).Handle))
	t.Cleanup(server.Close)
	return server
}

// reply is an answer, read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func send(tb testing.TB, r *http.Request) reply {
	tb.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, body}
}

func post(tb testing.TB, url, contentType string, body []byte) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// outcome is the outcome event in an answer, and the record in that.
func outcome(tb testing.TB, a reply) (event.Event, response.Record) {
	tb.Helper()
	if a.status != http.StatusOK {
		tb.Fatalf("status is %d: %s", a.status, a.body)
	}
	e, err := cehttp.NewEventFromHTTPResponse(&http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body))})
	if err != nil {
		tb.Fatalf("the answer is no CloudEvent: %v", err)
	}
	return *e, recordOf(tb, *e)
}

// recordOf is the record in an outcome event, which has to be one by all rules.
func recordOf(tb testing.TB, e event.Event) response.Record {
	tb.Helper()
	if err := e.Validate(); err != nil {
		tb.Errorf("the outcome event is not valid: %v", err)
	}
	if e.Type() != response.TypeOutcome || !strings.HasPrefix(e.Source(), "/functions/") {
		tb.Errorf("the outcome event has type %s and source %s", e.Type(), e.Source())
	}
	var record response.Record
	if err := json.Unmarshal(e.Data(), &record); err != nil {
		tb.Fatalf("the outcome is not readable: %v", err)
	}
	return record
}

// refusedInOneLine checks what a refusal looks like: Knative copies it into an attribute of the dead-lettered event.
func refusedInOneLine(tb testing.TB, a reply) {
	tb.Helper()
	text, ended := strings.CutSuffix(string(a.body), "\n")
	if !ended || text == "" || len(text) > 512 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		tb.Errorf("status %d with body %q: want one line of at most 512 printable ASCII characters", a.status, a.body)
	}
	for name := range a.header {
		if strings.HasPrefix(name, "Ce-") {
			tb.Errorf("status %d with header %s: a refusal is no event", a.status, name)
		}
	}
	if got := a.header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		tb.Errorf("status %d with content type %q", a.status, got)
	}
}
