// Package otlp exports spans and metrics by OTLP over HTTP, as OpenTelemetry's own variables say (Settings). Metrics are
// the Prometheus instruments that /metrics shows.
//
// What is recorded waits in a bounded queue for an export of its own: no alert waits for a collector, and one that is
// gone, slow or full costs telemetry and nothing else.
//
// The SDK's own exporters would make a function half as large again: they link all of gRPC, for whatever protocol. So
// the requests are made here, of the SDK's messages.
package otlp

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	bridge "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/telemetry"
)

// Source is what telemetry is of.
type Source struct {
	// Name is the function's.
	Name    string
	Version string
	Metrics prometheus.Gatherer
	Log     *slog.Logger
}

// Exports are what goes on for one function.
type Exports struct {
	traces  *sdktrace.TracerProvider
	metrics *sdkmetric.MeterProvider
	senders []*sender
	// late is when a Flush last ended before what it waited for.
	late atomic.Pointer[time.Time]
}

// mostText is how long an attribute may be, in characters.
const mostText = 512

// limits are those of spans. Events are as long as who sends them likes, and many spans wait in memory; the SDK keeps
// attributes of any length.
func limits() sdktrace.SpanLimits {
	l := sdktrace.NewSpanLimits()
	if l.AttributeValueLengthLimit < 0 || l.AttributeValueLengthLimit > mostText {
		l.AttributeValueLengthLimit = mostText
	}
	return l
}

// Start begins to export what the settings name: nothing, without an endpoint. It does not touch the network.
func Start(s Settings, environ map[string]string, source Source) (*Exports, error) {
	e := &Exports{}
	traces, metrics := s.tracesURL(), s.metricsURL()
	if traces == "" && metrics == "" {
		return e, nil
	}
	for _, name := range unread(environ) {
		source.Log.Warn("telemetry setting is not read", "name", name)
	}
	transport, err := newTransport(s)
	if err != nil {
		return nil, err
	}
	about := resource.NewSchemaless(s.attributes(
		attribute.String("service.name", "riposte-"+source.Name), attribute.String("service.version", source.Version),
		attribute.String("service.instance.id", rand.Text()), attribute.String("telemetry.sdk.name", "opentelemetry"),
		attribute.String("telemetry.sdk.language", "go"), attribute.String("telemetry.sdk.version", sdk.Version()),
	)...)
	to := func(signal, address string) *sender {
		one := &sender{signal: signal, address: address, settings: s, transport: transport, log: source.Log}
		e.senders = append(e.senders, one)
		return one
	}
	if traces != "" {
		sampler, err := s.sampler()
		if err != nil {
			return nil, err
		}
		e.traces = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithSampler(sampler), sdktrace.WithBatcher(
			otlptrace.NewUnstarted(client{to("traces", traces)}), sdktrace.WithBatchTimeout(s.ScheduleDelay.Duration()),
			sdktrace.WithMaxQueueSize(s.QueueSize), sdktrace.WithMaxExportBatchSize(min(s.QueueSize, sdktrace.DefaultMaxExportBatchSize)),
			sdktrace.WithExportTimeout(s.Timeout.Duration())), sdktrace.WithRawSpanLimits(limits()))
	}
	if metrics != "" {
		e.metrics = sdkmetric.NewMeterProvider(sdkmetric.WithResource(about), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(
			exporter{to("metrics", metrics)}, sdkmetric.WithInterval(s.ExportInterval.Duration()), sdkmetric.WithTimeout(s.Timeout.Duration()),
			sdkmetric.WithProducer(bridge.NewMetricProducer(bridge.WithGatherer(source.Metrics))))))
	}
	return e, nil
}

// unread are the variables that say where and how to export, and that nobody reads here.
func unread(environ map[string]string) []string {
	known := map[string]bool{}
	for _, p := range config.Params(&Settings{}) {
		known[p.Name], known[p.Name+"_FILE"] = true, true
	}
	var names []string
	for name := range environ {
		if strings.HasPrefix(name, "OTEL_") && !known[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Tracer records spans, or none where no traces are exported.
func (e *Exports) Tracer() trace.Tracer {
	if e.traces == nil {
		return noop.NewTracerProvider().Tracer(telemetry.Scope)
	}
	return e.traces.Tracer(telemetry.Scope)
}

// pause is how long nobody waits for a collector that has just failed.
const pause = 30 * time.Second

// Flush exports what is pending, until ctx ends. It is for hosts that stand still between events, where the caller
// waits for it: a collector that has failed lately is not waited for.
func (e *Exports) Flush(ctx context.Context) {
	if slices.ContainsFunc(e.senders, func(s *sender) bool { return s.fails(pause) }) {
		return
	}
	if late := e.late.Load(); late != nil && time.Since(*late) < pause {
		return
	}
	defer func() {
		// What was sending may find out later than who waited for it.
		if ctx.Err() != nil {
			now := time.Now()
			e.late.Store(&now)
		}
	}()
	e.both(func() {
		if e.traces != nil {
			_ = e.traces.ForceFlush(ctx) // What fails is logged where it is sent.
		}
	}, func() {
		if e.metrics != nil {
			_ = e.metrics.ForceFlush(ctx) // See above.
		}
	})
}

// Stop exports what is pending, until ctx ends, and nothing from then on.
func (e *Exports) Stop(ctx context.Context) {
	e.both(func() {
		if e.traces != nil {
			_ = e.traces.Shutdown(ctx) // What fails is logged where it is sent.
		}
	}, func() {
		if e.metrics != nil {
			_ = e.metrics.Shutdown(ctx) // See above.
		}
	})
}

func (e *Exports) both(one, other func()) {
	var wait sync.WaitGroup
	wait.Go(one)
	wait.Go(other)
	wait.Wait()
}
