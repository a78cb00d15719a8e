// Package outbound is the one way out of a function to anything but Kubernetes and AWS: an
// HTTP client with time-outs and bounded answers that follows no redirects, and errors
// without the secrets that URLs hold.
package outbound

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

// maxBody is how much of an answer is read.
const maxBody = 1 << 20

// NewClient makes a client. The deadline of a request is that of its context.
func NewClient() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Client{
		Transport: bounded{&http.Transport{
			Proxy:       http.ProxyFromEnvironment,
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 15 * time.Second,
			MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		}},
		// A redirect would carry the alert, and with it the secret in the URL, to a place nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// bounded cuts answers at maxBody.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxBody), resp.Body}
	return resp, nil
}

// Redact takes path and query out of the URL in err: that is where webhooks keep their secret.
func Redact(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	host := "the configured URL"
	if parsed, parseErr := url.Parse(u.URL); parseErr == nil && parsed.Host != "" {
		host = parsed.Scheme + "://" + parsed.Host
	}
	return &url.Error{Op: u.Op, URL: host, Err: u.Err}
}

// Kind is what can be done about a status that is no success: 408, 429 and 5xx may go better later.
func Kind(status int) response.Kind {
	if status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= http.StatusInternalServerError {
		return response.Transient
	}
	return response.Permanent
}
