package serve_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	handler "github.com/openfaas/templates-sdk/go-http"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// invoke is what the golang-http template does with a request.
func invoke(t *testing.T, handle func(handler.Request) (handler.Response, error), r *http.Request) reply {
	t.Helper()
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			t.Fatal(err)
		}
	}
	request := handler.Request{Body: body, Header: r.Header, Method: r.Method, QueryString: r.URL.RawQuery, Host: r.Host}
	request.WithContext(r.Context())
	resp, err := handle(request)
	if err != nil {
		t.Fatalf("the template would answer 500 in its own words: %v", err)
	}
	return reply{resp.StatusCode, resp.Header, resp.Body}
}

// An answer does not depend on the platform.
func TestOpenFaaSAnswersAsHTTPDoes(t *testing.T) {
	t.Setenv("MAX_ALERT_AGE", "0")
	t.Setenv("AUTH_TOKEN", "t")
	t.Setenv("LOG_LEVEL", "ERROR")
	r := &recorder{respond: func(_ context.Context, a falco.Alert) (response.Outcome, error) {
		switch {
		case a.Priority == falco.Emergency:
			panic("boom")
		case a.Priority == falco.Debug:
			return response.Outcome{}, response.TransientError(context.DeadlineExceeded, time.Minute)
		case a.Source == "k8s_audit":
			return response.Outcome{}, response.PermanentError(context.Canceled)
		}
		return response.Outcome{Verdict: response.Applied}, nil
	}}
	t.Setenv("CLAIMS", "none") // Each form is looked at anew.
	server := listen(t, r, map[string]string{"AUTH_TOKEN": "t"})
	handle := serve.OpenFaaS(func() *serve.Function { return define("recorder", r) })
	statuses := map[int]int{}
	compare := func(t *testing.T, build func() *http.Request) {
		t.Helper()
		over := send(t, build())
		faas := invoke(t, handle, build())
		statuses[over.status]++
		if over.status != faas.status {
			t.Fatalf("status is %d over HTTP and %d on OpenFaaS", over.status, faas.status)
		}
		// What the server adds, and what tells the time, differs.
		for _, name := range []string{"Date", "Content-Length", "Ce-Time"} {
			over.header.Del(name)
			faas.header.Del(name)
		}
		if diff := cmp.Diff(over.header, faas.header); diff != "" {
			t.Errorf("header (-http +openfaas):\n%s", diff)
		}
		timeless := cmpopts.IgnoreMapEntries(func(key string, _ any) bool {
			return key == "timings" || key == "time" || key == "start_time" || key == "end_time" || key == "duration"
		})
		var a, b any = string(over.body), string(faas.body)
		if over.status == 200 {
			if err := json.Unmarshal(over.body, &a); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(faas.body, &b); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(a, b, timeless); diff != "" {
			t.Errorf("body (-http +openfaas):\n%s", diff)
		}
	}
	for _, c := range testkit.Captures(t) {
		for name, build := range forms {
			if build(t, c, server.URL) == nil {
				continue
			}
			t.Run(c.Name+" as "+name, func(t *testing.T) {
				compare(t, func() *http.Request {
					request := build(t, c, server.URL)
					request.Header.Set("Authorization", "Bearer t")
					return request
				})
			})
		}
	}
	t.Run("without the token", func(t *testing.T) {
		compare(t, func() *http.Request { return testkit.Find(t, "01").OpenFaaS(t, server.URL) })
	})
	t.Run("too large", func(t *testing.T) {
		compare(t, func() *http.Request {
			return post(t, server.URL, "application/json", []byte(strings.Repeat(" ", serve.MaxBody+1)))
		})
	})
	t.Run("by GET", func(t *testing.T) {
		compare(t, func() *http.Request {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			return request
		})
	})
	for _, status := range []int{200, 400, 401, 405, 413, 422, 429, 500} {
		if statuses[status] == 0 {
			t.Errorf("status %d was not among those compared: %v", status, statuses)
		}
	}
}

// Under OpenFaaS's watchdog the function starts with its process, so that a bad configuration shows at once.
func TestOpenFaaSStartsWithItsProcess(t *testing.T) {
	built := 0
	function := func() *serve.Function {
		return serve.New(serve.Define(serve.Info{Name: "recorder"}, func(struct{}, response.Settings) (response.Responder, error) {
			built++
			return &recorder{}, nil
		}))
	}
	serve.OpenFaaS(function)
	t.Setenv("mode", "http") // a common word
	serve.OpenFaaS(function)
	if built != 0 {
		t.Error("built as soon as it is linked")
	}
	t.Setenv("upstream_url", "http://127.0.0.1:8082")
	handle := serve.OpenFaaS(function)
	if built != 1 {
		t.Error("not built with the process")
	}
	t.Setenv("MIN_PRIORITY", "High") // comes too late to matter
	if answer := invoke(t, handle, testkit.Find(t, "01").OpenFaaS(t, "")); answer.status != http.StatusOK || built != 1 {
		t.Errorf("status is %d after %d builds", answer.status, built)
	}
}
