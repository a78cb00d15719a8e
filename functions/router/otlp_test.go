package function

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	metricsservice "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traceservice "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// What is exported is what OpenTelemetry's own collectors take, to the last field: they read requests by these types,
// which come with all of gRPC and so are no part of a function.
func TestExportsAreRequestsOfOTLP(t *testing.T) {
	var mu sync.Mutex
	got := map[string]proto.Message{}
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var in proto.Message = &traceservice.ExportTraceServiceRequest{}
		if r.URL.Path == "/v1/metrics" {
			in = &metricsservice.ExportMetricsServiceRequest{}
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, in)
		}
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] = in
	}))
	t.Cleanup(collector.Close)
	g := newGateway(t)
	g.function("delete-pod", answers(204, ""))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	s.expect(t, 204, alertAt(t, 1))
	stop(t, s)
	mu.Lock()
	defer mu.Unlock()
	for path, in := range map[string]proto.Message{
		"/v1/traces": &traceservice.ExportTraceServiceRequest{}, "/v1/metrics": &metricsservice.ExportMetricsServiceRequest{},
	} {
		if got[path] == nil {
			t.Fatalf("nothing came to %s", path)
		}
		// JSON has no place for fields that the type does not know.
		text, err := protojson.Marshal(got[path])
		if err != nil {
			t.Fatal(err)
		}
		if err := protojson.Unmarshal(text, in); err != nil || !proto.Equal(in, got[path]) || proto.Size(in) < 200 {
			t.Errorf("%s got something else: %v, %s", path, err, text)
		}
	}
}
