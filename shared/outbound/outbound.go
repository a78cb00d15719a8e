// Package outbound is the one way out of a function to anything but Kubernetes and AWS.
//
// A request is sent once. Whatever is no success comes back as an error that has its kind and
// can be shown to anybody: webhooks keep their secret in the URL, so no error quotes a path, a
// query, a header or what the other side wrote. Redirects are not followed: they would carry the
// alert, and the secret with it, to a place nobody configured. Answers are read up to a limit.
package outbound

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/telemetry"
)

// Client sends requests. It is safe for concurrent use.
type Client struct{ transport http.RoundTripper }

// NewClient makes a client. The deadline of a request is that of its context.
func NewClient() *Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &Client{&http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 15 * time.Second,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: MaxHeader,
	}}
}

// Do sends r and gives back the answer if it is a success, any status from 200 to 299; the caller closes its
// body. Everything else is an error with its kind: of a *StatusError where there was an answer.
func (c *Client) Do(r *http.Request) (*http.Response, error) {
	resp, err := Once(c.transport, r, maxBody)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	failed := &StatusError{Status: resp.StatusCode}
	// What cannot be read of the body is not needed: the status has said it.
	failed.Body, _ = io.ReadAll(io.LimitReader(resp.Body, maxHead))
	_ = resp.Body.Close()
	e := &response.Error{Kind: Kind(resp.StatusCode), Err: fmt.Errorf("%s: %w", attempt(r), failed)}
	if e.Kind == response.Transient {
		e.RetryAfter = RetryAfter(resp.Header, time.Now())
	}
	return nil, e
}

// Once sends r by a transport and gives back any answer, with a body that fails after that many bytes; it is what
// clients of others, such as the AWS SDK, are made to use. Without net/http's client nothing follows redirects, keeps
// cookies or writes the URL into errors.
func Once(transport http.RoundTripper, r *http.Request, most int64) (*http.Response, error) {
	resp, err := telemetry.RoundTrip(transport, r, r.Method+" "+r.URL.Hostname())
	if err != nil {
		return nil, response.TransientError(fmt.Errorf("%s: %w", attempt(r), inOwnWords(err)), 0)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // It has no body but the connection, which may never end.
		_ = resp.Body.Close()
		resp.Body = http.NoBody
	}
	resp.Body = &bounded{ReadCloser: resp.Body, most: most, left: most}
	return resp, nil
}

func attempt(r *http.Request) string { return r.Method + " " + r.URL.Scheme + "://" + r.URL.Host }

// Drain reads an answer nobody needs to its end, if it is short, so that its connection serves again.
func Drain(body io.Reader) {
	_, _ = io.CopyN(io.Discard, body, maxHead) // Only the connection depends on it.
}
