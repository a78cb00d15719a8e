// Package outboundtest holds the tests that every function which posts to a service has to pass: what its errors
// mean, that they show no secret, and that it sends what its golden files say.
package outboundtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

// Sink is a function that posts to a service, for RetryTests.
type Sink struct {
	// Send makes the sink post once to a service at server, http://127.0.0.1:PORT, and gives its error.
	Send func(ctx context.Context, server string) error
	// Answer is the body of the service's success.
	Answer string
	// Success are the statuses of a success; nil is any from 200 to 299.
	Success []int
	// Transient are the statuses, beside those of all sinks, after which a repeat can help.
	Transient []int
	// Secrets are what no error may show: tokens, and the part of a URL that is secret.
	Secrets []string
}

// RetryTests checks what every sink owes its caller: one request for each attempt, no redirect followed, the kind
// of error that says whether a repeat can help, and no secret in any of them. The service repeats in each failure all
// that was sent to it.
//
//	outboundtest.RetryTests(t, outboundtest.Sink{Secrets: []string{token}, Send: func(ctx context.Context, server string) error {
//		return newSink(server, token).send(ctx, alert)
//	}})
func RetryTests(t *testing.T, s Sink) {
	t.Helper()
	t.Run("every status has its kind", s.statuses)
	t.Run("a time to come back is passed on", s.retryAfter)
	t.Run("a connection that fails is transient", s.connections)
}

func (s Sink) statuses(t *testing.T) {
	elsewhere := newService(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	var status atomic.Int64
	server := newService(t, func(w http.ResponseWriter, r *http.Request) {
		code := int(status.Load())
		w.Header().Set("Location", elsewhere.URL)
		if s.succeeds(code) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, s.Answer)
			return
		}
		w.WriteHeader(code)
		_, _ = w.Write(echo(r))
	})
	statuses := []int{http.StatusSwitchingProtocols} // Others below 200 are no answers.
	for code := 200; code < 600; code++ {
		statuses = append(statuses, code)
	}
	for _, code := range statuses {
		status.Store(int64(code))
		before := server.requests.Load()
		err := s.send(t, server.URL)
		if got, want := kindOf(err), s.want(code); got != want {
			t.Errorf("%d: kind is %s, want %s", code, got, want)
		}
		if n := server.requests.Load() - before; n != 1 {
			t.Errorf("%d: %d requests, want 1", code, n)
		}
		AssertLeaksNoSecret(t, s.Secrets, err)
	}
	if n := elsewhere.requests.Load(); n != 0 {
		t.Errorf("%d redirects were followed, want none", n)
	}
}

func (s Sink) retryAfter(t *testing.T) {
	const soon = 7 * time.Second
	tests := map[string]struct {
		status int
		value  func() string
		want   func(time.Duration) bool
	}{
		"in seconds": {429, func() string { return "7" }, func(d time.Duration) bool { return d == soon }},
		"as a date": {
			429, func() string { return time.Now().Add(time.Hour).UTC().Format(http.TimeFormat) },
			func(d time.Duration) bool { return d > 59*time.Minute && d <= time.Hour },
		},
		"with 503":    {503, func() string { return "7" }, func(d time.Duration) bool { return d == soon }},
		"not at all":  {429, func() string { return "" }, func(d time.Duration) bool { return d == 0 }},
		"not a time":  {429, func() string { return "soon" }, func(d time.Duration) bool { return d == 0 }},
		"in the past": {429, func() string { return "-1" }, func(d time.Duration) bool { return d == 0 }},
		"too long":    {429, func() string { return "9000000000000000000" }, func(d time.Duration) bool { return d > 0 && d <= 24*time.Hour }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := newService(t, func(w http.ResponseWriter, _ *http.Request) {
				if value := test.value(); value != "" {
					w.Header().Set("Retry-After", value)
				}
				w.WriteHeader(test.status)
			})
			err := s.send(t, server.URL)
			if kindOf(err) != response.Transient.String() || !test.want(response.RetryAfter(err)) {
				t.Errorf("kind is %s, to come back after %s", kindOf(err), response.RetryAfter(err))
			}
		})
	}
}

func (s Sink) connections(t *testing.T) {
	tests := map[string]http.HandlerFunc{
		"no answer in time": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // The server sees a caller go only when it has read all that was sent.
			<-r.Context().Done()
		},
		"closed before the answer": func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") },
		"no HTTP":                  func(w http.ResponseWriter, r *http.Request) { hijack(w, string(echo(r))) },
		"headers without end": func(w http.ResponseWriter, r *http.Request) {
			hijack(w, fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Echo: %x%01000000d\r\n\r\n", echo(r), 0))
		},
	}
	for name, handler := range tests {
		t.Run(name, func(t *testing.T) {
			server := newService(t, handler)
			ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
			defer cancel()
			s.wantTransient(t, s.Send(ctx, server.URL))
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		server := newService(t, nil)
		server.Close()
		s.wantTransient(t, s.send(t, server.URL))
	})
	t.Run("already cancelled", func(t *testing.T) {
		server := newService(t, func(http.ResponseWriter, *http.Request) {})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.wantTransient(t, s.Send(ctx, server.URL))
		if n := server.requests.Load(); n != 0 {
			t.Errorf("%d requests, want none", n)
		}
	})
	t.Run("another protocol is not waited for", func(t *testing.T) {
		server := newService(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn) // until the other side goes
		})
		sent := make(chan error, 1)
		go func() { sent <- s.Send(t.Context(), server.URL) }()
		select {
		case err := <-sent:
			if kindOf(err) != response.Permanent.String() {
				t.Errorf("kind is %s (%v), want permanent", kindOf(err), err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the connection is still being read")
		}
	})
	t.Run("an answer without end is not read to its end", func(t *testing.T) {
		gone := make(chan struct{})
		server := newService(t, func(w http.ResponseWriter, _ *http.Request) {
			defer close(gone)
			w.Header().Set("Content-Type", "application/json")
			for _, err := io.WriteString(w, s.Answer); err == nil; {
				_, err = w.Write(make([]byte, 64<<10))
			}
		})
		if err := s.send(t, server.URL); err != nil {
			s.wantTransient(t, err)
		}
		select {
		case <-gone:
		case <-time.After(10 * time.Second):
			t.Error("the answer is still being read")
		}
	})
}

// send is Send with time enough for any machine.
func (s Sink) send(t *testing.T, server string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return s.Send(ctx, server)
}

func (s Sink) wantTransient(t *testing.T, err error) {
	t.Helper()
	if kindOf(err) != response.Transient.String() {
		t.Errorf("kind is %s (%v), want transient", kindOf(err), err)
	}
	AssertLeaksNoSecret(t, s.Secrets, err)
}

func (s Sink) succeeds(status int) bool {
	if s.Success != nil {
		return slices.Contains(s.Success, status)
	}
	return status/100 == 2
}

// want is the kind of error a status gives.
func (s Sink) want(status int) string {
	switch {
	case s.succeeds(status):
		return "none"
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500, slices.Contains(s.Transient, status):
		return response.Transient.String()
	}
	return response.Permanent.String()
}

func kindOf(err error) string {
	if err == nil {
		return "none"
	}
	return response.KindOf(err).String()
}

// service is a local server that counts its requests.
type service struct {
	*httptest.Server
	requests atomic.Int64
}

func newService(t *testing.T, handler http.HandlerFunc) *service {
	t.Helper()
	s := &service{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		handler(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections() // Else Close waits for a connection that another protocol has taken over.
		s.Close()
	})
	return s
}

// echo is all of a request.
func echo(r *http.Request) []byte {
	b, err := httputil.DumpRequest(r, true)
	return append(b, fmt.Sprint(r.URL, errors.Join(err))...)
}

// hijack answers bytes that need not be HTTP, and closes the connection.
func hijack(w http.ResponseWriter, answer string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, answer)
	_ = conn.Close()
}
