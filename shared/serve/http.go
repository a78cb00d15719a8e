package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/riposte-dev/riposte/shared/response"
)

// MaxBody is the largest request body that is read, in bytes.
const MaxBody = 1 << 20

// errTooLarge is answered 413.
var errTooLarge = fmt.Errorf("body is larger than %d bytes", MaxBody)

// answer is what goes back to the caller.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// routes are the pages of a function. Events are taken at any other path, and at these by POST: a 404 would make
// Knative send the alert ten times more, and net/http's ServeMux redirects a path such as //.
func (f *Function) routes() http.Handler {
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	pages := map[string]http.Handler{"/healthz": ok, "/readyz": ok, "/metrics": f.metrics.handler()}
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
	var a answer
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	switch tooLarge := (*http.MaxBytesError)(nil); {
	case errors.As(err, &tooLarge):
		a = f.refused(r.Context(), "too-large", refusal(http.StatusRequestEntityTooLarge, errTooLarge))
	case err != nil:
		a = f.refused(r.Context(), "invalid", refusal(http.StatusBadRequest, fmt.Errorf("read the body: %w", err)))
	default:
		a = f.exchange(r.Context(), r.Header, body)
	}
	a.write(w)
}

// exchange takes one request, of whatever HTTP-like host, to its answer.
func (f *Function) exchange(ctx context.Context, header http.Header, body []byte) answer {
	if len(body) > MaxBody {
		return f.refused(ctx, "too-large", refusal(http.StatusRequestEntityTooLarge, errTooLarge))
	}
	allowed, err := f.authenticate(header)
	if err != nil {
		f.inner.Log.ErrorContext(ctx, "caller cannot be authenticated", "error", err.Error())
		return failure(response.PermanentError(errors.New("AUTH_TOKEN cannot be read: the function's log says why")))
	}
	if !allowed {
		a := refusal(http.StatusUnauthorized, errors.New("caller has no valid bearer token"))
		a.header.Set("WWW-Authenticate", "Bearer")
		return f.refused(ctx, "unauthenticated", a)
	}
	leave, err := f.enter(ctx)
	if err != nil {
		return f.refused(ctx, "transient", failure(err))
	}
	defer leave()
	events, form, err := decode(ctx, header, body)
	if err != nil {
		return f.refused(ctx, "invalid", failure(response.InvalidError(err)))
	}
	// A batch gets the time of one alert; what is left over then asks for a repeat.
	ctx, cancel := context.WithTimeout(ctx, f.common.Timeout)
	defer cancel()
	var replies []event.Event
	var failures []error
	for i, e := range events {
		reply, err := f.handle(ctx, e)
		switch {
		case err != nil && form == batched:
			failures = append(failures, fmt.Errorf("event %d of the batch: %w", i, err))
		case err != nil:
			failures = append(failures, err)
		case reply != nil:
			replies = append(replies, *reply)
		}
	}
	// What failed for good in a batch is in the log and the metrics; the outcomes of the others are published all the same.
	if err := worst(failures); err != nil && (len(replies) == 0 || retried(err)) {
		return failure(err)
	}
	return success(ctx, replies, form)
}

// enter waits until fewer than atOnce requests are worked on.
func (f *Function) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-f.slots }
	select {
	case f.slots <- struct{}{}:
		return leave, nil
	default:
	}
	select {
	case f.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, response.TransientError(fmt.Errorf("wait for %d other requests: %w", atOnce, ctx.Err()), 0)
	}
}

// refused logs and counts a request that never became an event: its sender may not look at the answer.
func (f *Function) refused(ctx context.Context, why string, a answer) answer {
	f.inner.Log.WarnContext(ctx, "request refused", "response", f.spec.Name, "status", a.status, "why", why, "error", strings.TrimSpace(string(a.body)))
	f.metrics.errors.WithLabelValues(f.spec.Name, why).Inc()
	return a
}

// retried says whether the caller is asked to send the event again.
func retried(err error) bool {
	k := response.KindOf(err)
	return k == response.Transient || k == response.Unknown
}

// handle takes one event to its reply; both are nil where there is nothing to publish.
func (f *Function) handle(ctx context.Context, e response.Event) (*event.Event, error) {
	record, err := f.inner.Handle(ctx, e)
	if err != nil || record == nil {
		return nil, err
	}
	reply, err := record.Event()
	if err != nil {
		return nil, err
	}
	return &reply, nil
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
	if after := response.RetryAfter(err); a.status == http.StatusTooManyRequests {
		a.header.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	return a
}

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
func success(ctx context.Context, replies []event.Event, form form) answer {
	b := buffer{answer: answer{status: http.StatusOK, header: http.Header{}}}
	var err error
	switch {
	case form == batched:
		err = writeBatch(ctx, &b, replies)
	case len(replies) == 0:
		b.status = http.StatusNoContent
	default:
		err = cehttp.WriteResponseWriter(ctx, binding.ToMessage(&replies[0]), http.StatusOK, &b)
	}
	if err != nil {
		return failure(fmt.Errorf("write the outcome: %w", err))
	}
	return b.answer
}

func writeBatch(_ context.Context, b *buffer, replies []event.Event) error {
	b.header.Set("Content-Type", event.ApplicationCloudEventsBatchJSON)
	var body bytes.Buffer
	body.WriteByte('[')
	for i, e := range replies {
		encoded, err := e.MarshalJSON()
		if err != nil {
			return err
		}
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(encoded)
	}
	body.WriteByte(']')
	b.body = body.Bytes()
	return nil
}

func (a answer) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller is gone; what was done is done
}

// buffer is an answer as http.ResponseWriter, for the SDK's encoder.
type buffer struct{ answer }

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { b.body = append(b.body, p...); return len(p), nil }
