package function

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/outbound/outboundtest"
	"github.com/riposte-dev/riposte/shared/response"
)

func TestRetriesByWebhook(t *testing.T) {
	alert := captured(t, "03")
	outboundtest.RetryTests(t, outboundtest.Sink{Answer: "ok", Secrets: secrets, Send: func(ctx context.Context, server string) error {
		_, err := newSlack(t, byWebhook(server), false).Respond(ctx, alert)
		return err
	}})
}

func TestRetriesByToken(t *testing.T) {
	alert := captured(t, "03")
	outboundtest.RetryTests(t, outboundtest.Sink{Answer: postedAnswer, Success: []int{200}, Secrets: secrets, Send: func(ctx context.Context, server string) error {
		_, err := newSlack(t, byToken(server), false).Respond(ctx, alert)
		return err
	}})
}

// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
func TestAnswersOfAWebhook(t *testing.T) {
	tests := map[string]struct {
		status int
		body   string
		kind   response.Kind
	}{
		"revoked":                     {404, "no_service", response.Permanent},
		"a workspace that is no more": {404, "no_team", response.Permanent},
		"a token it never had":        {403, "invalid_token", response.Permanent},
		"an archived channel":         {410, "channel_is_archived", response.Permanent},
		"a message it refuses":        {400, "invalid_payload", response.Permanent},
		"a restriction":               {403, "action_prohibited", response.Permanent},
		"a failure of its own":        {500, "rollup_error", response.Transient},
		"a page of a proxy":           {502, "<html>" + webhookPath + "</html>", response.Transient},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body))
			}})
			o, err := newSlack(t, byWebhook(w.URL), false).Respond(t.Context(), captured(t, "03"))
			if response.KindOf(err) != test.kind {
				t.Errorf("kind is %s, want %s", response.KindOf(err), test.kind)
			}
			if diff := cmp.Diff([]string{filepath.Base(webhookPath)}, w.sent()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, err, o)
		})
	}
}

// https://docs.slack.dev/reference/methods/chat.postMessage#errors
func TestAnswersOfTheWebAPI(t *testing.T) {
	tests := map[string]struct {
		body string
		kind response.Kind
	}{
		"a token that is none":        {`{"ok":false,"error":"invalid_auth"}`, response.Permanent},
		"a token that was revoked":    {`{"ok":false,"error":"token_revoked"}`, response.Permanent},
		"a right it lacks":            {`{"ok":false,"error":"missing_scope","needed":"chat:write"}`, response.Permanent},
		"a channel that is not there": {`{"ok":false,"error":"channel_not_found"}`, response.Permanent},
		"a channel it is not in":      {`{"ok":false,"error":"not_in_channel"}`, response.Permanent},
		"a rate limit":                {`{"ok":false,"error":"ratelimited"}`, response.Transient},
		"an internal error":           {`{"ok":false,"error":"internal_error"}`, response.Transient},
		"a fatal error":               {`{"ok":false,"error":"fatal_error"}`, response.Transient},
		"an error that is no word":    {`{"ok":false,"error":"the token ` + token + ` is bad"}`, response.Permanent},
		"no error although not ok":    {`{"ok":false}`, response.Transient},
		"nothing in it":               {`{}`, response.Transient},
		"cut off":                     {`{"ok":true,"channel":"C01234`, response.Transient},
		"no JSON":                     {`ok ` + token, response.Transient},
		"another type":                {`[]`, response.Transient},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t, map[string]http.HandlerFunc{"chat.postMessage": says(test.body)})
			o, err := newSlack(t, byToken(w.URL), false).Respond(t.Context(), captured(t, "03"))
			if response.KindOf(err) != test.kind {
				t.Errorf("kind is %s, want %s", response.KindOf(err), test.kind)
			}
			if diff := cmp.Diff([]string{"chat.postMessage"}, w.sent()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, err, o)
		})
	}
}

func TestWhatAnOutcomeSays(t *testing.T) {
	w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok"), "chat.postMessage": says(postedAnswer)})
	tests := map[string]struct {
		config Config
		dryRun bool
		want   response.Outcome
		calls  []string
	}{
		"posted by webhook": {byWebhook(w.URL), false, response.Outcome{
			Verdict: response.Applied, Message: "posted to Slack",
			Target: response.Target{Kind: "SlackChannel", Resource: "slack", Name: "webhook"}, Details: map[string]any{},
		}, []string{filepath.Base(webhookPath)}},
		"posted by token": {byToken(w.URL), false, response.Outcome{
			Verdict: response.Applied, Message: "posted to Slack",
			Target:  response.Target{Kind: "SlackChannel", Resource: "slack", Name: channel},
			Details: map[string]any{"ts": "1767225601.000200"},
		}, []string{"chat.postMessage"}},
		"dry run by webhook": {byWebhook(w.URL), true, response.Outcome{
			Verdict: response.DryRun, Message: "would post to Slack: Critical: Drop and execute new binary in container",
			Target: response.Target{Kind: "SlackChannel", Resource: "slack", Name: "webhook"},
		}, []string{}},
		"dry run by token": {byToken(w.URL), true, response.Outcome{
			Verdict: response.DryRun, Message: "would post to Slack: Critical: Drop and execute new binary in container",
			Target: response.Target{Kind: "SlackChannel", Resource: "slack", Name: channel},
		}, []string{}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w.requests = nil
			s := newSlack(t, test.config, test.dryRun)
			got, err := s.Respond(t.Context(), captured(t, "03"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.calls, w.sent()); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, got)
		})
	}
}

func TestADryRunOfAnOutcomeSendsNothing(t *testing.T) {
	w := newWorkspace(t, nil)
	for name, c := range map[string]Config{"webhook": byWebhook(w.URL), "token": byToken(w.URL)} {
		o, err := newSlack(t, c, true).RespondOutcome(t.Context(), outcomeOf(captured(t, "02"), response.Applied, "", "deleted"))
		if err != nil || o.Verdict != response.DryRun || len(w.sent()) != 0 {
			t.Errorf("%s: %+v, %v, requests %v", name, o, err, w.sent())
		}
	}
}

func TestASecretInAFileRotates(t *testing.T) {
	w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok"), "chat.postMessage": says(postedAnswer)})
	tests := map[string]struct {
		variable, first, second string
		more                    map[string]string
		read                    func(*http.Request) string
	}{
		"webhook": {
			"SLACK_WEBHOOK_URL_FILE", w.URL + webhookPath + "?1", w.URL + webhookPath + "?2", nil,
			func(r *http.Request) string { return w.URL + r.URL.String() },
		},
		"token": {
			"SLACK_TOKEN_FILE", token + "1", token + "2",
			map[string]string{"SLACK_CHANNEL": channel, "SLACK_API_URL": w.URL + "/api/"},
			func(r *http.Request) string { return r.PostFormValue("token") },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "secret")
			write := func(content string) {
				t.Helper()
				if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(test.first + "\n")
			environ := map[string]string{test.variable: file}
			maps.Copy(environ, test.more)
			var c Config
			if err := config.Load(environ, &c); err != nil {
				t.Fatal(err)
			}
			for _, dryRun := range []bool{false, true} {
				s := newSlack(t, c, dryRun)
				for _, secret := range []string{test.first, test.second} {
					write(secret + "\n")
					w.requests = nil
					if _, err := s.Respond(t.Context(), captured(t, "03")); err != nil {
						t.Fatal(err)
					}
					if !dryRun && test.read(w.requests[0]) != secret {
						t.Errorf("used another secret: %s", test.read(w.requests[0]))
					}
				}
				for what, broken := range map[string]func() error{
					"gone":                    func() error { return os.Remove(file) },
					"empty":                   func() error { return os.WriteFile(file, nil, 0o600) },
					"of another kind":         func() error { return os.WriteFile(file, []byte("s3cr3t with blanks"), 0o600) },
					"of another kind, unseen": func() error { return os.WriteFile(file, []byte("s3cr3t\r\nX-Injected: 1"), 0o600) },
				} {
					if err := broken(); err != nil {
						t.Fatal(err)
					}
					w.requests = nil
					_, err := s.Respond(t.Context(), captured(t, "03"))
					if response.KindOf(err) != response.Permanent || len(w.sent()) != 0 {
						t.Errorf("%s: kind is %s, requests %v; want permanent and none", what, response.KindOf(err), w.sent())
					}
					outboundtest.AssertLeaksNoSecret(t, append(secrets, "s3cr3t"), err)
					write(test.first)
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	const hook = "https://hooks.slack.com" + webhookPath
	tests := map[string]struct {
		environ map[string]string
		wrong   []string // the variables that the error names; none where the settings are good
	}{
		"a webhook":                   {map[string]string{"SLACK_WEBHOOK_URL": hook}, nil},
		"a token":                     {map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": channel}, nil},
		"a private channel":           {map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": "G0123456789"}, nil},
		"a template":                  {map[string]string{"SLACK_WEBHOOK_URL": hook, "MESSAGE_TEMPLATE": "{{.Rule}} {{.Fields.x}} {{index .Fields `proc.name`}}"}, nil},
		"nothing":                     {map[string]string{}, []string{"SLACK_WEBHOOK_URL", "SLACK_TOKEN"}},
		"both":                        {map[string]string{"SLACK_WEBHOOK_URL": hook, "SLACK_TOKEN": token}, []string{"SLACK_WEBHOOK_URL", "SLACK_TOKEN"}},
		"a webhook in the clear":      {map[string]string{"SLACK_WEBHOOK_URL": "http://hooks.slack.com" + webhookPath}, []string{"SLACK_WEBHOOK_URL"}},
		"a webhook that is no URL":    {map[string]string{"SLACK_WEBHOOK_URL": "hooks.slack.com" + webhookPath}, []string{"SLACK_WEBHOOK_URL"}},
		"a webhook with a channel":    {map[string]string{"SLACK_WEBHOOK_URL": hook, "SLACK_CHANNEL": channel}, []string{"SLACK_CHANNEL"}},
		"a token without a channel":   {map[string]string{"SLACK_TOKEN": token}, []string{"SLACK_CHANNEL"}},
		"a channel by its name":       {map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": "#security"}, []string{"SLACK_CHANNEL"}},
		"a token with a blank":        {map[string]string{"SLACK_TOKEN": token + " x", "SLACK_CHANNEL": channel}, []string{"SLACK_TOKEN"}},
		"an address without a slash":  {map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": channel, "SLACK_API_URL": "https://slack.com/api"}, []string{"SLACK_API_URL"}},
		"an address in the clear":     {map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": channel, "SLACK_API_URL": "http://slack.com/api/"}, []string{"SLACK_API_URL"}},
		"a wait below nothing":        {map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": channel, "THREAD_WAIT": "-1s"}, []string{"THREAD_WAIT"}},
		"a wait that is too long":     {map[string]string{"SLACK_TOKEN": token, "SLACK_CHANNEL": channel, "THREAD_WAIT": "1m"}, []string{"THREAD_WAIT"}},
		"a template that is open":     {map[string]string{"SLACK_WEBHOOK_URL": hook, "MESSAGE_TEMPLATE": "{{.Rule"}, []string{"MESSAGE_TEMPLATE"}},
		"a field nobody has":          {map[string]string{"SLACK_WEBHOOK_URL": hook, "MESSAGE_TEMPLATE": "{{.Rulename}}"}, []string{"MESSAGE_TEMPLATE"}},
		"a field outcomes only reach": {map[string]string{"SLACK_WEBHOOK_URL": hook, "MESSAGE_TEMPLATE": "{{if .Response}}{{.Rulename}}{{end}}"}, []string{"MESSAGE_TEMPLATE"}},
		"a tag taken for granted":     {map[string]string{"SLACK_WEBHOOK_URL": hook, "MESSAGE_TEMPLATE": "{{index .Tags 0}}"}, []string{"MESSAGE_TEMPLATE"}},
		"a function nobody has":       {map[string]string{"SLACK_WEBHOOK_URL": hook, "MESSAGE_TEMPLATE": "{{env `HOME`}}"}, []string{"MESSAGE_TEMPLATE"}},
		"what is private":             {map[string]string{"SLACK_WEBHOOK_URL": hook, "MESSAGE_TEMPLATE": "{{.fields}}"}, []string{"MESSAGE_TEMPLATE"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var c Config
			err := config.Load(test.environ, &c)
			if (err != nil) != (len(test.wrong) > 0) {
				t.Fatalf("error is %v, want one about %v", err, test.wrong)
			}
			for _, name := range test.wrong {
				if !contains(err, name) {
					t.Errorf("error does not name %s: %v", name, err)
				}
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, err, c)
		})
	}
}

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// page is one page of a channel's history: the message of an alert, or none, and what follows.
type page struct{ alertID, ts, next string }

func history(p page) string {
	messages := []any{map[string]any{"type": "message", "text": "hello", "ts": "1767225700.000000"}}
	if p.alertID != "" {
		messages = append(messages, map[string]any{
			"type": "message", "text": "an alert", "ts": p.ts,
			"metadata": map[string]any{"event_type": "riposte_alert", "event_payload": map[string]any{"alert_id": p.alertID}},
		})
	}
	b, err := json.Marshal(map[string]any{
		"ok": true, "messages": messages, "has_more": p.next != "", "response_metadata": map[string]any{"next_cursor": p.next},
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestThreads(t *testing.T) {
	alert := captured(t, "02")
	young := alert
	young.Time = time.Now()
	const ts = "1767225600.000100"
	pages := func(p ...page) []http.HandlerFunc {
		var handlers []http.HandlerFunc
		for _, one := range p {
			handlers = append(handlers, says(history(one)))
		}
		return handlers
	}
	tests := map[string]struct {
		record  response.Record
		wait    time.Duration
		history []http.HandlerFunc // its answers in turn; the last one stays
		thread  string
		looks   int
		failed  bool // the lookup
	}{
		"the alert is there": {
			record: outcomeOf(alert, response.Applied, "", "done"), history: pages(page{alertID: alert.ID(), ts: ts}), thread: ts, looks: 1,
		},
		"the alert is not there": {
			record: outcomeOf(alert, response.Applied, "", "done"), wait: time.Hour, history: pages(page{}), looks: 1,
		},
		"another alert is there": {
			record: outcomeOf(alert, response.Applied, "", "done"), history: pages(page{alertID: "another", ts: ts}), looks: 1,
		},
		"the alert is on the third page": {
			record:  outcomeOf(alert, response.Applied, "", "done"),
			history: pages(page{next: "b"}, page{next: "c"}, page{alertID: alert.ID(), ts: ts, next: "d"}), thread: ts, looks: 3,
		},
		"the alert is further than anybody looks": {
			record: outcomeOf(alert, response.Applied, "", "done"), history: pages(page{next: "b"}), looks: 5,
		},
		"a young alert is not there yet": {
			record: outcomeOf(young, response.Applied, "", "done"), wait: time.Nanosecond,
			history: pages(page{}, page{alertID: young.ID(), ts: ts}), thread: ts, looks: 2,
		},
		"a young alert never comes": {
			record: outcomeOf(young, response.Applied, "", "done"), wait: time.Nanosecond, history: pages(page{}), looks: 2,
		},
		"nobody waits for a young alert": {
			record: outcomeOf(young, response.Applied, "", "done"), history: pages(page{}), looks: 1,
		},
		"the right to look is missing": {
			record: outcomeOf(alert, response.Applied, "", "done"), history: []http.HandlerFunc{says(`{"ok":false,"error":"missing_scope"}`)},
			looks: 1, failed: true,
		},
		"looking is limited": {
			record: outcomeOf(alert, response.Applied, "", "done"), history: []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "30")
				w.WriteHeader(http.StatusTooManyRequests)
			}}, looks: 1, failed: true,
		},
		"the history cannot be read": {
			record: outcomeOf(alert, response.Applied, "", "done"), history: []http.HandlerFunc{says(`{"ok":true,"messages":7}`)}, looks: 1, failed: true,
		},
		"the second page cannot be had": {
			record:  outcomeOf(alert, response.Applied, "", "done"),
			history: []http.HandlerFunc{says(history(page{next: "b"})), says(`{"ok":false,"error":"invalid_cursor"}`)}, looks: 2, failed: true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			looks := 0
			cursors := []string{}
			w := newWorkspace(t, map[string]http.HandlerFunc{
				"chat.postMessage": says(postedAnswer),
				"conversations.history": func(w http.ResponseWriter, r *http.Request) {
					cursors = append(cursors, r.PostFormValue("cursor"))
					looks++
					test.history[min(looks, len(test.history))-1](w, r)
				},
			})
			c := byToken(w.URL)
			c.ThreadWait = test.wait
			r, err := newResponder(c, response.Settings{})
			if err != nil {
				t.Fatal(err)
			}
			o, err := r.(response.OutcomeResponder).RespondOutcome(t.Context(), test.record)
			if err != nil || o.Verdict != response.Applied {
				t.Fatalf("%+v, %v", o, err)
			}
			if looks != test.looks {
				t.Errorf("looked %d times, want %d", looks, test.looks)
			}
			posted := bodyOf(t, w.requests[len(w.requests)-1])
			if thread, _ := posted["thread_ts"].(string); thread != test.thread {
				t.Errorf("thread is %q, want %q", thread, test.thread)
			}
			if thread, _ := o.Details["thread_ts"].(string); thread != test.thread {
				t.Errorf("the outcome's thread is %q, want %q", thread, test.thread)
			}
			if _, failed := o.Details["thread_error"]; failed != test.failed {
				t.Errorf("details are %v, want a thread_error: %t", o.Details, test.failed)
			}
			if want := []string{"", "b", "c"}; looks == 3 && !cmp.Equal(cursors, want) {
				t.Errorf("cursors are %q, want %q", cursors, want)
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, o)
		})
	}
}

func TestAWaitEndsWithItsContext(t *testing.T) {
	alert := captured(t, "02")
	alert.Time = time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorkspace(t, map[string]http.HandlerFunc{"conversations.history": func(w http.ResponseWriter, r *http.Request) {
		says(history(page{}))(w, r)
		cancel()
	}})
	c := byToken(w.URL)
	c.ThreadWait = 10 * time.Second
	_, err := newSlack(t, c, false).RespondOutcome(ctx, outcomeOf(alert, response.Applied, "", "done"))
	if response.KindOf(err) != response.Transient || len(w.sent()) != 1 {
		t.Errorf("kind is %s, requests %v; want transient and one", response.KindOf(err), w.sent())
	}
}
