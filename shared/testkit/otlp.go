package testkit

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector is an OpenTelemetry collector that takes OTLP over HTTP, as protobuf, and keeps what comes.
type Collector struct {
	// URL is the endpoint, without the paths of traces and metrics.
	URL string

	mu      sync.Mutex
	spans   []Span
	metrics map[string][]Point
	headers []http.Header
	problem error
}

// Span is a span that was exported.
type Span struct {
	// Service is the service.name of who exported it.
	Service    string
	Name       string
	Kind       string
	Trace      string
	ID, Parent string
	// Links are the IDs of spans.
	Links         []string
	Attributes    map[string]string
	Failed        bool
	Began, Ended  time.Time
	Resource      map[string]string
	StatusMessage string
}

// Point is one value of a metric, by its labels: a number, or the count of a histogram.
type Point struct {
	Labels   map[string]string
	Resource map[string]string
	Value    float64
}

// NewCollector starts a collector. What it cannot read fails the test.
func NewCollector(tb testing.TB) *Collector {
	tb.Helper()
	c := &Collector{metrics: map[string][]Point{}}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	c.URL = server.URL
	tb.Cleanup(func() {
		server.Close()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.problem != nil {
			tb.Errorf("the collector got what it cannot read: %v", c.problem)
		}
	})
	return c
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	if err := c.take(r); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.problem = fmt.Errorf("%s %s: %w", r.Method, r.URL.Path, err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf") // An empty message: nothing was rejected.
}

func (c *Collector) take(r *http.Request) error {
	if kind := r.Header.Get("Content-Type"); r.Method != http.MethodPost || kind != "application/x-protobuf" {
		return fmt.Errorf("content type is %q: want POST of application/x-protobuf", kind)
	}
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			return err
		}
		reader = unzipped
	}
	body, err := io.ReadAll(reader)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = append(c.headers, r.Header.Clone())
	switch {
	case strings.HasSuffix(r.URL.Path, "/v1/traces"):
		return c.takeTraces(body)
	case strings.HasSuffix(r.URL.Path, "/v1/metrics"):
		return c.takeMetrics(body)
	}
	return fmt.Errorf("want a path that ends in /v1/traces or /v1/metrics")
}

func (c *Collector) takeTraces(body []byte) error {
	var in tracepb.TracesData // As the message of a request, in all but its name.
	if err := proto.Unmarshal(body, &in); err != nil {
		return err
	}
	for _, resource := range in.GetResourceSpans() {
		about := texts(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				if len(s.GetTraceId()) != 16 || len(s.GetSpanId()) != 8 {
					return fmt.Errorf("span %s has a trace ID of %d bytes and an ID of %d: want 16 and 8", s.GetName(), len(s.GetTraceId()), len(s.GetSpanId()))
				}
				span := Span{
					Service: about["service.name"], Resource: about, Name: s.GetName(),
					Kind:  strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
					Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Attributes: texts(s.GetAttributes()), Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
					StatusMessage: s.GetStatus().GetMessage(), Began: moment(s.GetStartTimeUnixNano()), Ended: moment(s.GetEndTimeUnixNano()),
				}
				for _, l := range s.GetLinks() {
					span.Links = append(span.Links, hex.EncodeToString(l.GetSpanId()))
				}
				c.spans = append(c.spans, span)
			}
		}
	}
	return nil
}

func (c *Collector) takeMetrics(body []byte) error {
	var in metricspb.MetricsData // See takeTraces.
	if err := proto.Unmarshal(body, &in); err != nil {
		return err
	}
	for _, resource := range in.GetResourceMetrics() {
		about := texts(resource.GetResource().GetAttributes())
		for _, scope := range resource.GetScopeMetrics() {
			for _, m := range scope.GetMetrics() {
				var points []Point // Counts are cumulative: what came before is overtaken.
				for _, p := range slices.Concat(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()) {
					points = append(points, Point{texts(p.GetAttributes()), about, p.GetAsDouble()})
				}
				for _, p := range m.GetHistogram().GetDataPoints() {
					points = append(points, Point{texts(p.GetAttributes()), about, float64(p.GetCount())})
				}
				for _, p := range m.GetSummary().GetDataPoints() {
					points = append(points, Point{texts(p.GetAttributes()), about, float64(p.GetCount())})
				}
				key := about["service.name"] + "/" + m.GetName()
				c.metrics[key] = points
			}
		}
	}
	return nil
}

func texts(in []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range in {
		switch value := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			out[kv.GetKey()] = value.StringValue
		case *commonpb.AnyValue_IntValue:
			out[kv.GetKey()] = fmt.Sprint(value.IntValue)
		default:
			out[kv.GetKey()] = kv.GetValue().String()
		}
	}
	return out
}

func moment(nanos uint64) time.Time { return time.Unix(0, int64(nanos)) } //nolint:gosec // It was an int64 once.

// Spans are all that came so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Metric is a metric of a service as it was exported last; nil if it never was.
func (c *Collector) Metric(service, name string) []Point {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[service+"/"+name]
}

// Names are the metrics that a service has exported, in order.
func (c *Collector) Names(service string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for key := range c.metrics {
		if name, ok := strings.CutPrefix(key, service+"/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Headers are those of all requests so far.
func (c *Collector) Headers() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.headers)
}
