package page_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/page"
)

func listen(t *testing.T, hub *page.Hub, actions page.Actions) *page.Page {
	t.Helper()
	p, err := page.Listen(t.Context(), 0, hub, actions)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

type request struct {
	method, path, host, origin, contentType, body string
}

func do(t *testing.T, p *page.Page, r request) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, p.URL()+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.host != "" {
		req.Host = r.host
	}
	for name, value := range map[string]string{"Origin": r.origin, "Content-Type": r.contentType} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

// Nobody but the page itself, opened on this machine, can have an alert sent.
func TestOnlyThePageItselfCanSend(t *testing.T) {
	var orders []page.Order
	p := listen(t, page.NewHub(), page.Actions{
		Send:   func(_ context.Context, o page.Order) error { orders = append(orders, o); return nil },
		Attack: func(context.Context) error { return nil },
	})
	own := strings.TrimSuffix(p.URL(), "/")
	_, port, _ := strings.Cut(strings.TrimPrefix(own, "http://"), ":")
	const json, order = "application/json", `{"alert":"malware","pod":"shop/cart-0"}`
	for name, tc := range map[string]struct {
		request request
		want    int
	}{
		"the page":               {request{"POST", "send", "", own, json, order}, http.StatusAccepted},
		"the page by localhost":  {request{"POST", "send", "localhost:" + port, "http://localhost:" + port, json, order}, http.StatusAccepted},
		"another site":           {request{"POST", "send", "", "http://attacker.example", json, order}, http.StatusForbidden},
		"another port":           {request{"POST", "send", "", "http://127.0.0.1:1", json, order}, http.StatusForbidden},
		"another scheme":         {request{"POST", "send", "", "https" + strings.TrimPrefix(own, "http"), json, order}, http.StatusForbidden},
		"a sandboxed frame":      {request{"POST", "send", "", "null", json, order}, http.StatusForbidden},
		"no origin":              {request{"POST", "send", "", "", json, order}, http.StatusForbidden},
		"a name led here":        {request{"POST", "send", "attacker.example:" + port, "http://attacker.example:" + port, json, order}, http.StatusForbidden},
		"a name led here, look":  {request{"GET", "", "attacker.example:" + port, "", "", ""}, http.StatusForbidden},
		"a name led here, watch": {request{"GET", "events", "attacker.example:" + port, "", "", ""}, http.StatusForbidden},
		"no port in the host":    {request{"GET", "", "127.0.0.1", "", "", ""}, http.StatusForbidden},
		"a form":                 {request{"POST", "send", "", own, "application/x-www-form-urlencoded", order}, http.StatusUnsupportedMediaType},
		"text":                   {request{"POST", "send", "", own, "text/plain", order}, http.StatusUnsupportedMediaType},
		"another field":          {request{"POST", "send", "", own, json, `{"alert":"x","url":"y"}`}, http.StatusBadRequest},
		"no JSON":                {request{"POST", "send", "", own, json, `alert`}, http.StatusBadRequest},
		"too much":               {request{"POST", "send", "", own, json, strings.Repeat("x", 20<<10)}, http.StatusRequestEntityTooLarge},
		"by GET":                 {request{"GET", "send", "", "", "", ""}, http.StatusNotFound},
		"by PUT":                 {request{"PUT", "send", "", own, json, order}, http.StatusMethodNotAllowed},
		"an attack":              {request{"POST", "attack", "", own, json, `{}`}, http.StatusAccepted},
		"an attack from outside": {request{"POST", "attack", "", "http://attacker.example", json, `{}`}, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			orders = nil
			status, _, body := do(t, p, tc.request)
			if status != tc.want {
				t.Errorf("answered %d %s, want %d", status, body, tc.want)
			}
			sent := len(orders) == 1 && orders[0] == page.Order{Alert: "malware", Pod: "shop/cart-0"}
			if want := tc.want == http.StatusAccepted && tc.request.path == "send"; sent != want {
				t.Errorf("the orders were %v", orders)
			}
		})
	}
}

func TestFilesAndTheirHeaders(t *testing.T) {
	p := listen(t, page.NewHub(), page.Actions{})
	for path, kind := range map[string]string{
		"": "text/html; charset=utf-8", "app.js": "text/javascript; charset=utf-8",
		"style.css": "text/css; charset=utf-8", "favicon.svg": "image/svg+xml",
	} {
		status, header, body := do(t, p, request{method: "GET", path: path})
		if status != http.StatusOK || header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%q answered %d %s", path, status, header.Get("Content-Type"))
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if header.Get(name) != want {
				t.Errorf("%q has %s: %q", path, name, header.Get(name))
			}
		}
		csp := header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%q has the policy %q", path, csp)
		}
		if strings.Contains(body, "//cdn") || strings.Contains(body, "https://") {
			t.Errorf("%q names another server", path)
		}
	}
}

func TestProblemsReachThePage(t *testing.T) {
	p := listen(t, page.NewHub(), page.Actions{
		Send:   func(context.Context, page.Order) error { return &page.RefusedError{Reason: "choose a pod"} },
		Attack: func(context.Context) error { return errors.New("broken") },
	})
	own := strings.TrimSuffix(p.URL(), "/")
	if status, _, body := do(t, p, request{"POST", "send", "", own, "application/json", `{}`}); status != http.StatusConflict || !strings.Contains(body, "choose a pod") {
		t.Errorf("a refusal answered %d %s", status, body)
	}
	if status, _, body := do(t, p, request{"POST", "attack", "", own, "application/json", `{}`}); status != http.StatusBadGateway || !strings.Contains(body, "broken") {
		t.Errorf("a failure answered %d %s", status, body)
	}
}

// stream reads the events of a page.
func stream(t *testing.T, p *page.Page) *bufio.Scanner {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL()+"events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Fatalf("the stream is %s", kind)
	}
	s := bufio.NewScanner(response.Body)
	s.Buffer(nil, 1<<20)
	return s
}

func next(t *testing.T, s *bufio.Scanner) string {
	t.Helper()
	var lines []string
	for s.Scan() {
		if s.Text() == "" {
			return strings.Join(lines, " ")
		}
		lines = append(lines, s.Text())
	}
	t.Fatalf("the stream ended: %v", s.Err())
	return ""
}

func publish(t *testing.T, hub *page.Hub, topic, key string, state any) {
	t.Helper()
	if err := hub.Publish(topic, key, state); err != nil {
		t.Fatal(err)
	}
}

func TestStreamStartsWithWhatIsThere(t *testing.T) {
	hub := page.NewHub()
	p := listen(t, hub, page.Actions{})
	publish(t, hub, "alert", "1", "old")
	publish(t, hub, "alert", "2", "other")
	publish(t, hub, "alert", "1", "new\nline")
	publish(t, hub, "alert", "3", "dropped")
	hub.Drop("alert", "3")
	s := stream(t, p)
	for _, want := range []string{
		`event: alert data: "new\nline"`, `event: alert data: "other"`, `event: ready data: {}`,
	} {
		if got := next(t, s); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	publish(t, hub, "cluster", "", 1)
	if got := next(t, s); got != "event: cluster data: 1" {
		t.Errorf("got %s", got)
	}
}

func TestClosingEndsStreams(t *testing.T) {
	hub := page.NewHub()
	p := listen(t, hub, page.Actions{})
	s := stream(t, p)
	next(t, s)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for s.Scan() {
	}
}

// A page that does not read holds up nobody, and is cut off.
func TestSlowPageIsCutOff(t *testing.T) {
	hub := page.NewHub()
	p := listen(t, hub, page.Actions{})
	slow := stream(t, p)
	next(t, slow)
	large := strings.Repeat("x", 32<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1500 {
			if err := hub.Publish("alert", "1", large); err != nil {
				t.Error(err)
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a slow page holds up the others")
	}
	for slow.Scan() {
	}
	if errors.Is(slow.Err(), context.DeadlineExceeded) {
		t.Error("the slow page was not cut off")
	}
}
