package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/riposte-dev/riposte/shared/telemetry"
)

const (
	one     = "00-11111111111111111111111111111111-1111111111111111-01"
	later   = "00-11111111111111111111111111111111-2222222222222222-01"
	ignored = "00-11111111111111111111111111111111-3333333333333333-00"
	other   = "00-44444444444444444444444444444444-4444444444444444-01"
)

func TestOriginOf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header, attribute string
		parent, link      string
	}{
		"both the same":                        {header: one, attribute: one, parent: one},
		"nothing":                              {},
		"a header alone":                       {header: one, parent: one},
		"an attribute alone":                   {attribute: one, parent: one},
		"a header of the same trace is nearer": {header: later, attribute: one, parent: later, link: one},
		"a header of the same trace, not to be recorded": {header: ignored, attribute: one, parent: ignored, link: one},
		"a header of another trace is linked":            {header: other, attribute: one, parent: one, link: other},
		"a header that is none":                          {header: "00-x", attribute: one, parent: one},
		"an attribute that is none":                      {header: one, attribute: strings.Repeat("x", 1000), parent: one},
		"an attribute of zeros":                          {header: one, attribute: "00-" + strings.Repeat("0", 32) + "-1111111111111111-01", parent: one},
		"an attribute with a line break":                 {attribute: one + "\r\nX: y"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			header := http.Header{}
			if test.header != "" {
				header.Set("Traceparent", test.header)
			}
			// What else happens in this process is no parent.
			ctx, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "unrelated")
			defer span.End()
			got := telemetry.OriginOf(ctx, header, test.attribute, "")
			if parent, link := written(got.Parent), written(got.Link); parent != test.parent || link != test.link {
				t.Errorf("parent %q, link %q, want %q and %q", parent, link, test.parent, test.link)
			}
		})
	}
}

// written is a span context as it travels.
func written(s trace.SpanContext) string {
	return telemetry.Attributes(trace.ContextWithSpanContext(context.Background(), s))["traceparent"]
}

func TestTracestate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ state, want string }{
		"is handed on":               {"vendor=a,other=b", "vendor=a,other=b"},
		"is dropped if unreadable":   {"=,=", ""},
		"is dropped if it is long":   {"vendor=" + strings.Repeat("a", 250) + ",other=" + strings.Repeat("b", 256), ""},
		"is handed on up to a limit": {"vendor=" + strings.Repeat("a", 240) + ",other=" + strings.Repeat("b", 240), "vendor=" + strings.Repeat("a", 240) + ",other=" + strings.Repeat("b", 240)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			origin := telemetry.OriginOf(t.Context(), nil, one, test.state)
			got := telemetry.Attributes(trace.ContextWithSpanContext(t.Context(), origin.Parent))
			if got["traceparent"] != one || got["tracestate"] != test.want {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestStart(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test")
	header := http.Header{"Traceparent": {other}}
	ctx, span := telemetry.OriginOf(t.Context(), header, one, "").Start(t.Context(), tracer, "response x")
	if telemetry.Attributes(ctx)["traceparent"] != written(span.SpanContext()) {
		t.Error("what comes next does not belong to the span")
	}
	span.End()
	ended := recorder.Ended()[0]
	if got := written(ended.Parent()); got != one {
		t.Errorf("the parent is %s, want %s", got, one)
	}
	if links := ended.Links(); len(links) != 1 || written(links[0].SpanContext) != other {
		t.Errorf("the links are %v", links)
	}
}

// answers is a transport that keeps what it gets.
type answers struct {
	status int
	err    error
	header http.Header
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	a.header = r.Header
	if a.err != nil {
		return nil, a.err
	}
	return &http.Response{StatusCode: a.status, Body: http.NoBody, Header: http.Header{}}, nil
}

func TestRequests(t *testing.T) {
	t.Parallel()
	const secret = "T00000000-s3cr3t"
	tests := map[string]struct {
		answer answers
		failed bool
	}{
		"a success":  {answers{status: http.StatusOK}, false},
		"not found":  {answers{status: http.StatusNotFound}, true},
		"no answer":  {answers{err: errors.New("dial https://hooks.slack.com/" + secret)}, true},
		"a time-out": {answers{err: context.DeadlineExceeded}, true},
		"a server's": {answers{status: http.StatusBadGateway}, true},
		"a redirect": {answers{status: http.StatusFound}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := tracetest.NewSpanRecorder()
			ctx, parent := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test").Start(t.Context(), "event")
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://hooks.slack.com/services/"+secret+"?token="+secret, nil)
			r.Header.Set("Authorization", secret)
			resp, err := telemetry.RoundTrip(&test.answer, r, "POST hooks.slack.com")
			if (err != nil) != (test.answer.err != nil) || err == nil && resp.StatusCode != test.answer.status {
				t.Errorf("%v, %v: want what the transport says", resp, err)
			}
			if test.answer.header.Get("Traceparent") != "" || r.Header.Get("Traceparent") != "" {
				t.Error("somebody outside learns of the trace")
			}
			span := recorder.Ended()[0]
			if span.Parent().SpanID() != parent.SpanContext().SpanID() || span.SpanKind() != trace.SpanKindClient {
				t.Errorf("the parent is %v, the kind %v", span.Parent(), span.SpanKind())
			}
			if (span.Status().Code == codes.Error) != test.failed {
				t.Errorf("the status is %v", span.Status())
			}
			for _, kv := range span.Attributes() {
				if strings.Contains(kv.Value.Emit(), "s3cr3t") {
					t.Errorf("%s shows the secret", kv.Key)
				}
			}
			if strings.Contains(span.Name()+span.Status().Description, "s3cr3t") {
				t.Errorf("%s, %s shows the secret", span.Name(), span.Status().Description)
			}
		})
	}
}

func TestNothingIsRecordedWithoutATrace(t *testing.T) {
	t.Parallel()
	base := &answers{status: http.StatusOK}
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), telemetry.OriginOf(t.Context(), nil, one, "").Parent)
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "https://kubernetes/api/v1/nodes", nil)
	if _, err := telemetry.Kubernetes(base).RoundTrip(r); err != nil {
		t.Fatal(err)
	}
	if len(base.header) > 0 {
		t.Errorf("the request has the header %v", base.header)
	}
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ method, path, want string }{
		"a pod":                  {"GET", "/api/v1/namespaces/shop/pods/cart-0", "get pods"},
		"pods":                   {"GET", "/api/v1/namespaces/shop/pods", "list pods"},
		"pods anywhere":          {"GET", "/api/v1/pods", "list pods"},
		"a watch":                {"GET", "/api/v1/pods?watch=true", "watch pods"},
		"a node":                 {"PATCH", "/api/v1/nodes/n1", "patch nodes"},
		"a namespace":            {"GET", "/api/v1/namespaces/shop", "get namespaces"},
		"namespaces":             {"GET", "/api/v1/namespaces", "list namespaces"},
		"an eviction":            {"POST", "/api/v1/namespaces/shop/pods/cart-0/eviction", "create pods/eviction"},
		"a deletion":             {"DELETE", "/api/v1/namespaces/shop/pods/cart-0", "delete pods"},
		"deletions":              {"DELETE", "/api/v1/namespaces/shop/pods", "deletecollection pods"},
		"an update":              {"PUT", "/apis/apps/v1/namespaces/shop/deployments/cart/scale", "update deployments/scale"},
		"an event":               {"POST", "/apis/events.k8s.io/v1/namespaces/shop/events", "create events"},
		"a policy":               {"GET", "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies", "list networkpolicies"},
		"a pod named namespaces": {"GET", "/api/v1/namespaces/namespaces/pods/pods", "get pods"},
		"discovery":              {"GET", "/apis", "get apis"},
		"a group":                {"GET", "/apis/apps/v1", "get apis"},
		"the version":            {"GET", "/version", "get version"},
		"the root":               {"GET", "/", "get "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := tracetest.NewSpanRecorder()
			ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("test").Start(t.Context(), "event")
			defer span.End()
			base := &answers{status: http.StatusOK}
			r := httptest.NewRequestWithContext(ctx, test.method, "https://kubernetes"+test.path, nil)
			if _, err := telemetry.Kubernetes(base).RoundTrip(r); err != nil {
				t.Fatal(err)
			}
			got := recorder.Ended()[0]
			if got.Name() != test.want {
				t.Errorf("%q, want %q", got.Name(), test.want)
			}
			if base.header.Get("Traceparent") != written(got.SpanContext()) || r.Header.Get("Traceparent") != "" {
				t.Errorf("the API server gets %q", base.header.Get("Traceparent"))
			}
		})
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	log := slog.New(telemetry.Log(slog.NewJSONHandler(&b, nil))).With("a", 1).WithGroup("g")
	log.InfoContext(t.Context(), "without")
	log.InfoContext(trace.ContextWithSpanContext(t.Context(), telemetry.OriginOf(t.Context(), nil, one, "").Parent), "within")
	var got []any
	for line := range strings.Lines(b.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		got = append(got, fields["g"])
	}
	want := []any{nil, map[string]any{"trace_id": strings.Repeat("1", 32), "span_id": strings.Repeat("1", 16)}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
