package function

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/serve"
)

// The test vector of Standard Webhooks' own libraries.
const (
	vectorKey  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorTime = 1614265330
	vectorBody = `{"test": 2432232314}`
)

func vector() http.Header {
	return http.Header{
		"Webhook-Id": {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, "Webhook-Timestamp": {"1614265330"},
		"Webhook-Signature": {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
	}
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func TestAccess(t *testing.T) {
	required := map[string]string{"AUTH_TOKEN": "secret", "AUTH_HMAC_KEY": vectorKey}
	tests := map[string]struct {
		environ  map[string]string
		header   http.Header
		verified bool
		late     time.Duration
		want     error
	}{
		"a token":                          {environ: required, header: bearer("secret")},
		"a signature":                      {environ: required, header: vector()},
		"a signature replayed":             {environ: required, header: vector(), late: time.Hour, want: auth.ErrUnauthenticated},
		"another token":                    {environ: required, header: bearer("guess"), want: auth.ErrUnauthenticated},
		"nothing":                          {environ: required, want: auth.ErrUnauthenticated},
		"a certificate in place of both":   {environ: required, verified: true, want: auth.ErrUnauthenticated},
		"a certificate":                    {environ: map[string]string{"AUTH": "mtls"}, verified: true},
		"no certificate":                   {environ: map[string]string{"AUTH": "mtls"}, want: auth.ErrUnauthenticated},
		"a token in place of one":          {environ: map[string]string{"AUTH": "mtls"}, header: bearer("secret"), want: auth.ErrUnauthenticated},
		"nothing where nothing is asked":   {environ: map[string]string{"AUTH": "off"}},
		"something where nothing is asked": {environ: map[string]string{"AUTH": "off"}, header: bearer("x"), verified: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var a access
			if err := config.Load(test.environ, &a); err != nil {
				t.Fatal(err)
			}
			q := serve.Request{Header: test.header, Body: []byte(vectorBody), Verified: test.verified}
			if err := a.check(q, time.Unix(vectorTime, 0).Add(test.late)); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
}

func TestAccessSettings(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	tests := map[string]struct {
		environ map[string]string
		name    string
	}{
		"a token":              {environ: map[string]string{"AUTH_TOKEN": "a"}},
		"a key":                {environ: map[string]string{"AUTH_HMAC_KEY": vectorKey}},
		"off":                  {environ: map[string]string{"AUTH": "off"}},
		"mtls":                 {environ: map[string]string{"AUTH": "mtls"}},
		"nothing":              {name: "AUTH=off"},
		"required and nothing": {environ: map[string]string{"AUTH": "required"}, name: "AUTH_TOKEN"},
		"off with a token":     {environ: map[string]string{"AUTH": "off", "AUTH_TOKEN": "hunter2"}, name: "AUTH"},
		"mtls with a key":      {environ: map[string]string{"AUTH": "mtls", "AUTH_HMAC_KEY": vectorKey}, name: "AUTH"},
		"another way":          {environ: map[string]string{"AUTH": "none", "AUTH_TOKEN": "hunter2"}, name: "required, mtls, off"},
		"an empty token":       {environ: map[string]string{"AUTH_TOKEN": ""}, name: "AUTH_TOKEN"},
		"a token of blanks":    {environ: map[string]string{"AUTH_TOKEN": " \n"}, name: "AUTH_TOKEN"},
		"a key that is none":   {environ: map[string]string{"AUTH_HMAC_KEY": "hunter2"}, name: "AUTH_HMAC_KEY"},
		"a file that is none":  {environ: map[string]string{"AUTH_TOKEN_FILE": missing}, name: "AUTH_TOKEN_FILE"},
		"two tokens":           {environ: map[string]string{"AUTH_TOKEN": "hunter2", "AUTH_TOKEN_FILE": missing}, name: "AUTH_TOKEN_FILE"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := config.Load(test.environ, new(access))
			if (err != nil) != (test.name != "") || err != nil && !strings.Contains(err.Error(), test.name) {
				t.Errorf("%v, want a word of %q", err, test.name)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("it tells the secret: %v", err)
			}
		})
	}
}

// Token and key are rotated while the router runs: for a time two are valid, a line each.
func TestAccessRotates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	put := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	put(other + "\n")
	var a access
	if err := config.Load(map[string]string{"AUTH_HMAC_KEY_FILE": file}, &a); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		content string
		want    error
	}{{other + "\n", auth.ErrUnauthenticated}, {other + "\n" + vectorKey + "\n", nil}, {vectorKey, nil}, {"broken", auth.ErrUnreadable}, {other, auth.ErrUnauthenticated}} {
		put(step.content)
		if err := a.check(serve.Request{Header: vector(), Body: []byte(vectorBody)}, time.Unix(vectorTime, 0)); !errors.Is(err, step.want) {
			t.Errorf("with %d lines: %v, want %v", strings.Count(step.content, "\n"), err, step.want)
		}
	}
}

// Without authorities nobody could show a certificate of one.
func TestMTLSNeedsAuthorities(t *testing.T) {
	c := Config{access: access{Auth: authMTLS}, output: output{Sink: "http://broker", Concurrency: 1, Queue: 1, Timeout: time.Second}}
	for _, mutual := range []bool{true, false} {
		_, err := newRouter(c, serve.Host{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Mutual: mutual})
		if (err == nil) != mutual || err != nil && !strings.Contains(err.Error(), "TLS_CLIENT_CA_FILE") {
			t.Errorf("with authorities %t: %v", mutual, err)
		}
	}
}
