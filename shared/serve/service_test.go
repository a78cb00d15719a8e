package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	handler "github.com/openfaas/templates-sdk/go-http"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// desk is a service that answers what it is told to.
type desk struct {
	reply   serve.Reply
	err     error
	panics  bool
	closed  error
	got     []serve.Request
	running chan struct{}
	finish  chan struct{} // run ends when this is closed and its context has ended
}

func (d *desk) Exchange(_ context.Context, r serve.Request) (serve.Reply, error) {
	d.got = append(d.got, r)
	if d.panics {
		panic("no more paper")
	}
	return d.reply, d.err
}

func (d *desk) Run(ctx context.Context) error {
	close(d.running)
	<-ctx.Done()
	<-d.finish
	return nil
}

func (d *desk) Ready() error { return d.closed }

func (*desk) Patience() time.Duration { return time.Second }

// open starts a desk as a function that has one setting of its own.
func open(t *testing.T, d *desk) *serve.Function {
	t.Helper()
	return openWith(t, serve.Info{Name: "desk", Summary: "answers."}, d)
}

func openWith(t *testing.T, info serve.Info, d *desk) *serve.Function {
	t.Helper()
	type config struct {
		Stamp string `env:"STAMP" help:"The stamp."`
	}
	d.running, d.finish = make(chan struct{}), make(chan struct{})
	f := serve.New(serve.DefineService(info, func(c config, h serve.Host) (serve.Service, error) {
		if c.Stamp != "blue" || h.Log == nil || h.Metrics == nil {
			return nil, fmt.Errorf("STAMP is %q: want blue", c.Stamp)
		}
		return d, nil
	}))
	if err := f.Start(t.Context(), map[string]string{"STAMP": "blue", "LOG_LEVEL": "ERROR"}); err != nil {
		t.Fatal(err)
	}
	<-d.running
	return f
}

func TestServiceAnswers(t *testing.T) {
	tests := map[string]struct {
		desk   desk
		method string
		body   string
		status int
		header string
	}{
		"delivered":             {desk: desk{reply: serve.Reply{Status: 204, Header: http.Header{"Server-Timing": {"match;dur=1"}}}}, status: 204, header: "Server-Timing"},
		"queued":                {desk: desk{reply: serve.Reply{Status: 202}}, status: 202},
		"malformed":             {desk: desk{err: response.InvalidError(errors.New("time is missing\nreally"))}, status: 400},
		"nobody we know":        {desk: desk{err: fmt.Errorf("signature: %w", auth.ErrUnauthenticated)}, status: 401, header: "Www-Authenticate"},
		"nobody can be known":   {desk: desk{err: fmt.Errorf("%w: read AUTH_TOKEN_FILE: open /secret", auth.ErrUnreadable)}, status: 422},
		"never":                 {desk: desk{err: response.PermanentError(errors.New("no"))}, status: 422},
		"later":                 {desk: desk{err: response.TransientError(errors.New("busy"), time.Second)}, status: 429, header: "Retry-After"},
		"an error of its own":   {desk: desk{err: errors.New("hm")}, status: 500},
		"a panic":               {desk: desk{panics: true}, status: 500},
		"a body too large":      {desk: desk{reply: serve.Reply{Status: 204}}, body: strings.Repeat("x", serve.MaxBody+1), status: 413},
		"a body just allowed":   {desk: desk{reply: serve.Reply{Status: 204}}, body: strings.Repeat("x", serve.MaxBody), status: 204},
		"a method that is none": {desk: desk{reply: serve.Reply{Status: 204}}, method: "PATCH", status: 405, header: "Allow"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := open(t, &test.desk)
			defer close(test.desk.finish)
			if test.method == "" {
				test.method = http.MethodPost
			}
			w := httptest.NewRecorder()
			f.Handle(w, httptest.NewRequestWithContext(t.Context(), test.method, "/any?a=b", strings.NewReader(test.body)))
			if w.Code != test.status || (test.header != "" && w.Header().Get(test.header) == "") {
				t.Errorf("answered %d %v, want %d with %s", w.Code, w.Header(), test.status, test.header)
			}
			body := w.Body.Bytes()
			if bytes.Contains(body, []byte("/secret")) {
				t.Errorf("the caller is told where our secrets are: %s", body)
			}
			if w.Code/100 == 2 && len(body) > 0 || w.Code/100 != 2 && (bytes.Count(body, []byte("\n")) != 1 || !bytes.HasSuffix(body, []byte("\n"))) {
				t.Errorf("body is %q, want nothing on success and else one line", body)
			}
			if len(test.desk.got) == 1 && test.desk.got[0].Query.Get("a") != "b" {
				t.Errorf("the query did not arrive: %v", test.desk.got[0].Query)
			}
		})
	}
}

// A service may read more than functions do, or less, on every platform.
func TestServiceWithALimitOfItsOwn(t *testing.T) {
	for limit, body := range map[int]int{serve.MaxBody + 1: serve.MaxBody + 1, 8: 8} {
		d := &desk{reply: serve.Reply{Status: 204}}
		f := openWith(t, serve.Info{Name: "desk", Summary: "takes all.", MaxBody: limit}, d)
		for size, status := range map[int]int{body: 204, body + 1: 413} {
			w := httptest.NewRecorder()
			f.Handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size))))
			answer, err := serve.OpenFaaS(func() *serve.Function { return f })(handler.Request{Method: http.MethodPost, Body: make([]byte, size)})
			if w.Code != status || err != nil || answer.StatusCode != status {
				t.Errorf("%d bytes with the limit %d are answered %d and on OpenFaaS %d (%v), want %d", size, limit, w.Code, answer.StatusCode, err, status)
			}
		}
		close(d.finish)
	}
}

// On OpenFaaS there is no path, and the query comes as text.
func TestServiceOnOpenFaaS(t *testing.T) {
	d := &desk{reply: serve.Reply{Status: 202}}
	f := open(t, d)
	defer close(d.finish)
	answer, err := serve.OpenFaaS(func() *serve.Function { return f })(handler.Request{
		Method: http.MethodPost, QueryString: "delivery=1&x=%2F", Body: []byte("{}"), Header: http.Header{"A": {"b"}},
	})
	if err != nil || answer.StatusCode != 202 || len(d.got) != 1 || d.got[0].Query.Get("x") != "/" || d.got[0].Header.Get("A") != "b" {
		t.Errorf("answered %d (%v), got %+v", answer.StatusCode, err, d.got)
	}
}

func TestServiceIsReadyWhenItSaysSo(t *testing.T) {
	d := &desk{closed: errors.New("not connected")}
	f := open(t, d)
	defer close(d.finish)
	for _, page := range []struct {
		path   string
		status int
	}{{"/healthz", 200}, {"/readyz", 503}} {
		w := httptest.NewRecorder()
		f.Handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, page.path, nil))
		if w.Code != page.status {
			t.Errorf("%s answered %d, want %d", page.path, w.Code, page.status)
		}
	}
	if ready, err := f.Ready(t.Context()); ready || err == nil {
		t.Error("ready although it is not connected")
	}
}

func TestServiceStops(t *testing.T) {
	d := &desk{}
	f := open(t, d)
	soon, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Stop(soon); err == nil {
		t.Error("stopped although work was unfinished and nobody waited for it")
	}
	close(d.finish)
	if err := f.Stop(t.Context()); err != nil {
		t.Errorf("did not stop: %v", err)
	}
}

// Knative Functions starts an instance beside everything else, and stops it when it is told to, whether or not it has
// started by then.
func TestServiceStopsWhileItStarts(t *testing.T) {
	for range 50 {
		d := &desk{running: make(chan struct{}), finish: make(chan struct{})}
		close(d.finish)
		ended := make(chan struct{})
		f := serve.New(serve.DefineService(serve.Info{Name: "desk"}, func(struct{}, serve.Host) (serve.Service, error) {
			return closing{d, ended}, nil
		}))
		started := make(chan error)
		go func() { started <- f.Start(t.Context(), map[string]string{"LOG_LEVEL": "ERROR"}) }()
		if err := f.Stop(t.Context()); err != nil {
			t.Fatalf("did not stop: %v", err)
		}
		if err := <-started; err == nil {
			<-ended // Else it would go on without an end.
		}
	}
	never := serve.New(serve.DefineService(serve.Info{Name: "desk"}, func(struct{}, serve.Host) (serve.Service, error) {
		return nil, errors.New("built")
	}))
	if err := never.Stop(t.Context()); err != nil {
		t.Errorf("one that never started: %v", err)
	}
	if err := never.Start(t.Context(), nil); err == nil || err.Error() == "built" {
		t.Errorf("it starts after its end: %v", err)
	}
}

// closing says when its work has ended.
type closing struct {
	*desk
	ended chan struct{}
}

func (c closing) Run(ctx context.Context) error {
	defer close(c.ended)
	return c.desk.Run(ctx)
}

func TestServiceIsNotForLambda(t *testing.T) {
	d := &desk{}
	f := open(t, d)
	defer close(d.finish)
	if _, err := f.Lambda(t.Context(), json.RawMessage(`{}`)); response.KindOf(err) != response.Permanent || len(d.got) != 0 {
		t.Errorf("got %v, want a permanent error and no call", err)
	}
}
