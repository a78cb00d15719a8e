package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Function is what the New of a function's package returns.
type Function interface {
	Start(ctx context.Context, environ map[string]string) error
	Handle(w http.ResponseWriter, r *http.Request)
}

// Running is a function that runs in this process.
type Running struct {
	Function
	// Proxy is between the function and the API server; nil where it has nothing to do with one.
	Proxy *Proxy

	token string // what callers have to send
	log   string
}

// stderr guards os.Stderr, which a function's log is bound to when it starts.
var stderr sync.Mutex //nolint:gochecknoglobals // It guards a global of package os.

// Run starts a function with these settings, its log in a file of the test.
func Run(tb testing.TB, f Function, settings map[string]string) *Running {
	tb.Helper()
	r := &Running{Function: f, token: settings["AUTH_TOKEN"], log: filepath.Join(tb.TempDir(), "log.json")}
	file, err := os.Create(r.log)
	if err != nil {
		tb.Fatalf("start the function: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("the function's log:\n%s", r.Log(tb))
		}
		_ = file.Close()
	})
	stderr.Lock()
	defer stderr.Unlock()
	was := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = was }()
	if err := f.Start(tb.Context(), settings); err != nil {
		tb.Fatalf("start the function: %v", err)
	}
	return r
}

// Run starts a function under its own ServiceAccount, by way of a Proxy, without claims and budgets unless settings say
// otherwise.
func (e *Env) Run(tb testing.TB, function string, f Function, settings map[string]string) *Running {
	tb.Helper()
	return e.RunAs(tb, e.Account(tb, function), f, settings)
}

// bareSettings are the settings of a function alone, without what makes repeats harmless: most tests look at what the function
// does by itself, and do it many times.
func bareSettings() map[string]string {
	return map[string]string{"CLAIMS": "none", "BUDGET_FUNCTION": "off", "BUDGET_WORKLOAD": "off", "BUDGET_CLUSTER": "off"}
}

// RunAs is Run under another account.
func (e *Env) RunAs(tb testing.TB, account *Account, f Function, settings map[string]string) *Running {
	tb.Helper()
	proxy := e.NewProxy(tb, account)
	all := bareSettings()
	all["KUBECONFIG"] = proxy.Kubeconfig
	maps.Copy(all, settings)
	r := Run(tb, f, all)
	r.Proxy = proxy
	return r
}

// Log is what the function has logged.
func (r *Running) Log(tb testing.TB) string {
	tb.Helper()
	b, err := os.ReadFile(r.log)
	if err != nil {
		tb.Errorf("read the function's log: %v", err)
	}
	return string(b)
}

// Errors are the counts of the function's errors by kind, from its metrics.
func (r *Running) Errors(tb testing.TB) map[string]string {
	tb.Helper()
	w := httptest.NewRecorder()
	r.Handle(w, httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/metrics", nil))
	kinds := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^riposte_response_errors_total\{kind="(\w+)",.*\} (\d+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
		kinds[m[1]] = m[2]
	}
	return kinds
}

// Answer is what a function answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Attributes are those of the outcome event, Record its data; both are empty where there is none.
	Attributes map[string]string
	Record     Record
}

// Record is the data of an outcome event, as far as tests look at it. It is read on its own, not with the
// functions' own type, because these names are what receivers rely on.
type Record struct {
	ID       string `json:"id"`
	Response string `json:"response"`
	Outcome  string `json:"outcome"`
	Reason   string `json:"reason"`
	Message  string `json:"message"`
	DryRun   bool   `json:"dry_run"`
	AlertID  string `json:"alert_id"`
	Target   struct {
		Kind, Namespace, Name, UID string
	} `json:"target"`
	Changes []struct {
		Field         string
		Before, After any
	} `json:"changes"`
	Details map[string]any `json:"details"`
}

// Verdict is the answer's status, outcome and reason as text: 200 refused too-few-replicas.
func (a Answer) Verdict() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", a.Status, a.Attributes["outcome"], a.Record.Reason))
}

// Expect demands a verdict.
func (a Answer) Expect(tb testing.TB, verdict string) {
	tb.Helper()
	if got := a.Verdict(); got != verdict {
		tb.Errorf("the answer is %q, want %q; its body is\n%s", got, verdict, a.Body)
	}
}

// Post sends an alert to a function as Falcosidekick's CloudEvents output does.
func Post(tb testing.TB, f Function, alert []byte) Answer {
	tb.Helper()
	return PostWith(tb.Context(), tb, f, alert)
}

// PostWith is Post with a context of its own.
func PostWith(ctx context.Context, tb testing.TB, f Function, alert []byte) Answer {
	tb.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://function.example/", nil)
	if err != nil {
		tb.Fatalf("send an alert: %v", err)
	}
	r.Header = Find(tb, "03").cloudEvent.header
	return Send(tb, f, r, alert)
}

// Send sends a request to a function, with another body unless that is nil.
func Send(tb testing.TB, f Function, r *http.Request, body []byte) Answer {
	tb.Helper()
	if body != nil {
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Del("Content-Length")
	}
	if running, ok := f.(*Running); ok && running.token != "" {
		r.Header.Set("Authorization", "Bearer "+running.token)
	}
	w := httptest.NewRecorder()
	f.Handle(w, r)
	return readAnswer(tb, w.Result(), w.Body.Bytes())
}

// ReadAnswer reads the answer of a function that runs elsewhere.
func ReadAnswer(tb testing.TB, r *http.Response) Answer {
	tb.Helper()
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		tb.Errorf("read the answer: %v", err)
	}
	_ = r.Body.Close()
	return readAnswer(tb, r, body.Bytes())
}

func readAnswer(tb testing.TB, r *http.Response, body []byte) Answer {
	tb.Helper()
	a := Answer{Status: r.StatusCode, Header: r.Header, Body: body, Attributes: map[string]string{}}
	for name, values := range r.Header {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			a.Attributes[attribute] = values[0]
		}
	}
	if a.Attributes["type"] != "" {
		if err := json.Unmarshal(body, &a.Record); err != nil {
			tb.Errorf("read the outcome %s: %v", body, err)
		}
		if err := ValidateOutcome(tb, body); err != nil {
			tb.Errorf("the outcome is not as docs/outcome.schema.json says: %v\n%s", err, body)
		}
	}
	return a
}
