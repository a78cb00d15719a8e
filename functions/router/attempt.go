package function

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	duckv1 "knative.dev/pkg/apis/duck/v1"

	"github.com/riposte-dev/riposte/shared/serve"
)

// caller makes single calls by Knative's dispatcher. Its own retries would keep a call's slot while they wait, and what
// it says after a dead letter is about the dead letter: both are done here.
type caller struct{ dispatcher *kncloudevents.Dispatcher }

func newCaller() caller {
	configureKnative()
	return caller{kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil,
		kncloudevents.WithMeterProvider(metricnoop.NewMeterProvider()), kncloudevents.WithTraceProvider(tracenoop.NewTracerProvider()))}
}

// answer is what came of one attempt.
type answer struct {
	// status is 0 where nobody answered.
	status int
	header http.Header
	body   []byte
	took   time.Duration
	// err says why the attempt failed; nil for a success.
	err error
	// reply is the event in a success, if there was one.
	reply *event.Event
}

// call sends the event once. A panic of the dispatcher is a failed attempt.
func (c caller) call(ctx context.Context, e event.Event, to duckv1.Addressable, timeout time.Duration, header http.Header) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = answer{err: fmt.Errorf("the call panicked: %v", p)}
		}
	}()
	once := kncloudevents.NoRetries()
	once.RequestTimeout = timeout
	once.CheckRetry = func(_ context.Context, r *http.Response, err error) (bool, error) {
		if r != nil { // The dispatcher reads an answer to its end, however long it is.
			a.status, r.Body = r.StatusCode, http.MaxBytesReader(nil, r.Body, serve.MaxBody)
		}
		if status := redirectOf(err); status != 0 {
			a.status = status
		}
		return false, nil
	}
	begin := time.Now()
	info, err := c.dispatcher.SendEvent(ctx, e, to, kncloudevents.WithRetryConfig(&once), kncloudevents.WithHeader(header))
	a.took = time.Since(begin)
	if info != nil {
		a.header, a.body = info.ResponseHeader, info.ResponseBody
	}
	switch {
	case err != nil:
		a.err = err
	case a.status/100 == 2 && info.ResponseCode != a.status: // The dispatcher could not read the body.
		a.fail(http.StatusBadGateway, fmt.Sprintf("the answer was cut off, or has more than %d bytes", serve.MaxBody))
	}
	return a
}

func (a *answer) fail(status int, text string) {
	a.status, a.body, a.err = status, []byte(text), fmt.Errorf("answered %d: %s", status, text)
}

// read takes the event out of a success. Knative's Broker takes a success with anything else in it for a failure, and
// so does the router: who answers so may be a proxy.
func (a *answer) read(ctx context.Context) {
	if a.err != nil || len(a.body) == 0 && a.header.Get("Ce-Specversion") == "" {
		return
	}
	e, err := replied(ctx, a.header, a.body)
	if err != nil {
		a.fail(http.StatusBadGateway, "the received response body is not a CloudEvent: "+err.Error())
		return
	}
	a.reply = e
}

// replied decodes an event in binary or structured mode, attributes as they are: a function is not a stranger.
func replied(ctx context.Context, header http.Header, body []byte) (_ *event.Event, err error) {
	defer func() { // The SDK panics at some malformed headers.
		if p := recover(); p != nil {
			err = fmt.Errorf("event is not readable: %v", p)
		}
	}()
	message := cehttp.NewMessage(header, io.NopCloser(bytes.NewReader(body)))
	e, err := binding.ToEvent(ctx, message)
	if err != nil {
		return nil, err
	}
	if err := e.Validate(); err != nil {
		return nil, fmt.Errorf("event is not valid: %w", err)
	}
	return e, carriable(ctx, *e)
}

// maxHeaders bounds the attributes of an answer, in bytes: a function takes 64 KiB of headers.
const maxHeaders = 32 << 10

// carriable is nil if the attributes fit into headers. Others could be neither delivered nor dead-lettered, for ever.
func carriable(ctx context.Context, e event.Event) error {
	r := &http.Request{Header: http.Header{}}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&e), r); err != nil {
		return err
	}
	size := 0
	for name, values := range r.Header {
		for _, value := range values {
			size += len(name) + len(value)
			if strings.ContainsFunc(value, unicode.IsControl) {
				return fmt.Errorf("event has the attribute %s %.80q: want no control characters", name, value)
			}
		}
	}
	if size > maxHeaders {
		return fmt.Errorf("event has attributes of %d bytes: want %d or fewer", size, maxHeaders)
	}
	return nil
}
