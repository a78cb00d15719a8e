package function

import (
	"context"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/telemetry"
)

// begin starts the span of an event that came in. What becomes of it belongs to that, in this process by the context,
// and wherever else by the attributes that enroll gives it: to functions, in the journal, in a dead letter.
func (e *engine) begin(ctx context.Context, in serve.Event) (context.Context, trace.Span) {
	return in.Origin.Start(ctx, e.tracer, "route", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("cloudevents.event_type", in.Type), attribute.String("cloudevents.event_source", in.Source)))
}

// enroll gives an event the trace that ctx belongs to. The router is the event's source, so the trace begins with it.
func enroll(ctx context.Context, e event.Event) event.Event {
	attributes := telemetry.Attributes(ctx)
	if len(attributes) == 0 {
		return e
	}
	return withExtensions(e, attributes)
}

// inherit gives an answer the trace of what it answers, unless the function has given it one.
func inherit(reply, asked event.Event) event.Event {
	if attributeOf(reply, telemetry.Traceparent) != "" || attributeOf(asked, telemetry.Traceparent) == "" {
		return reply
	}
	attributes := map[string]string{telemetry.Traceparent: attributeOf(asked, telemetry.Traceparent)}
	if state := attributeOf(asked, telemetry.Tracestate); state != "" {
		attributes[telemetry.Tracestate] = state
	}
	return withExtensions(reply, attributes)
}

// attributeOf is an attribute that is text, or empty.
func attributeOf(e event.Event, name string) string {
	value, _ := e.Extensions()[name].(string)
	return value
}

// call makes an attempt within a span, which endCall ends: a child of what the event says, since the answer to an answer
// belongs to that, and what comes out of the journal to what was before.
func (e *engine) call(ctx context.Context, d *delivery, header http.Header) (answer, trace.Span) {
	origin := telemetry.OriginOf(ctx, nil, attributeOf(d.event, telemetry.Traceparent), attributeOf(d.event, telemetry.Tracestate))
	ctx, span := origin.Start(ctx, e.tracer, "deliver "+d.route.function, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("riposte.function", d.route.function), attribute.String("riposte.trigger", d.route.trigger),
		attribute.String("cloudevents.event_id", d.event.ID()), attribute.String("cloudevents.event_type", d.event.Type()),
		attribute.Int("riposte.attempt", d.attempts)))
	telemetry.SetHeader(ctx, header)
	return e.caller.call(ctx, d.event, d.route.to, d.route.policy.retry.RequestTimeout, header), span
}

// endCall says in the span what came of the attempt.
func endCall(span trace.Span, a answer) {
	if a.status != 0 {
		span.SetAttributes(attribute.Int("http.response.status_code", a.status))
	}
	if a.err != nil { // Its text can hold the address.
		span.SetStatus(codes.Error, "not delivered")
	}
	span.End()
}
