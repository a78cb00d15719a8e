package serve_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// failing is a recorder whose responses end so.
func failing(err error) *recorder {
	return &recorder{respond: func(context.Context, falco.Alert) (response.Outcome, error) { return response.Outcome{}, err }}
}

func TestStatuses(t *testing.T) {
	cause := errors.New("first line\r\nsecond\tline with Ünicode \x00\x7f " + strings.Repeat("and more ", 200))
	cases := map[string]struct {
		responder *recorder
		environ   map[string]string
		status    int
		after     string
	}{
		"applied":                   {responder: &recorder{}, status: 200},
		"refused":                   {responder: &recorder{}, environ: map[string]string{"MIN_PRIORITY": "Emergency"}, status: 200},
		"refused by its condition":  {responder: &recorder{}, environ: map[string]string{"WHEN": "alert.fields.nope == 1"}, status: 200},
		"too old":                   {responder: &recorder{}, environ: map[string]string{"MAX_ALERT_AGE": "1s"}, status: 200},
		"invalid":                   {responder: failing(response.InvalidError(cause)), status: 400},
		"permanent":                 {responder: failing(response.PermanentError(cause)), status: 422},
		"transient":                 {responder: failing(response.TransientError(cause, 0)), status: 500},
		"transient, come back soon": {responder: failing(response.TransientError(cause, time.Nanosecond)), status: 429, after: "1"},
		"transient, in 1.5 seconds": {responder: failing(response.TransientError(cause, 1500*time.Millisecond)), status: 429, after: "2"},
		"transient, in a minute":    {responder: failing(response.TransientError(cause, time.Minute)), status: 429, after: "60"},
		"permanent, with a time":    {responder: failing(&response.Error{Kind: response.Permanent, RetryAfter: time.Minute, Err: cause}), status: 422},
		"a deadline":                {responder: failing(context.DeadlineExceeded), status: 500},
		"unknown":                   {responder: failing(cause), status: 500},
		"a panic": {
			responder: &recorder{respond: func(context.Context, falco.Alert) (response.Outcome, error) { panic(cause) }}, status: 500,
		},
		"an outcome that cannot be written": {
			responder: &recorder{respond: func(context.Context, falco.Alert) (response.Outcome, error) {
				return response.Outcome{Verdict: response.Applied, Details: map[string]any{"c": make(chan int)}}, nil
			}}, status: 500,
		},
	}
	for name, c := range cases {
		for formName, build := range map[string]form{"alert": forms["Falco's own JSON"], "event": forms["a binary CloudEvent"]} {
			t.Run(name+" to an "+formName, func(t *testing.T) {
				server := listen(t, c.responder, c.environ)
				answer := send(t, build(t, testkit.Find(t, "01"), server.URL))
				if answer.status != c.status || answer.header.Get("Retry-After") != c.after {
					t.Errorf("status is %d, Retry-After %q: want %d, %q", answer.status, answer.header.Get("Retry-After"), c.status, c.after)
				}
				if c.status == http.StatusOK {
					outcome(t, answer)
					return
				}
				refusedInOneLine(t, answer)
				if strings.Contains(name, "panic") && strings.Contains(string(answer.body), "first line") {
					t.Errorf("the answer tells what panicked: %s", answer.body)
				}
			})
		}
	}
}

// The own outcome that comes back ends the loop without an answer that Knative could take for another event.
func TestOwnOutcome(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	e, _ := outcome(t, send(t, forms["Falco's own JSON"](t, testkit.Find(t, "01"), server.URL)))
	own, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	answer := send(t, post(t, server.URL, "application/cloudevents+json", own))
	if answer.status != http.StatusNoContent || len(answer.body) > 0 || len(answer.header["Ce-Id"]) > 0 || len(r.records) > 0 {
		t.Errorf("status is %d with %q and %v: want 204 with nothing", answer.status, answer.body, answer.header)
	}
	batch := []byte("[" + string(own) + "," + string(own) + "]")
	if answer := send(t, post(t, server.URL, "application/cloudevents-batch+json", batch)); answer.status != http.StatusOK || string(answer.body) != "[]" {
		t.Errorf("status is %d with %q: want 200 with an empty batch", answer.status, answer.body)
	}
	e.SetSource("/functions/other")
	others := bytes.ReplaceAll(own, []byte(`"response":"recorder"`), []byte(`"response":"other"`))
	if answer := send(t, post(t, server.URL, "application/cloudevents+json", others)); answer.status != http.StatusOK || len(r.records) != 1 {
		t.Errorf("status is %d with %q: want 200 for another function's outcome", answer.status, answer.body)
	}
}

func TestBatchWithFailures(t *testing.T) {
	busy := response.TransientError(errors.New("busy"), time.Minute)
	denied := response.PermanentError(errors.New("denied"))
	r := &recorder{respond: func(_ context.Context, a falco.Alert) (response.Outcome, error) {
		switch a.Rule {
		case "busy":
			return response.Outcome{}, busy
		case "denied":
			return response.Outcome{}, denied
		}
		return response.Outcome{Verdict: response.Applied}, nil
	}}
	server := listen(t, r, nil)
	good := string(structured(testkit.Find(t, "01").Alert))
	named := func(rule string) string { return strings.Replace(good, "Terminal shell in container", rule, 1) }
	bad := strings.Replace(good, `"Notice"`, `"High"`, 1)
	cases := map[string]struct {
		events []string
		status int
		calls  int
	}{
		"all good":                           {[]string{good, good, good}, 200, 3},
		"one invalid":                        {[]string{good, bad, good}, 200, 2},
		"one denied":                         {[]string{named("denied"), good}, 200, 2},
		"none that worked":                   {[]string{bad, named("denied")}, 400, 1},
		"a retry counts more than a refusal": {[]string{named("busy"), bad, named("denied"), good}, 429, 3},
		"the same, turned round":             {[]string{good, named("denied"), bad, named("busy")}, 429, 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer := send(t, post(t, server.URL, "application/cloudevents-batch+json", []byte("["+strings.Join(c.events, ",")+"]")))
			if calls := len(r.taken()); answer.status != c.status || calls != c.calls {
				t.Errorf("status is %d after %d calls: want %d after %d", answer.status, calls, c.status, c.calls)
			}
			if c.status != http.StatusOK {
				refusedInOneLine(t, answer)
			}
		})
	}
}

// Events are taken wherever they are sent: 404, 409 and redirects would make Knative send them again, or lose them.
func TestEveryPathTakesEvents(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	c := testkit.Find(t, "01")
	for _, path := range []string{
		"", "/", "//", "/falco/default", "/function/recorder.openfaas-fn", "/a/../b", "/a/./b/", "//healthz", "/healthz", "/readyz", "/metrics",
		"/healthz/", "/%2e%2e/", "/?a=b", "/metrics?x", "/.well-known/x", "/" + strings.Repeat("a", 4000),
	} {
		answer := send(t, post(t, server.URL+path, "application/json", c.Alert))
		if answer.status != http.StatusOK || len(r.taken()) != 1 {
			t.Errorf("POST %.40s: status is %d: %s", path, answer.status, answer.body)
		}
	}
}

func TestMethods(t *testing.T) {
	server := listen(t, &recorder{}, nil)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"} {
		for _, path := range []string{"/", "/nowhere", "//healthz"} {
			request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			answer := send(t, request)
			if answer.status != http.StatusMethodNotAllowed || answer.header.Get("Allow") != http.MethodPost {
				t.Errorf("%s %s: status is %d, Allow %q: want 405, POST", method, path, answer.status, answer.header.Get("Allow"))
			}
			if method != http.MethodHead {
				refusedInOneLine(t, answer)
			}
		}
	}
}

func TestPages(t *testing.T) {
	server := listen(t, &recorder{}, map[string]string{"AUTH_TOKEN": "t"}) // they need no token
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if answer := send(t, request); answer.status != http.StatusOK || (len(answer.body) == 0) != (method == http.MethodHead) {
				t.Errorf("%s %s: status is %d: %q", method, path, answer.status, answer.body)
			}
		}
	}
}

func TestReadiness(t *testing.T) {
	f := start(t, &recorder{}, nil)
	for name, check := range map[string]func(context.Context) (bool, error){"ready": f.Ready, "alive": f.Alive} {
		if ok, err := check(t.Context()); !ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if err := f.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// One MiB is taken, a byte more is not, whether or not the sender says how much it is.
func TestBodyLimit(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	alert := testkit.Find(t, "01").Alert
	for _, c := range []struct{ size, status, calls int }{
		{serve.MaxBody, http.StatusOK, 1}, {serve.MaxBody + 1, http.StatusRequestEntityTooLarge, 0}, {8 << 20, http.StatusRequestEntityTooLarge, 0},
	} {
		padded := append(bytes.Clone(alert), bytes.Repeat([]byte(" "), c.size-len(alert))...)
		for name, body := range map[string]io.Reader{
			"announced": bytes.NewReader(padded), "chunked": io.MultiReader(bytes.NewReader(padded)),
		} {
			t.Run(fmt.Sprint(c.size, " ", name), func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
				if err != nil {
					t.Fatal(err)
				}
				if chunked := request.ContentLength < 1; chunked != (name == "chunked") {
					t.Fatalf("content length is %d", request.ContentLength)
				}
				var answer reply
				if c.size <= serve.MaxBody+1 {
					answer = send(t, request)
				} else { // The server hangs up in the middle of it, which a client may see before the answer.
					recorded := httptest.NewRecorder()
					start(t, r, nil).Handle(recorded, request)
					answer = reply{recorded.Code, recorded.Header(), recorded.Body.Bytes()}
				}
				if calls := len(r.taken()); answer.status != c.status || calls != c.calls {
					t.Errorf("status is %d after %d calls: want %d after %d", answer.status, calls, c.status, c.calls)
				}
				if c.status != http.StatusOK {
					refusedInOneLine(t, answer)
				}
			})
		}
	}
}

// A sender that hangs up, or lies about the length, gets 400 if anything.
func TestUnreadableBody(t *testing.T) {
	recorded := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(`{"rule":`), errorReader{}))
	start(t, &recorder{}, nil).Handle(recorded, request)
	if recorded.Code != http.StatusBadRequest {
		t.Errorf("status is %d: want 400", recorded.Code)
	}
	refusedInOneLine(t, reply{recorded.Code, recorded.Header(), recorded.Body.Bytes()})
}

type errorReader struct{}

func (errorReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAuthentication(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first\n")
	r := &recorder{}
	server := listen(t, r, map[string]string{"AUTH_TOKEN_FILE": file})
	try := func(t *testing.T, status int, authorization ...string) {
		t.Helper()
		for name, build := range forms {
			request := build(t, testkit.Find(t, "01"), server.URL)
			request.Header["Authorization"] = authorization
			answer := send(t, request)
			if calls := len(r.taken()); answer.status != status || (calls == 1) != (status == http.StatusOK) {
				t.Errorf("%q, %s: status is %d after %d calls: want %d", authorization, name, answer.status, calls, status)
			}
			if status == http.StatusOK {
				continue
			}
			refusedInOneLine(t, answer)
			if status == http.StatusUnauthorized && answer.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("WWW-Authenticate is %q", answer.header.Get("WWW-Authenticate"))
			}
			if strings.Contains(string(answer.body), "first") || strings.Contains(string(answer.body), file) {
				t.Errorf("the answer shows the token or its place: %s", answer.body)
			}
		}
	}
	for name, c := range map[string]struct {
		authorization []string
		status        int
	}{
		"the token":                   {[]string{"Bearer first"}, 200},
		"the scheme in lower case":    {[]string{"bearer first"}, 200},
		"blanks around the token":     {[]string{"Bearer   first "}, 200},
		"nothing":                     {nil, 401},
		"empty":                       {[]string{""}, 401},
		"the token alone":             {[]string{"first"}, 401},
		"the scheme alone":            {[]string{"Bearer"}, 401},
		"another scheme":              {[]string{"Basic first"}, 401},
		"another token":               {[]string{"Bearer second"}, 401},
		"the beginning of the token":  {[]string{"Bearer firs"}, 401},
		"more than the token":         {[]string{"Bearer first first"}, 401},
		"the token as a second value": {[]string{"Bearer wrong", "Bearer first"}, 401},
	} {
		t.Run(name, func(t *testing.T) { try(t, c.status, c.authorization...) })
	}
	t.Run("a rotated token", func(t *testing.T) {
		write("second")
		try(t, http.StatusUnauthorized, "Bearer first")
		try(t, http.StatusOK, "Bearer second")
	})
	t.Run("an emptied file lets nobody in", func(t *testing.T) {
		write("\n")
		try(t, http.StatusUnprocessableEntity, "Bearer second")
		try(t, http.StatusUnprocessableEntity, "Bearer ")
		try(t, http.StatusUnprocessableEntity)
	})
	t.Run("a missing file lets nobody in", func(t *testing.T) {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		try(t, http.StatusUnprocessableEntity, "Bearer second")
	})
}

func TestMetrics(t *testing.T) {
	r := &recorder{respond: func(_ context.Context, a falco.Alert) (response.Outcome, error) {
		if a.Priority == falco.Critical {
			return response.Outcome{}, response.TransientError(errors.New("busy"), 0)
		}
		if a.Priority == falco.Warning {
			return response.Skip(response.Gone, "gone"), nil
		}
		return response.Outcome{Verdict: response.Applied}, nil
	}}
	server := listen(t, r, map[string]string{"MIN_PRIORITY": "Notice", "WHEN": `alert.rule != "Number lexical forms"`})
	for _, capture := range []string{"01", "02", "29", "31", "34", "37", "45", "53"} {
		send(t, forms["Falco's own JSON"](t, testkit.Find(t, capture), server.URL))
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	body := string(send(t, request).body)
	for _, line := range []string{
		`riposte_responses_total{outcome="applied",reason="",response="recorder"} 2`,
		`riposte_responses_total{outcome="skipped",reason="gone",response="recorder"} 1`,
		`riposte_responses_total{outcome="refused",reason="below-min-priority",response="recorder"} 1`,
		`riposte_responses_total{outcome="refused",reason="condition-false",response="recorder"} 1`,
		`riposte_responses_total{outcome="refused",reason="test-rule",response="recorder"} 1`,
		`riposte_response_errors_total{kind="transient",response="recorder"} 1`,
		`riposte_response_errors_total{kind="invalid",response="recorder"} 1`,
		`riposte_refusals_total{guardrail="sane-alert"} 2`,
		`riposte_refusals_total{guardrail="condition"} 1`,
		`riposte_response_duration_seconds_count{response="recorder"} 8`,
		`riposte_alert_age_seconds_count 7`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "riposte_") && (strings.Contains(line, "web-7d9c6b8f5") || strings.Contains(line, "default")) {
			t.Errorf("a metric names a pod or a namespace: %s", line)
		}
	}
}

// A function is one value for all requests at once.
func TestManyAtOnce(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	captures := testkit.Captures(t)
	var wanted int
	var all sync.WaitGroup
	for _, c := range captures {
		request := forms["Falco's own JSON"](t, c, server.URL)
		status := http.StatusOK
		if c.Rejected {
			status = http.StatusBadRequest
		} else if !strings.HasPrefix(c.Name, "41-") && !strings.HasPrefix(c.Name, "45-") {
			wanted++
		}
		all.Go(func() {
			resp, err := server.Client().Do(request)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if resp.StatusCode != status {
				t.Errorf("%s: status is %d, want %d", c.Name, resp.StatusCode, status)
			}
		})
	}
	all.Wait()
	if got := len(r.taken()); got != wanted {
		t.Errorf("%d responses, want %d", got, wanted)
	}
}

// A bad configuration is one error for everything, and the function stays unusable with it.
func TestStart(t *testing.T) {
	f := define("recorder", &recorder{})
	environ := map[string]string{"MIN_PRIORITY": "High", "MAX_ALERT_AGE": "-1m", "WHEN": "1", "DRYRUN": "true", "LOG_LEVEL": "TRACE", "RESPONSE_TIMEOUT": "soon"}
	err := f.Start(t.Context(), environ)
	if err == nil {
		t.Fatal("started")
	}
	for _, name := range []string{"MIN_PRIORITY", "WHEN", "DRYRUN", "LOG_LEVEL", "RESPONSE_TIMEOUT"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
	}
	if again := f.Start(t.Context(), nil); !errors.Is(again, err) {
		t.Errorf("started again with other settings: %v", again)
	}
	for name, environ := range map[string]map[string]string{
		"a negative age":   {"MAX_ALERT_AGE": "-1m"},
		"too short a time": {"RESPONSE_TIMEOUT": "999ms"},
	} {
		if err := define("recorder", &recorder{}).Start(t.Context(), environ); err == nil {
			t.Errorf("%s: started", name)
		}
	}
	refusing := serve.New(serve.Define(serve.Info{Name: "refusing"}, func(struct{}, response.Settings) (response.Responder, error) {
		return nil, errors.New("no")
	}))
	if err := refusing.Start(t.Context(), nil); err == nil {
		t.Error("started though the constructor refuses")
	}
}

// The settings reach the constructor, once, before any request.
func TestDefine(t *testing.T) {
	type own struct {
		Word string `env:"WORD" envDefault:"w"`
	}
	var got []string
	f := serve.New(serve.Define(serve.Info{Name: "own"}, func(c own, common response.Settings) (response.Responder, error) {
		got = append(got, fmt.Sprint(c.Word, " ", common.DryRun, " ", common.Timeout))
		return &recorder{}, nil
	}))
	if len(got) > 0 {
		t.Error("built before it has settings")
	}
	for range 2 {
		if err := f.Start(t.Context(), map[string]string{"DRY_RUN": "true", "RESPONSE_TIMEOUT": "3s"}); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"w true 3s"}, got); diff != "" {
		t.Errorf("built with (-want +got):\n%s", diff)
	}
}

// A megabyte of small values would become twenty when decoded, in each of the requests at work.
func TestDenseBodiesAreRefused(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	dense := []byte(`{"rule":"x","output_fields":{"a":[` + strings.Repeat("{},", 300_000) + `{}]}}`)
	answer := send(t, post(t, server.URL, "application/json", dense))
	if calls := len(r.taken()); answer.status != http.StatusBadRequest || calls != 0 {
		t.Errorf("status is %d after %d calls, want 400 after none", answer.status, calls)
	}
	refusedInOneLine(t, answer)

	// In base64, and as text, the values do not show in the body.
	text, err := json.Marshal(string(dense[:600_000]))
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"specversion":"1.0","id":"1","source":"/x","type":"falco.rule.output.v1",`
	for name, event := range map[string]string{
		"in base64": head + `"data_base64":"` + base64.StdEncoding.EncodeToString(dense[:600_000]) + `"}`,
		"as text":   head + `"datacontenttype":"text/plain","data":` + string(text) + `}`,
	} {
		for kind, body := range map[string]string{"application/cloudevents+json": event, "application/cloudevents-batch+json": "[" + event + "]", "application/json": event} {
			answer := send(t, post(t, server.URL, kind, []byte(body)))
			if calls := len(r.taken()); answer.status != http.StatusBadRequest || calls != 0 || !bytes.Contains(answer.body, []byte("JSON values")) {
				t.Errorf("%s, %s: status is %d %s after %d calls, want 400 after none", name, kind, answer.status, answer.body, calls)
			}
		}
	}

	// What stands inside of text does not count.
	alert := bytes.Replace(testkit.Find(t, "01").Alert, []byte(`"/bin/busybox"`), []byte(`"`+strings.Repeat(`\",{`, 30_000)+`"`), 1)
	if answer := send(t, post(t, server.URL, "application/json", alert)); answer.status != http.StatusOK {
		t.Errorf("status is %d, want 200", answer.status)
	}
}

// Who sends what cannot be read may not look at the answer: it is in the log and in the metrics.
func TestRefusedRequestsAreCounted(t *testing.T) {
	server := listen(t, &recorder{}, nil)
	send(t, post(t, server.URL, "application/cloudevents+json", []byte("{")))
	page, err := http.Get(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	body, err := io.ReadAll(page.Body)
	if err != nil || !bytes.Contains(body, []byte(`riposte_response_errors_total{kind="invalid",response="`)) {
		t.Errorf("it is not counted (%v):\n%.2000s", err, body)
	}
}
