package function

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/outbound/outboundtest"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

const (
	webhookPath = "/services/T00000000/B00000000/w3bh00k5ecret0000000000"
	token       = "xoxb-70k3n-s3cr3t"
	channel     = "C0123456789"
)

// secrets are what must not come out anywhere.
var secrets = []string{webhookPath, "w3bh00k5ecret0000000000", token}

// workspace is a local Slack: it keeps what was sent to it and answers as it is told.
type workspace struct {
	*httptest.Server
	mu       sync.Mutex
	requests []*http.Request
}

// newWorkspace answers by path: "webhook" for the incoming webhook, else the method of the Web API.
func newWorkspace(t *testing.T, answers map[string]http.HandlerFunc) *workspace {
	t.Helper()
	w := &workspace{}
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read a request: %v", err)
		}
		kept := r.Clone(r.Context())
		kept.Body = io.NopCloser(bytes.NewReader(body))
		w.mu.Lock()
		w.requests = append(w.requests, kept)
		w.mu.Unlock()
		name := strings.TrimPrefix(r.URL.Path, "/api/")
		if r.URL.Path == webhookPath {
			name = "webhook"
		}
		answer := answers[name]
		if answer == nil {
			t.Errorf("unexpected request: %s %s", r.Method, r.URL.Path)
			answer = http.NotFound
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

// sent lists the requests so far, by the last part of their path.
func (w *workspace) sent() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	names := []string{}
	for _, r := range w.requests {
		names = append(names, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	}
	return names
}

// last is the latest request as a golden file has it.
func (w *workspace) last(t *testing.T) []byte {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.requests) == 0 {
		t.Fatal("nothing was sent")
	}
	return outboundtest.FormatRequest(t, w.requests[len(w.requests)-1])
}

// says answers 200 with a body, of the type that Slack gives it.
func says(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if strings.HasPrefix(body, "{") {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}
		_, _ = io.WriteString(w, body)
	}
}

const postedAnswer = `{"ok":true,"channel":"C0123456789","ts":"1767225601.000200","message":{"text":"x"}}`

// byWebhook and byToken are settings for a workspace at an address.
func byWebhook(server string) Config {
	return Config{WebhookURL: config.NewSecret("SLACK_WEBHOOK_URL", server+webhookPath)}
}

func byToken(server string) Config {
	return Config{Token: config.NewSecret("SLACK_TOKEN", token), Channel: channel, APIURL: server + "/api/"}
}

func newSlack(t *testing.T, c Config, dryRun bool) response.OutcomeResponder {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := newResponder(c, response.Settings{DryRun: dryRun, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	takesOutcomes, ok := r.(response.OutcomeResponder)
	if !ok {
		t.Fatal("slack takes no outcomes")
	}
	return takesOutcomes
}

// captured is a captured alert.
func captured(t *testing.T, name string) falco.Alert {
	t.Helper()
	alert, err := falco.Decode(testkit.Find(t, name).Alert)
	if err != nil {
		t.Fatal(err)
	}
	return alert
}

// outcomeOf is what another function did about an alert.
func outcomeOf(alert falco.Alert, verdict response.Verdict, reason response.Reason, message string) response.Record {
	return response.Record{
		ID: "5f3c0a2be1d4470f9a6b8c7d6e5f4a3b", Response: "delete-pod", Outcome: verdict, Reason: reason, Message: message,
		DryRun: verdict == response.DryRun, AlertID: alert.ID(), Alert: alert,
		Target: &response.Target{Kind: "Pod", Namespace: alert.Pod().Namespace, Name: alert.Pod().Name, UID: "3e41dc6b-08a8-44db-bc2a-3724b18ab19a"},
	}
}

// bodyOf is the body of a request in JSON: a webhook's, or the named values of a form.
func bodyOf(t *testing.T, r *http.Request) map[string]any {
	t.Helper()
	m := map[string]any{}
	if r.Header.Get("Content-Type") == "application/json" {
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	if err := r.ParseForm(); err != nil {
		t.Fatal(err)
	}
	for name := range r.PostForm {
		m[name] = r.PostForm.Get(name)
	}
	return m
}
