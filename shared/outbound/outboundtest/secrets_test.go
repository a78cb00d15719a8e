package outboundtest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"testing"
)

// recorder takes the place of a test that is expected to fail.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestAssertLeaksNoSecretFindsSecrets(t *testing.T) {
	const secret = "xoxb-1/s3cr3t+"
	type settings struct{ token string }
	tests := map[string]struct {
		shown any
		leaks bool
	}{
		"nothing":                {nil, false},
		"another text":           {"posted to Slack", false},
		"part of it":             {"xoxb-1", false},
		"text":                   {"token " + secret, true},
		"bytes":                  {[]byte("token " + secret), true},
		"an error":               {errors.New(secret), true},
		"a wrapped error":        {fmt.Errorf("post: %w", errors.New(secret)), true},
		"a value of a map":       {map[string]any{"token": secret}, true},
		"a field nobody exports": {settings{secret}, true},
		"a query":                {"key=" + url.QueryEscape(secret), true},
		"a path":                 {"/" + url.PathEscape(secret), true},
		"base64":                 {base64.StdEncoding.EncodeToString([]byte(secret)), true},
		"hexadecimal":            {fmt.Sprintf("%x", secret), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			AssertLeaksNoSecret(r, []string{secret}, test.shown)
			if r.failed != test.leaks {
				t.Errorf("found a secret: %t, want %t", r.failed, test.leaks)
			}
		})
	}
}
