package serve

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/telemetry"
	"github.com/riposte-dev/riposte/shared/telemetry/otlp"
)

// Event is an event as it arrived, with what led to it.
type Event struct {
	response.Event
	// Source is the event's; empty where it had no envelope.
	Source string
	Origin telemetry.Origin

	traceparent, tracestate string
}

// trace finds out what led to the event, which came with the header.
func (e *Event) trace(ctx context.Context, header http.Header) {
	e.Origin = telemetry.OriginOf(ctx, header, e.traceparent, e.tracestate)
}

// text is an attribute of an event that is text, or empty.
func text(e event.Event, name string) string {
	value, _ := e.Extensions()[name].(string)
	return value
}

// observe begins to log and to export as the settings say.
func (h *host) observe(environ map[string]string, s logging) error {
	h.logTo(s.LogLevel)
	exports, err := otlp.Start(s.Settings, environ, otlp.Source{Name: h.name, Version: Version(), Metrics: h.metrics.registry, Log: h.log})
	if err != nil {
		return err
	}
	h.exports, h.tracer = exports, exports.Tracer()
	return nil
}

// begin starts the span of an event.
func (h *host) begin(ctx context.Context, e Event) (context.Context, trace.Span) {
	if _, off := h.tracer.(noop.Tracer); off && !e.Origin.Parent.IsValid() && !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, noop.Span{} // Nothing is recorded, and there is nothing to hand on.
	}
	return e.Origin.Start(ctx, h.tracer, "response "+h.name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("riposte.response", h.name), attribute.String("cloudevents.event_id", e.ID),
		attribute.String("cloudevents.event_type", e.Type), attribute.String("cloudevents.event_source", e.Source)))
}

// carry is an event with the trace that ctx belongs to.
func carry(ctx context.Context, e event.Event) event.Event {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return e
	}
	e = e.Clone() // It may be the answer to others, too.
	for name, value := range telemetry.Attributes(ctx) {
		e.SetExtension(name, value)
	}
	return e
}

// describe says in a span what came of an event.
func describe(span trace.Span, record *response.Record, err error) {
	switch {
	case !span.IsRecording():
	case err != nil:
		span.SetAttributes(attribute.String("error.type", response.KindOf(err).String()))
		span.SetStatus(codes.Error, ascii(err.Error()))
	case record != nil:
		span.SetAttributes(
			attribute.String("riposte.rule", record.Alert.Rule), attribute.String("riposte.alert_id", record.AlertID),
			attribute.String("riposte.outcome", string(record.Outcome)), attribute.String("riposte.reason", string(record.Reason)),
			attribute.Bool("riposte.dry_run", record.DryRun))
		if record.Target != nil {
			span.SetAttributes(
				attribute.String("riposte.target.kind", record.Target.Kind), attribute.String("riposte.target.namespace", record.Target.Namespace),
				attribute.String("riposte.target.name", record.Target.Name))
		}
		if record.Outcome == response.Failed {
			span.SetStatus(codes.Error, string(record.Reason))
		}
	}
}

const (
	// flushing is how long a caller on AWS Lambda waits for a collector that does not answer: nothing is exported between
	// invocations, when the function stands still.
	flushing = 500 * time.Millisecond
	// stopping is how long a process that ends waits for one.
	stopping = 3 * time.Second
)

// invoke handles an invocation on AWS Lambda.
func (f *Function) invoke(ctx context.Context, payload json.RawMessage) (any, error) {
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, flushing)
		defer cancel()
		f.exports.Flush(ctx)
	}()
	return f.app.lambda(ctx, payload)
}

// flushAtEnd sends what is pending when the process is told to end, where the host does not say so: OpenFaaS's template
// serves on for a while, and then is gone.
func (h *host) flushAtEnd(ctx context.Context) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM) // Whoever else waits for it hears it too.
	<-told
	ctx, cancel := context.WithTimeout(ctx, stopping)
	defer cancel()
	h.exports.Flush(ctx)
}

// stopExports sends what is pending. It takes its own time: the work that it tells of may have used up ctx.
func (h *host) stopExports(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopping)
	defer cancel()
	h.exports.Stop(ctx)
}
