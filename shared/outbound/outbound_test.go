package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/outbound/outboundtest"
	"github.com/riposte-dev/riposte/shared/response"
)

const secret = "T000-B000-s3cr3t/7"

// post sends one request that holds the secret in its path, its query, a header and its body.
func post(ctx context.Context, server string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/services/"+secret+"?key="+secret, strings.NewReader(secret))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	return outbound.NewClient().Do(r)
}

func TestRetries(t *testing.T) {
	outboundtest.RetryTests(t, outboundtest.Sink{Secrets: []string{secret}, Send: func(ctx context.Context, server string) error {
		answer, err := post(ctx, server)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		outbound.Drain(answer.Body)
		return nil
	}})
}

func TestAnswers(t *testing.T) {
	const limit = 4 << 20
	tests := map[string]struct {
		length, declared int
		want             int
		fails            bool
	}{
		"an empty answer":                  {0, 0, 0, false},
		"a short answer":                   {10, 10, 10, false},
		"an answer as large as allowed":    {limit, limit, limit, false},
		"an answer one byte too large":     {limit + 1, limit + 1, limit, true},
		"an answer far too large":          {3 * limit, 3 * limit, limit, true},
		"an answer shorter than announced": {10, 20, 10, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(test.declared))
				_, _ = w.Write(make([]byte, test.length))
			}))
			defer server.Close()
			answer, err := post(t.Context(), server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if len(body) != test.want || (err != nil) != test.fails {
				t.Errorf("read %d bytes (%v), want %d, failure %t", len(body), err, test.want, test.fails)
			}
			for range 2 { // An error stays an error.
				if n, again := answer.Body.Read(make([]byte, 1)); test.fails && (n != 0 || again == nil || errors.Is(again, io.EOF)) {
					t.Errorf("read %d more bytes after the error (%v)", n, again)
				}
			}
		})
	}
}

func TestStatusErrorKeepsTheBeginningOfTheAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, "no_service"+strings.Repeat("x", 1<<20))
	}))
	defer server.Close()
	_, err := post(t.Context(), server.URL)
	var status *outbound.StatusError
	if !errors.As(err, &status) {
		t.Fatalf("error is %v, want a StatusError", err)
	}
	if status.Status != http.StatusNotFound || !strings.HasPrefix(string(status.Body), "no_service") || len(status.Body) > 4<<10 {
		t.Errorf("status %d with %d bytes of the body", status.Status, len(status.Body))
	}
}

func TestErrorsOfTheTransport(t *testing.T) {
	refused, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := refused.Close(); err != nil {
		t.Fatal(err)
	}
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer slow.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	tests := map[string]struct {
		server string
		names  string // what helps the operator
		is     error
	}{
		"nobody listens":            {"http://" + refused.Addr().String(), refused.Addr().String(), nil},
		"no such host":              {"http://riposte.invalid", "riposte.invalid", nil},
		"no answer in time":         {slow.URL, "in time", context.DeadlineExceeded},
		"no TLS":                    {"https" + strings.TrimPrefix(plain.URL, "http"), "https", nil},
		"a scheme nobody speaks":    {"gopher://127.0.0.1", "gopher://127.0.0.1", nil},
		"a certificate of a nobody": {newTLS(t), "certificate", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := post(ctx, test.server)
			if response.KindOf(err) != response.Transient || !strings.Contains(err.Error(), test.names) {
				t.Errorf("kind is %s, want transient, and %q in %q", response.KindOf(err), test.names, err)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("error is not %v: %v", test.is, err)
			}
			outboundtest.AssertLeaksNoSecret(t, []string{secret}, err)
		})
	}
}

func newTLS(t *testing.T) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		value string
		want  time.Duration
	}{
		"none":                {"", 0},
		"seconds":             {"30", 30 * time.Second},
		"no time":             {"0", 0},
		"a negative time":     {"-30", 0},
		"a fraction":          {"1.5", 0},
		"more than a day":     {"86401", 24 * time.Hour},
		"more than 64 bits":   {"18446744073709551616", 0},
		"a date":              {"Thu, 01 Jan 2026 00:01:00 GMT", time.Minute},
		"a date that is past": {"Wed, 31 Dec 2025 00:00:00 GMT", 0},
		"a date far away":     {"Fri, 31 Dec 9999 00:00:00 GMT", 24 * time.Hour},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := outbound.RetryAfter(http.Header{"Retry-After": {test.value}}, now); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	tests := map[string]struct {
		address string
		fails   bool
	}{
		"https":                       {"https://hooks.slack.com/services/" + secret, false},
		"https with a port":           {"https://hooks.slack.com:8443/" + secret, false},
		"http on this machine":        {"http://localhost:8080/" + secret, false},
		"http at a loopback address":  {"http://127.0.0.2:8080/" + secret, false},
		"http at IPv6's loopback":     {"http://[::1]:8080/" + secret, false},
		"http at a mapped loopback":   {"http://[::ffff:127.0.0.1]/" + secret, false},
		"http to elsewhere":           {"http://hooks.slack.com/" + secret, true},
		"http to a name like it":      {"http://localhost.example.com/" + secret, true},
		"http to a number":            {"http://2130706433/" + secret, true},
		"another scheme":              {"ftp://hooks.slack.com/" + secret, true},
		"no scheme":                   {"hooks.slack.com/" + secret, true},
		"no host":                     {"https:///" + secret, true},
		"a port alone":                {"https://:443/" + secret, true},
		"a password":                  {"https://user:" + strings.ReplaceAll(secret, "/", "") + "@hooks.slack.com", true},
		"an escape that is none":      {"https://hooks.slack.com/%zz" + secret, true},
		"a line break":                {"https://hooks.slack.com/" + secret + "\nx", true},
		"nothing":                     {"", true},
		"the secret without anything": {secret, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u, err := outbound.ParseURL(test.address)
			if (err != nil) != test.fails || (u == nil) != test.fails {
				t.Errorf("%v, %v; want failure %t", u, err, test.fails)
			}
			outboundtest.AssertLeaksNoSecret(t, []string{secret, strings.ReplaceAll(secret, "/", "")}, err)
		})
	}
}
