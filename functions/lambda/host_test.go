package function

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/outbound/outboundtest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestContract(t *testing.T) {
	newCloud(t, answers(200, "null"))
	testkit.Conform(t, New, map[string]string{"LAMBDA_FUNCTION": "answer"})
}

// Every alert arrives whole: what the invoked function decodes is what Falco sent, numbers of any size included.
func TestPayloads(t *testing.T) {
	c := newCloud(t, answers(200, "null"))
	for _, capture := range testkit.Captures(t) {
		want, err := falco.Decode(capture.Alert)
		if err != nil {
			continue // That it is refused is for TestContract.
		}
		for form, request := range map[string]*http.Request{
			"cloudevents": capture.CloudEvent(t, ""), "openfaas": capture.OpenFaaS(t, ""), "webhook": capture.Webhook(t, ""),
		} {
			if request == nil {
				continue
			}
			t.Run(capture.Name+"/"+form, func(t *testing.T) {
				c.calls = nil
				// One process would take the forms of an alert for one event.
				r := testkit.Run(t, New(), map[string]string{"LAMBDA_FUNCTION": "answer", "MAX_ALERT_AGE": "0"})
				answer := testkit.Send(t, r, request, nil)
				if answer.Attributes["outcome"] == "refused" {
					if len(c.made()) != 0 {
						t.Errorf("a refused alert was sent: %v", c.made())
					}
					return
				}
				answer.Expect(t, "200 applied")
				if len(c.calls) != 1 {
					t.Fatalf("%d calls, want 1", len(c.calls))
				}
				got, err := falco.Decode([]byte(c.calls[0].Payload))
				if err != nil {
					t.Fatal(err)
				}
				if got.ID() != want.ID() {
					t.Errorf("the alert has another identity")
				}
				// Falcosidekick adds its own id, sorts the tags, fills in the source and cuts long texts.
				if diff := cmp.Diff(normal(want), normal(got)); diff != "" && !strings.Contains(c.calls[0].Payload, "[...]") {
					t.Errorf("alert (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func normal(a falco.Alert) falco.Alert {
	a.UUID = ""
	return a
}

func TestBigNumbersAreKept(t *testing.T) {
	c := newCloud(t, answers(200, "null"))
	alert := captured(t, "12")
	numbers := map[string]string{"a": "9223372036854775807", "b": "1767225600123456789", "c": "18446744073709551616", "d": "1e400", "e": "0.1000", "f": "-0"}
	for key, number := range numbers {
		alert.Fields[key] = json.Number(number)
	}
	if _, err := newLambda(t, Config{Function: "answer"}, false).Respond(t.Context(), alert); err != nil {
		t.Fatal(err)
	}
	var sent struct {
		Fields map[string]json.RawMessage `json:"output_fields"`
	}
	if err := json.Unmarshal([]byte(c.calls[0].Payload), &sent); err != nil {
		t.Fatal(err)
	}
	for key, number := range numbers {
		if string(sent.Fields[key]) != number {
			t.Errorf("%s was sent as %s", number, sent.Fields[key])
		}
	}
}

// bridge answers invocations with a real Lambda function: a bootstrap behind the Runtime API.
func bridge(t *testing.T, l *testkit.Lambda, queued chan<- testkit.LambdaAnswer) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		payload, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if q := r.URL.Query().Get("Qualifier"); q != "" && q != "live" {
			fails(404, "ResourceNotFoundException", "Function not found: "+q)(w, r)
			return
		}
		w.Header().Set("X-Amz-Executed-Version", "$LATEST")
		switch r.Header.Get("X-Amz-Invocation-Type") {
		case "DryRun":
			w.WriteHeader(http.StatusNoContent)
		case "Event":
			go func() { queued <- l.Invoke(t, payload) }()
			w.WriteHeader(http.StatusAccepted)
		default:
			answer := l.Invoke(t, payload)
			if answer.Error != nil {
				w.Header().Set("X-Amz-Function-Error", "Unhandled")
				answer.Payload, _ = json.Marshal(answer.Error)
			}
			_, _ = w.Write(answer.Payload)
		}
	}
}

func TestARealFunction(t *testing.T) {
	bootstrap := filepath.Join(t.TempDir(), "bootstrap")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "lambda.norpc", "-o", bootstrap, "./testdata/bootstrap")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the bootstrap: %v\n%s", err, out)
	}
	queued := make(chan testkit.LambdaAnswer, 1)
	c := newCloud(t, bridge(t, testkit.StartLambda(t, bootstrap), queued))
	critical := testkit.Find(t, "03").Retarget(testkit.Retargeting{Time: time.Now()}).Alert
	failing := []byte(strings.Replace(string(critical), `"falco-xczjd"`, `"fail"`, 1))
	tests := map[string]struct {
		settings map[string]string
		alert    []byte
		verdict  string
		calls    int
		queues   bool
	}{
		"answers":                    {nil, critical, "200 applied", 1, false},
		"answers to an alias":        {map[string]string{"LAMBDA_QUALIFIER": "live"}, critical, "200 applied", 1, false},
		"has no such alias":          {map[string]string{"LAMBDA_QUALIFIER": "old"}, critical, "422", 1, false},
		"fails":                      {nil, failing, "200 failed function-error", 1, false},
		"is asked later":             {map[string]string{"INVOCATION_TYPE": "Event"}, critical, "200 applied", 1, true},
		"fails when it is asked":     {map[string]string{"INVOCATION_TYPE": "Event"}, failing, "200 applied", 1, true},
		"is not asked":               {map[string]string{"INVOCATION_TYPE": "DryRun"}, critical, "200 dryrun", 1, false},
		"is not asked in a dry run":  {map[string]string{"DRY_RUN": "true", "INVOCATION_TYPE": "Event"}, critical, "200 dryrun", 1, false},
		"is not asked about too old": {nil, testkit.Find(t, "03").Alert, "200 refused too-old", 0, false},
		"is not asked about nothing": {nil, []byte(`{}`), "400", 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			settings := map[string]string{"LAMBDA_FUNCTION": "answer"}
			maps.Copy(settings, test.settings)
			c.calls = nil
			r := testkit.Run(t, New(), settings)
			answer := testkit.Post(t, r, test.alert)
			answer.Expect(t, test.verdict)
			if len(c.made()) != test.calls {
				t.Errorf("%d calls, want %d", len(c.made()), test.calls)
			}
			if test.queues {
				later := <-queued
				if failed := later.Error != nil; failed != strings.Contains(string(test.alert), `"fail"`) {
					t.Errorf("the function answered later: %+v", later)
				}
			}
			if payload, _ := answer.Record.Details["payload"].(string); test.verdict == "200 applied" && !test.queues {
				got, err := falco.Decode([]byte(payload))
				want, wantErr := falco.Decode(test.alert)
				if diff := cmp.Diff(want, got); diff != "" || err != nil || wantErr != nil {
					t.Errorf("the function got another alert (%v, %v) (-want +got):\n%s", err, wantErr, diff)
				}
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, answer, r.Log(t))
		})
	}
}

// What the caller is answered decides whether the alert comes again.
func TestWhatTheCallerIsAnswered(t *testing.T) {
	tests := map[string]struct {
		answer     http.HandlerFunc
		verdict    string
		retryAfter string
	}{
		"not allowed":      {fails(403, "AccessDeniedException", "no"), "422", ""},
		"no such function": {fails(404, "ResourceNotFoundException", "no"), "422", ""},
		"moved":            {answers(307, "", "Location: http://127.0.0.1:1/"), "422", ""},
		"being updated":    {fails(409, "ResourceConflictException", "no"), "500", ""},
		"busy":             {fails(429, "TooManyRequestsException", "no", "Retry-After: 3"), "429", "3"},
		"busy, no time":    {fails(429, "TooManyRequestsException", "no"), "500", ""},
		"broken":           {fails(500, "ServiceException", "no"), "500", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, test.answer)
			r := testkit.Run(t, New(), map[string]string{"LAMBDA_FUNCTION": "answer", "MAX_ALERT_AGE": "0"})
			answer := testkit.Post(t, r, testkit.Find(t, "03").Alert)
			answer.Expect(t, test.verdict)
			if got := answer.Header.Get("Retry-After"); got != test.retryAfter {
				t.Errorf("Retry-After is %q, want %q", got, test.retryAfter)
			}
			if len(c.made()) != 1 {
				t.Errorf("%d calls, want 1", len(c.made()))
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, answer, r.Log(t))
		})
	}
}

func TestRepeats(t *testing.T) {
	c := newCloud(t, answers(200, "null"))
	testkit.ConformRepeats(t, "lambda", New, map[string]string{"LAMBDA_FUNCTION": "answer"}, func() int { return len(c.made()) })
}

func TestRBAC(t *testing.T) { testkit.CheckRBAC(t, "lambda") }
