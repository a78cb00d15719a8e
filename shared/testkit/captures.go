package testkit

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/retarget"
)

// Capture is one alert as Falco posted it to Falcosidekick, with the requests that
// Falcosidekick made of it.
type Capture struct {
	// Name is the capture's folder under test/captures.
	Name string
	// Alert is the body Falco posted.
	Alert []byte
	// SidekickStatus is what Falcosidekick answered Falco; 0 where it answered nothing, because it panicked.
	SidekickStatus int
	// Rejected says that Falcosidekick refused the alert, as we have to.
	Rejected bool

	cloudEvent, openFaaS, webhook *message
}

// message is a request without the connection it came through.
type message struct {
	url    *url.URL
	header http.Header
	body   []byte
}

// Captures are all alerts of test/captures, by name. Their times lie in the past: Retarget them, or set MAX_ALERT_AGE=0.
func Captures(tb testing.TB) []Capture {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(Root(tb), "test", "captures", "*", "alert.json"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("find the captures: %d found, %v", len(files), err)
	}
	captures := make([]Capture, len(files))
	for i, file := range files {
		captures[i] = load(tb, filepath.Base(filepath.Dir(file)))
	}
	return captures
}

// Find is the capture of that name; its number is enough.
func Find(tb testing.TB, name string) Capture {
	tb.Helper()
	for _, pattern := range []string{name, name + "-*"} {
		found, err := filepath.Glob(filepath.Join(Root(tb), "test", "captures", pattern, "alert.json"))
		if err == nil && len(found) == 1 {
			return load(tb, filepath.Base(filepath.Dir(found[0])))
		}
	}
	tb.Fatalf("there is no capture %q", name)
	return Capture{}
}

func load(tb testing.TB, name string) Capture {
	tb.Helper()
	status := sidekickStatus(tb, name+"/sidekick-response.txt")
	return Capture{
		Name: name, Alert: CaptureFile(tb, name+"/alert.json"), SidekickStatus: status, Rejected: status >= http.StatusBadRequest,
		cloudEvent: optional(tb, name+"/cloudevents.http"),
		openFaaS:   optional(tb, name+"/openfaas.http"),
		webhook:    optional(tb, name+"/webhook.http"),
	}
}

// CloudEvent is Falcosidekick's CloudEvents output, sent to a server ("" is the one it was captured at); nil where
// Falcosidekick sent none.
func (c Capture) CloudEvent(tb testing.TB, server string) *http.Request {
	tb.Helper()
	return c.cloudEvent.request(tb, server)
}

// OpenFaaS is Falcosidekick's OpenFaaS output.
func (c Capture) OpenFaaS(tb testing.TB, server string) *http.Request {
	tb.Helper()
	return c.openFaaS.request(tb, server)
}

// Webhook is Falcosidekick's webhook output.
func (c Capture) Webhook(tb testing.TB, server string) *http.Request {
	tb.Helper()
	return c.webhook.request(tb, server)
}

// Retargeting is the moment and the pod that a capture is to point at.
type Retargeting = retarget.Values

// Retarget replaces these values in an alert, or in a CloudEvent around one: retarget.Body.
func Retarget(body []byte, r Retargeting) []byte {
	out, _ := retarget.Body(body, r)
	return out
}

// Retarget is the capture with other values in the alert and in each request.
func (c Capture) Retarget(r Retargeting) Capture {
	c.Alert = Retarget(c.Alert, r)
	for _, m := range []**message{&c.cloudEvent, &c.openFaaS, &c.webhook} {
		if *m != nil {
			*m = (*m).retarget(r)
		}
	}
	return c
}

// CaptureFile is a file under test/captures, such as aws-sns/01.http.
func CaptureFile(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(Root(tb), "test", "captures", filepath.FromSlash(name)))
	if err != nil {
		tb.Fatalf("read a capture: %v", err)
	}
	return b
}

// CaptureRequest is the request in a file under test/captures, sent to a server as Capture.CloudEvent is.
func CaptureRequest(tb testing.TB, name, server string) *http.Request {
	tb.Helper()
	return parse(tb, name).request(tb, server)
}

// Root is the folder of the project's go.work, which is above the test's own, or RIPOSTE_ROOT.
func Root(tb testing.TB) string {
	tb.Helper()
	if root := config.Environ()["RIPOSTE_ROOT"]; root != "" {
		return root
	}
	start, err := os.Getwd()
	if err != nil {
		tb.Fatalf("find the project: %v", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			tb.Fatalf("find the project: no go.work in %s or above; RIPOSTE_ROOT can name it", start)
		}
	}
}

func optional(tb testing.TB, name string) *message {
	tb.Helper()
	if _, err := os.Stat(filepath.Join(Root(tb), "test", "captures", filepath.FromSlash(name))); err != nil {
		return nil
	}
	return parse(tb, name)
}

func parse(tb testing.TB, name string) *message {
	tb.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(CaptureFile(tb, name))))
	if err != nil {
		tb.Fatalf("read capture %s: %v", name, err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		tb.Fatalf("read the body of capture %s: %v", name, err)
	}
	u := *r.URL
	u.Scheme, u.Host = "http", r.Host
	return &message{url: &u, header: r.Header, body: body}
}

func (m *message) request(tb testing.TB, server string) *http.Request {
	tb.Helper()
	if m == nil {
		return nil
	}
	u := *m.url
	if server != "" {
		target, err := url.Parse(server)
		if err != nil {
			tb.Fatalf("send a capture to %q: %v", server, err)
		}
		u.Scheme, u.Host = target.Scheme, target.Host
	}
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, u.String(), bytes.NewReader(m.body))
	if err != nil {
		tb.Fatalf("send a capture to %q: %v", server, err)
	}
	r.Header = m.header.Clone()
	return r
}

func (m *message) retarget(r Retargeting) *message {
	changed := &message{url: m.url, header: m.header.Clone(), body: Retarget(m.body, r)}
	changed.header.Del("Content-Length") // of the old body; a request counts its own
	if !r.Time.IsZero() && changed.header.Get("Ce-Time") != "" {
		changed.header.Set("Ce-Time", r.TimeText())
	}
	return changed
}

func sidekickStatus(tb testing.TB, name string) int {
	tb.Helper()
	content := CaptureFile(tb, name)
	if !bytes.HasPrefix(content, []byte("HTTP/")) {
		return 0
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(content)), nil)
	if err != nil {
		tb.Fatalf("read capture %s: %v", name, err)
	}
	if err := response.Body.Close(); err != nil {
		tb.Fatalf("read capture %s: %v", name, err)
	}
	return response.StatusCode
}
