package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/response"
)

// MaxBody is the largest request body that is read, in bytes, unless Info says otherwise.
const MaxBody = 1 << 20

// tooLarge is answered 413.
func tooLarge(limit int) error { return fmt.Errorf("body is larger than %d bytes", limit) }

// answer is what goes back to the caller.
type answer struct {
	status int
	header http.Header
	// fields are headers, too, of one value each.
	fields []field
	body   []byte
}

// field is a header, its name in canonical form.
type field struct{ name, value string }

// put adds the headers to those that are there.
func (a answer) put(header http.Header) http.Header {
	maps.Copy(header, a.header)
	values := make([]string, len(a.fields))
	for i, f := range a.fields {
		values[i] = f.value
		header[f.name] = values[i : i+1 : i+1]
	}
	return header
}

// routes are the pages of a function. Events are taken at any other path, and at these by POST: a 404 would make
// Knative send the alert ten times more, and net/http's ServeMux redirects a path such as //.
func (f *Function) routes() http.Handler {
	alive := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	ready := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f.app.ready(); err != nil {
			refusal(http.StatusServiceUnavailable, err).write(w)
			return
		}
		alive(w, r)
	})
	pages := map[string]http.Handler{"/healthz": alive, "/readyz": ready, "/metrics": f.metrics.handler()}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, found := pages[r.URL.Path]
		if found && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			page.ServeHTTP(w, r)
			return
		}
		f.serveEvent(w, r)
	})
}

func (f *Function) serveEvent(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		f.refused(r.Context(), "method", wrongMethod(r.Method)).write(w)
		return
	}
	verified := r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	if f.callers != nil && (!verified || !f.callers.trusts(r.TLS.PeerCertificates)) {
		a := f.refused(r.Context(), "unauthenticated", failure(errNoCertificate))
		a.header.Set("Connection", "close") // The next connection may show a better one.
		a.write(w)
		return
	}
	var a answer
	reading := &counted{Reader: http.MaxBytesReader(w, r.Body, int64(f.spec.maxBody())), all: &f.bodies}
	defer reading.done()
	body, err := readAll(reading, r.ContentLength)
	switch limit := (*http.MaxBytesError)(nil); {
	case errors.As(err, &limit):
		a = f.refused(r.Context(), "too-large", refusal(http.StatusRequestEntityTooLarge, tooLarge(f.spec.maxBody())))
	case errors.Is(err, errCrowded):
		a = f.refused(r.Context(), "transient", failure(err))
	case err != nil:
		a = f.refused(r.Context(), "invalid", refusal(http.StatusBadRequest, fmt.Errorf("read the body: %w", err)))
	default:
		var query url.Values
		if r.URL.RawQuery != "" {
			query = r.URL.Query()
		}
		room, ok := f.rooms.Get().(*[]byte)
		if !ok {
			b := make([]byte, 0, usualAnswer)
			room = &b
		}
		defer f.rooms.Put(room) // when it is written
		a = f.app.exchange(r.Context(), Request{Header: r.Header, Query: query, Body: body, Verified: verified, room: *room})
	}
	a.write(w)
}

// usualAnswer is what most answers are smaller than.
const usualAnswer = 8 << 10

// readAll reads a body of that length, as it says itself: room is made for no more than most alerts need.
func readAll(r io.Reader, length int64) ([]byte, error) {
	const least, most = 512, 8 << 10
	b := make([]byte, 0, max(least, min(length, most)+1))
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return b, err
		case len(b) == cap(b):
			b = append(b, 0)[:len(b)]
		}
	}
}

// refused logs and counts a request that never became an event: its sender may not look at the answer.
func (h *host) refused(ctx context.Context, why string, a answer) answer {
	h.log.WarnContext(ctx, "request refused", "response", h.name, "status", a.status, "why", why, "error", strings.TrimSpace(string(a.body)))
	h.metrics.errors.WithLabelValues(h.name, why).Inc()
	return a
}

// retried says whether the caller is asked to send the event again.
func retried(err error) bool {
	k := response.KindOf(err)
	return k == response.Transient || k == response.Unknown
}

// worst picks the error that decides over a batch: one that asks for a retry comes first, so that nothing is lost.
// Those that succeeded are then repeated.
func worst(errs []error) error {
	var picked error
	for _, err := range errs {
		if picked == nil || retried(err) {
			picked = err
		}
	}
	return picked
}

// status is the one table from an error's kind to a status. 404 and 409 are never answered, because
// Knative retries both, and 503 neither, because OpenFaaS does not retry it.
func status(err error) int {
	if errors.Is(err, auth.ErrUnauthenticated) {
		return http.StatusUnauthorized
	}
	switch response.KindOf(err) {
	case response.Invalid:
		return http.StatusBadRequest
	case response.Permanent:
		return http.StatusUnprocessableEntity
	case response.Transient:
		if response.RetryAfter(err) > 0 {
			return http.StatusTooManyRequests
		}
		return http.StatusInternalServerError
	case response.Unknown:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

func failure(err error) answer {
	a := refusal(status(err), err)
	if a.status == http.StatusUnauthorized {
		a.header.Set("WWW-Authenticate", "Bearer")
	}
	if after := response.RetryAfter(err); a.status == http.StatusTooManyRequests {
		a.header.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
		if response.IsDeferred(err) {
			a.header.Set(DeferredHeader, "true")
		}
	}
	return a
}

// DeferredHeader is on a 429 that is about the one event, and not about the function: others may be sent meanwhile.
const DeferredHeader = "Riposte-Deferred"

// wrongMethod answers everything but POST.
func wrongMethod(method string) answer {
	a := refusal(http.StatusMethodNotAllowed, fmt.Errorf("method is %q: want POST", method))
	a.header.Set("Allow", http.MethodPost)
	return a
}

// refusal is one line of ASCII: Knative copies it into an attribute of the dead-lettered event.
func refusal(status int, err error) answer {
	return answer{
		status: status,
		header: http.Header{"Content-Type": {"text/plain; charset=us-ascii"}, "X-Content-Type-Options": {"nosniff"}},
		body:   []byte(ascii(err.Error()) + "\n"),
	}
}

// ascii makes one line of at most 512 printable characters.
func ascii(s string) string {
	const most = 512
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// success is the outcome as a CloudEvent in binary mode, a batch of them for a batch, or 204
// where there is none: a 2xx with another body counts as a failed delivery at Knative.
func success(replies []event.Event, form form) answer {
	var a answer
	var err error
	switch {
	case form == batched:
		a, err = batchMode(replies)
	case len(replies) == 0:
		a = answer{status: http.StatusNoContent}
	default:
		a, err = binaryMode(replies[0])
	}
	if err != nil {
		return failure(fmt.Errorf("write the outcome: %w", err))
	}
	return a
}

func (a answer) write(w http.ResponseWriter) {
	a.put(w.Header())
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller is gone; what was done is done
}
