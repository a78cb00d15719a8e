// Package telemetry follows an alert from function to function: by spans of OpenTelemetry, whose context travels with
// the events as W3C Trace Context. What is recorded goes out by package otlp; where nothing is exported a context that
// came in is handed on all the same, and nothing else is done.
//
// Who makes a request on behalf of an event has the event's span in its context. That is all it needs: spans of requests
// are recorded where that one is (RoundTrip, Kubernetes). No name of a pod or namespace ever becomes the label of a
// metric, no body, query, credential or path of an address outside the cluster the attribute of a span.
//
// docs/observability.md lists spans and metrics.
package telemetry

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name of what records the spans.
const Scope = "github.com/riposte-dev/riposte"

// The attributes of a CloudEvent that hold the trace it belongs to, which are also the headers of HTTP.
// https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md
// https://www.w3.org/TR/trace-context/
const (
	Traceparent = "traceparent"
	Tracestate  = "tracestate"
)

// maxState is how much of a tracestate is handed on; what is longer may be dropped.
// https://www.w3.org/TR/trace-context/#tracestate-limits
const maxState = 512

// Origin is what led to an event.
type Origin struct {
	// Parent is the span that the event's own is a child of. It may be of another process, or not valid.
	Parent trace.SpanContext
	// Link is the other of the two that are known, who made the event and who brought it; not valid where there is one.
	Link trace.SpanContext
}

// OriginOf finds out what led to an event. The attribute is the producer's, and stays the same on the whole way; the
// header is that of the last hop, a Broker for instance. So the attribute says which trace it is, and the header, if it
// is of that trace, where in it. A header of another trace is a hop's that knew nothing of the event's. Either way the
// other one is linked.
func OriginOf(ctx context.Context, header http.Header, traceparent, tracestate string) Origin {
	hop := read(ctx, header.Get(Traceparent), header.Get(Tracestate))
	producer := read(ctx, traceparent, tracestate)
	switch {
	case !producer.IsValid() || producer.Equal(hop):
		return Origin{Parent: hop}
	case producer.TraceID() == hop.TraceID():
		return Origin{Parent: hop, Link: producer}
	}
	return Origin{Parent: producer, Link: hop}
}

func read(ctx context.Context, traceparent, tracestate string) trace.SpanContext {
	if traceparent == "" {
		return trace.SpanContext{}
	}
	if len(tracestate) > maxState {
		tracestate = ""
	}
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{Traceparent: traceparent, Tracestate: tracestate})
	return trace.SpanContextFromContext(ctx)
}

// Start begins the span of an event.
func (o Origin) Start(ctx context.Context, tracer trace.Tracer, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if o.Link.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: o.Link}))
	}
	return tracer.Start(trace.ContextWithRemoteSpanContext(ctx, o.Parent), name, options...)
}

// Attributes are the attributes of an event that the span in ctx leads to; none where there is no trace.
func Attributes(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier
}

// SetHeader puts the span in ctx into the header of a request.
func SetHeader(ctx context.Context, header http.Header) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
}
