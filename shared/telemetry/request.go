package telemetry

import (
	"fmt"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// RoundTrip sends a request, and records it as a child of the span in its context if that is recorded. The request
// itself is not changed: who is called outside the cluster need not know of our traces.
func RoundTrip(base http.RoundTripper, r *http.Request, name string) (*http.Response, error) {
	r, span := begin(r, name)
	if span == nil {
		return base.RoundTrip(r)
	}
	return finish(base, r, span)
}

// begin starts the span of a request; it is nil where none is to be recorded.
func begin(r *http.Request, name string) (*http.Request, trace.Span) {
	parent := trace.SpanFromContext(r.Context())
	if !parent.IsRecording() {
		return r, nil
	}
	ctx, span := parent.TracerProvider().Tracer(Scope).Start(r.Context(), name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("server.address", r.URL.Hostname())))
	return r.WithContext(ctx), span
}

// finish sends the request and ends its span when the answer begins.
func finish(base http.RoundTripper, r *http.Request, span trace.Span) (*http.Response, error) {
	defer span.End()
	resp, err := base.RoundTrip(r)
	if err != nil { // Its text can quote the address, which may be a secret.
		span.SetAttributes(attribute.String("error.type", fmt.Sprintf("%T", err)))
		span.SetStatus(codes.Error, "no answer")
		return resp, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode >= http.StatusBadRequest {
		span.SetStatus(codes.Error, http.StatusText(resp.StatusCode))
	}
	return resp, nil
}

// Kubernetes records the requests to an API server, by verb and resource, and lets it join the trace.
// https://kubernetes.io/docs/concepts/cluster-administration/system-traces/
func Kubernetes(base http.RoundTripper) http.RoundTripper { return kubernetes{base} }

type kubernetes struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (k kubernetes) RoundTrip(r *http.Request) (*http.Response, error) {
	r, span := begin(r, apiCall(r))
	if span == nil {
		return k.base.RoundTrip(r)
	}
	r.Header = r.Header.Clone()
	SetHeader(r.Context(), r.Header)
	return finish(k.base, r, span)
}

// apiCall is the verb and the resource of a request, as RBAC has them: get pods, create pods/eviction.
// https://kubernetes.io/docs/reference/using-api/api-concepts/
func apiCall(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch { // The group and its version.
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		parts = parts[3:]
	default:
		return strings.ToLower(r.Method) + " " + parts[0]
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		parts = parts[2:]
	}
	resource, named := parts[0], len(parts) > 1
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	return verb(r, named) + " " + resource
}

func verb(r *http.Request, named bool) string {
	switch {
	case r.Method == http.MethodGet && named:
		return "get"
	case r.Method == http.MethodGet && r.URL.Query().Get("watch") == "true":
		return "watch"
	case r.Method == http.MethodGet:
		return "list"
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	case r.Method == http.MethodDelete && !named:
		return "deletecollection"
	}
	return strings.ToLower(r.Method)
}
