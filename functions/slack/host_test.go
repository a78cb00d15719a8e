package function

import (
	"encoding/json"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/outbound/outboundtest"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestContract(t *testing.T) {
	w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok"), "chat.postMessage": says(postedAnswer)})
	t.Run("by webhook", func(t *testing.T) {
		testkit.Conform(t, New, map[string]string{"SLACK_WEBHOOK_URL": w.URL + webhookPath})
	})
	t.Run("by token", func(t *testing.T) {
		testkit.Conform(t, New, map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": channel, "SLACK_API_URL": w.URL + "/api/"})
	})
}

// Every captured request gets 200 and one message, or none where a guardrail refused it, or 400 and none.
func TestCaptures(t *testing.T) {
	w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok")})
	for _, c := range testkit.Captures(t) {
		for form, request := range map[string]*http.Request{
			"cloudevents": c.CloudEvent(t, ""), "openfaas": c.OpenFaaS(t, ""), "webhook": c.Webhook(t, ""),
		} {
			if request == nil {
				continue
			}
			t.Run(c.Name+"/"+form, func(t *testing.T) {
				before := len(w.sent())
				// One process would take the forms of an alert for one event.
				r := testkit.Run(t, New(), map[string]string{"SLACK_WEBHOOK_URL": w.URL + webhookPath, "MAX_ALERT_AGE": "0"})
				answer := testkit.Send(t, r, request, nil)
				posted := len(w.sent()) - before
				switch {
				case answer.Status == http.StatusBadRequest && c.Rejected && posted == 0:
				case answer.Verdict() == "200 applied" && posted == 1:
				case answer.Attributes["outcome"] == string(response.Refused) && posted == 0:
				default:
					t.Errorf("%s with %d messages, falcosidekick refused it: %t\n%s", answer.Verdict(), posted, c.Rejected, answer.Body)
				}
				outboundtest.AssertLeaksNoSecret(t, secrets, answer.Body)
				outboundtest.AssertLeaksNoSecret(t, secrets, r.Log(t))
			})
		}
	}
}

// What the caller is answered decides whether the alert comes again.
func TestWhatTheCallerIsAnswered(t *testing.T) {
	tests := map[string]struct {
		answer     http.HandlerFunc
		verdict    string
		retryAfter string
	}{
		"posted":  {says("ok"), "200 applied", ""},
		"revoked": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no_service", http.StatusNotFound) }, "422", ""},
		"limited": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "30")
			http.Error(w, "rate_limited", http.StatusTooManyRequests)
		}, "429", "30"},
		"limited for nobody knows how long": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "rate_limited", http.StatusTooManyRequests)
		}, "500", ""},
		"broken": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "rollup_error", http.StatusInternalServerError)
		}, "500", ""},
		"moved": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
		}, "422", ""},
		"slow": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "500", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": test.answer})
			r := testkit.Run(t, New(), map[string]string{"SLACK_WEBHOOK_URL": w.URL + webhookPath, "RESPONSE_TIMEOUT": "1s", "MAX_ALERT_AGE": "0"})
			answer := testkit.Post(t, r, testkit.Find(t, "03").Alert)
			answer.Expect(t, test.verdict)
			if got := answer.Header.Get("Retry-After"); got != test.retryAfter {
				t.Errorf("Retry-After is %q, want %q", got, test.retryAfter)
			}
			if len(w.sent()) != 1 {
				t.Errorf("%d requests, want 1", len(w.sent()))
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, answer, r.Log(t))
		})
	}
}

// An outcome comes the way a Broker brings it: as the reply of another function.
func TestOutcomesThroughTheHost(t *testing.T) {
	alert := captured(t, "02")
	alert.Time = time.Now()
	tests := map[string]struct {
		record  response.Record
		verdict string
		posts   int
	}{
		"of another function": {outcomeOf(alert, response.Applied, "", "deleted"), "200 applied", 1},
		"of its own":          {response.Record{Response: "slack", Outcome: response.Applied, Alert: alert, AlertID: alert.ID()}, "204", 0},
		"of nobody":           {response.Record{Alert: alert, AlertID: alert.ID()}, "400", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok")})
			r := testkit.Run(t, New(), map[string]string{"SLACK_WEBHOOK_URL": w.URL + webhookPath})
			body, err := json.Marshal(test.record)
			if err != nil {
				t.Fatal(err)
			}
			request := testkit.Find(t, "02").CloudEvent(t, "")
			request.Header.Set("Ce-Type", response.TypeOutcome)
			request.Header.Set("Ce-Source", "/functions/delete-pod")
			testkit.Send(t, r, request, body).Expect(t, test.verdict)
			if len(w.sent()) != test.posts {
				t.Errorf("%d messages, want %d", len(w.sent()), test.posts)
			}
		})
	}
}

func TestDryRunThroughTheHost(t *testing.T) {
	w := newWorkspace(t, nil)
	r := testkit.Run(t, New(), map[string]string{"SLACK_WEBHOOK_URL": w.URL + webhookPath, "MAX_ALERT_AGE": "0", "DRY_RUN": "true"})
	answer := testkit.Post(t, r, testkit.Find(t, "03").Alert)
	answer.Expect(t, "200 dryrun")
	if !answer.Record.DryRun || len(w.sent()) != 0 {
		t.Errorf("dry run: %t, requests %v", answer.Record.DryRun, w.sent())
	}
}

func TestRepeats(t *testing.T) {
	w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok")})
	testkit.ConformRepeats(t, "slack", New, map[string]string{"SLACK_WEBHOOK_URL": w.URL + webhookPath}, func() int { return len(w.sent()) })
}

func TestRBAC(t *testing.T) { testkit.CheckRBAC(t, "slack") }
