package otlp_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/telemetry/otlp"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// buffer is a log that is written at any time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start begins to export for a function with one counter, by these variables.
func start(t *testing.T, environ map[string]string) (*otlp.Exports, *prometheus.CounterVec, *buffer) {
	t.Helper()
	var s otlp.Settings
	if err := config.Load(environ, &s); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "things_total", Help: "Things."}, []string{"kind"})
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "wait_seconds", Help: "Time.", Buckets: []float64{1, 2}})
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "level", Help: "Level."})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "pause_seconds", Help: "Pause.", Objectives: map[float64]float64{.5: .1}})
	registry.MustRegister(counter, histogram, gauge, summary)
	histogram.Observe(1.5)
	histogram.Observe(9)
	gauge.Set(-7.5)
	summary.Observe(1)
	log := &buffer{}
	e, err := otlp.Start(s, environ, otlp.Source{
		Name: "mine", Version: "v1", Metrics: registry, Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return e, counter, log
}

// span records one span.
func span(t *testing.T, e *otlp.Exports, name string) {
	t.Helper()
	_, s := e.Tracer().Start(t.Context(), name)
	s.End()
}

func TestExports(t *testing.T) {
	t.Parallel()
	tests := map[string]map[string]string{
		"plain":      {},
		"compressed": {"OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"},
	}
	for name, environ := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testkit.NewCollector(t)
			all := map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/base/", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b%2Cc, x=y",
				"OTEL_RESOURCE_ATTRIBUTES": "k8s.cluster.name=prod%2Feu,service.version=overridden",
			}
			maps.Copy(all, environ)
			e, counter, log := start(t, all)
			counter.WithLabelValues("x").Add(3)
			span(t, e, "first")
			e.Flush(t.Context())
			counter.WithLabelValues("x").Add(1)
			span(t, e, "second")
			e.Stop(t.Context())
			span(t, e, "too late")

			var names []string
			for _, s := range c.Spans() {
				names = append(names, s.Name)
				about := maps.Clone(s.Resource)
				if about["service.instance.id"] == "" || about["telemetry.sdk.version"] == "" {
					t.Errorf("the resource is %v", about)
				}
				for _, key := range []string{"service.instance.id", "telemetry.sdk.version"} {
					delete(about, key)
				}
				want := map[string]string{
					"service.name": "riposte-mine", "service.version": "overridden", "k8s.cluster.name": "prod/eu",
					"telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "go",
				}
				if diff := cmp.Diff(want, about); diff != "" {
					t.Error(diff)
				}
			}
			if !slices.Equal(names, []string{"first", "second"}) {
				t.Errorf("the spans are %v", names)
			}
			for metric, want := range map[string]float64{"things_total": 4, "wait_seconds": 2, "level": -7.5, "pause_seconds": 1} {
				got := c.Metric("riposte-mine", metric)
				if len(got) != 1 || got[0].Value != want {
					t.Errorf("%s is %v, want %v", metric, got, want)
				}
			}
			if got := c.Metric("riposte-mine", "things_total"); len(got) == 1 && !maps.Equal(got[0].Labels, map[string]string{"kind": "x"}) {
				t.Errorf("the labels are %v", got[0].Labels)
			}
			for _, h := range c.Headers() {
				if h.Get("Api-Key") != "a b,c" || h.Get("X") != "y" {
					t.Errorf("the headers are %v", h)
				}
			}
			if log.String() != "" {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

func TestWhatIsExported(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		environ         map[string]string // URL stands for the collector's.
		traces, metrics bool
	}{
		"nothing without an endpoint":  {map[string]string{"OTEL_SERVICE_NAME": "x"}, false, false},
		"both":                         {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL"}, true, true},
		"traces alone":                 {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "URL/other/v1/traces"}, true, false},
		"metrics alone":                {map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "URL/v1/metrics"}, false, true},
		"no traces":                    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_EXPORTER": "none"}, false, true},
		"no metrics":                   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_METRICS_EXPORTER": "none"}, true, false},
		"metrics that are asked for":   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_METRICS_EXPORTER": "prometheus"}, true, false},
		"switched off":                 {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_SDK_DISABLED": "true"}, false, false},
		"no traces are to be recorded": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_SAMPLER": "always_off"}, false, true},
		"none of all":                  {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, false, true},
		"all of all":                   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "URL", "OTEL_TRACES_SAMPLER": "traceidratio"}, true, true},
		"an own endpoint counts more": {map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "URL/v1/traces",
			"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "URL/v1/metrics",
		}, true, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testkit.NewCollector(t)
			environ := map[string]string{}
			for key, value := range test.environ {
				environ[key] = strings.Replace(value, "URL", c.URL, 1)
			}
			e, counter, _ := start(t, environ)
			counter.WithLabelValues("x").Inc()
			span(t, e, "one")
			e.Stop(t.Context())
			if traces := len(c.Spans()) > 0; traces != test.traces {
				t.Errorf("traces: %t, want %t", traces, test.traces)
			}
			metrics := slices.ContainsFunc([]string{"riposte-mine", "x"}, func(s string) bool { return c.Metric(s, "things_total") != nil })
			if metrics != test.metrics {
				t.Errorf("metrics: %t, want %t", metrics, test.metrics)
			}
		})
	}
}

// Whoever sends an event chooses its id. It may be a megabyte, and thousands of spans wait for their export.
func TestAttributesAreBounded(t *testing.T) {
	t.Parallel()
	c := testkit.NewCollector(t)
	e, _, _ := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL})
	_, s := e.Tracer().Start(t.Context(), "one", trace.WithAttributes(attribute.String("cloudevents.event_id", strings.Repeat("x", 1<<20))))
	s.SetAttributes(attribute.String("riposte.rule", strings.Repeat("é", 1<<16)))
	s.End()
	e.Stop(t.Context())
	spans := c.Spans()
	if len(spans) != 1 || len(spans[0].Attributes) != 2 {
		t.Fatalf("there are %d spans, want one with two attributes", len(spans))
	}
	for name, value := range spans[0].Attributes {
		if len(value) == 0 || len(value) > 1024 {
			t.Errorf("%s has %d bytes", name, len(value))
		}
	}
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ name, value string }{
		"an endpoint without a scheme":  {"OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"},
		"an endpoint without a host":    {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://"},
		"an endpoint that is no URL":    {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://%zz"},
		"an endpoint of another scheme": {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "grpc://collector:4317"},
		"an endpoint with a password":   {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cr3t@collector:4318"},
		"another protocol":              {"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"},
		"another exporter":              {"OTEL_TRACES_EXPORTER", "zipkin"},
		"another compression":           {"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"},
		"another sampler":               {"OTEL_TRACES_SAMPLER", "jaeger_remote"},
		"a share of more than all":      {"OTEL_TRACES_SAMPLER_ARG", "1.5"},
		"a share that is none":          {"OTEL_TRACES_SAMPLER_ARG", "NaN"},
		"no time":                       {"OTEL_EXPORTER_OTLP_TIMEOUT", "0"},
		"a time with a unit":            {"OTEL_BSP_SCHEDULE_DELAY", "5s"},
		"a time without an end":         {"OTEL_METRIC_EXPORT_INTERVAL", "999999999999"},
		"no queue":                      {"OTEL_BSP_MAX_QUEUE_SIZE", "-1"},
		"headers without a value":       {"OTEL_EXPORTER_OTLP_HEADERS", "s3cr3t"},
		"headers with an escape":        {"OTEL_EXPORTER_OTLP_HEADERS", "a=s3cr3t%zz"},
		"headers with a line break":     {"OTEL_EXPORTER_OTLP_HEADERS", "a=s3cr3t%0d%0ab:c"},
		"headers with a bad name":       {"OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cr3t"},
		"attributes without a value":    {"OTEL_RESOURCE_ATTRIBUTES", "prod"},
		"no certificates":               {"OTEL_EXPORTER_OTLP_CERTIFICATE", empty},
		"no file":                       {"OTEL_EXPORTER_OTLP_CERTIFICATE", empty + ".missing"},
		"not yes or no":                 {"OTEL_SDK_DISABLED", "yes"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s otlp.Settings
			err := config.Load(map[string]string{test.name: test.value}, &s)
			if err == nil || !strings.Contains(err.Error(), test.name) {
				t.Fatalf("%v: want an error that names %s", err, test.name)
			}
			if strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestUnreadSettingsAreNamed(t *testing.T) {
	t.Parallel()
	c := testkit.NewCollector(t)
	e, _, log := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "OTEL_PROPAGATORS": "b3", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "s3cr3t", "PATH": "x",
	})
	e.Stop(t.Context())
	for _, want := range []string{"OTEL_PROPAGATORS", "OTEL_EXPORTER_OTLP_CLIENT_KEY"} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("%s is not named: %s", want, log)
		}
	}
	if strings.Contains(log.String(), "s3cr3t") || strings.Contains(log.String(), "_ENDPOINT") {
		t.Errorf("the log says %s", log)
	}
}

func TestHeadersFromAFileCanBeChanged(t *testing.T) {
	t.Parallel()
	c := testkit.NewCollector(t)
	file := filepath.Join(t.TempDir(), "headers")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("key=old\n")
	e, _, _ := start(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS_FILE": file})
	span(t, e, "one")
	e.Flush(t.Context())
	write("key=new\n")
	span(t, e, "two")
	e.Stop(t.Context())
	var got []string
	for _, h := range c.Headers() {
		got = append(got, h.Get("Key"))
	}
	if !slices.Equal(got, []string{"old", "new"}) {
		t.Errorf("the header was %v", got)
	}
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	var taken atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { taken.Add(1) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		environ map[string]string
		want    int32
	}{
		"is checked":          {map[string]string{}, 0},
		"is that of the file": {map[string]string{"OTEL_EXPORTER_OTLP_CERTIFICATE": file}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			taken.Store(0)
			environ := map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_TIMEOUT": "900"}
			maps.Copy(environ, test.environ)
			e, _, _ := start(t, environ)
			span(t, e, "one")
			e.Stop(t.Context())
			if got := taken.Load(); got != test.want {
				t.Errorf("%d exports, want %d", got, test.want)
			}
		})
	}
}

// flaky is a collector that answers with these statuses, one after the other, and keeps the spans of the successes.
type flaky struct {
	mu       sync.Mutex
	statuses []int
	after    string
	requests int
	spans    []string
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	status := http.StatusOK
	if f.requests < len(f.statuses) {
		status = f.statuses[f.requests]
	}
	f.requests++
	var in tracepb.TracesData
	if err == nil && status == http.StatusOK && proto.Unmarshal(body, &in) == nil {
		for _, s := range in.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans() {
			f.spans = append(f.spans, s.GetName())
		}
	}
	if f.after != "" {
		w.Header().Set("Retry-After", f.after)
	}
	w.WriteHeader(status)
}

func TestFailures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		statuses []int
		requests int
		spans    []string
		warnings int
	}{
		"asked to, it tries again":     {[]int{503}, 2, []string{"one"}, 0},
		"and again":                    {[]int{429, 502}, 3, []string{"one"}, 0},
		"what is refused is lost":      {[]int{400}, 1, nil, 1},
		"a redirect is not followed":   {[]int{307}, 1, nil, 1},
		"a denial is told of":          {[]int{401}, 1, nil, 1},
		"a failure is not tried again": {[]int{500}, 1, nil, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &flaky{statuses: test.statuses}
			server := httptest.NewServer(f)
			t.Cleanup(server.Close)
			e, _, log := start(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL + "/s3cr3t"})
			span(t, e, "one")
			e.Stop(t.Context())
			if f.requests != test.requests || !slices.Equal(f.spans, test.spans) {
				t.Errorf("%d requests, %v, want %d and %v", f.requests, f.spans, test.requests, test.spans)
			}
			if got := strings.Count(log.String(), "level=WARN"); got != test.warnings || strings.Contains(log.String(), "s3cr3t") {
				t.Errorf("the log says %s", log)
			}
		})
	}
}

func TestFailuresAreLoggedOnceUntilTheyEnd(t *testing.T) {
	t.Parallel()
	f := &flaky{statuses: []int{400, 400, 400, 200, 200, 400}}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	e, _, log := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL, "OTEL_BSP_SCHEDULE_DELAY": "1",
	})
	for n := range 6 {
		span(t, e, "one")
		testkit.Eventually(t, "it is exported", func(context.Context) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.requests <= n {
				return io.EOF
			}
			return nil
		})
	}
	e.Stop(t.Context())
	if warnings, infos := strings.Count(log.String(), "level=WARN"), strings.Count(log.String(), "level=INFO"); warnings != 2 || infos != 1 {
		t.Errorf("%d warnings and %d times it was well again: want 2 and 1\n%s", warnings, infos, log)
	}
}

// silent accepts connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

func TestACollectorThatIsNotThereCostsNoTime(t *testing.T) {
	t.Parallel()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for name, endpoint := range map[string]string{"one that hangs": silent(t), "one that is gone": closed.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, _, log := start(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "1", "OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_EXPORTER_OTLP_TIMEOUT": "500",
			})
			began := time.Now()
			for range 10_000 { // A thousand times what there is room for.
				span(t, e, "one")
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("10000 spans took %s", took)
			}
			bounded := func(what string, within time.Duration, do func(context.Context)) {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				began := time.Now()
				do(ctx)
				if took := time.Since(began); took > within {
					t.Errorf("%s took %s", what, took)
				}
			}
			bounded("the first flush", 2*time.Second, e.Flush)
			testkit.Eventually(t, "the failure is noticed", func(context.Context) error {
				if !strings.Contains(log.String(), "level=WARN") {
					return io.EOF
				}
				return nil
			})
			bounded("a flush after a failure", 100*time.Millisecond, e.Flush)
			bounded("the end", 2*time.Second, e.Stop)
		})
	}
}
