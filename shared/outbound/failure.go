package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

// StatusError is an answer that is no success. Its text leaves the body out, since the other side can write into it
// what it was sent.
type StatusError struct {
	Status int
	// Body is the beginning of the answer.
	Body []byte
}

// Error is the status.
func (e *StatusError) Error() string {
	return fmt.Sprintf("answered %d %s", e.Status, http.StatusText(e.Status))
}

// Kind is what can be done about a status that is no success: 408, 429 and 5xx may go better later.
func Kind(status int) response.Kind {
	if status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= http.StatusInternalServerError {
		return response.Transient
	}
	return response.Permanent
}

// maxRetryAfter bounds what another side can ask for.
const maxRetryAfter = 24 * time.Hour

// RetryAfter is when the other side said to come back; zero if it did not.
// https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
func RetryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// failure is an error of the transport in words that can be shown.
type failure struct {
	text  string
	cause error
}

// Error is the text alone.
func (f *failure) Error() string { return f.text }

// Unwrap is the cause, for errors.Is and errors.As.
func (f *failure) Unwrap() error { return f.cause }

// inOwnWords passes on the text of errors known to hold names, addresses and fixed words only. All others can
// quote what was sent, what came back, or a proxy's password.
func inOwnWords(err error) error {
	var (
		lookup      *net.DNSError
		connection  *net.OpError
		certificate *tls.CertificateVerificationError
		slow        net.Error
	)
	f := &failure{text: "no usable answer", cause: err}
	switch {
	case errors.Is(err, context.Canceled):
		f.text = context.Canceled.Error()
	case errors.As(err, &lookup):
		f.text = lookup.Error()
	case errors.As(err, &connection):
		f.text = connection.Error()
	case errors.As(err, &certificate):
		f.text = certificate.Error()
	case errors.As(err, &slow) && slow.Timeout():
		f.text = "no answer in time"
	case errors.Is(err, http.ErrSchemeMismatch):
		f.text = http.ErrSchemeMismatch.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.text = "connection closed before the answer"
	}
	return f
}
