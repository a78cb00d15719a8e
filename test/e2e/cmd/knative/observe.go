package main

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"knative.dev/pkg/observability/resource"
	"knative.dev/pkg/observability/tracing"
)

// seldom is a sampling rate at which no trace begins here, and those that others have begun are recorded: a rate of 0
// would leave out these too.
const seldom = 1e-18

// observe hands traces on, as Knative's mains do, and with an endpoint records them too, by the exporter that the
// ConfigMap config-observability gives them with tracing-protocol http/protobuf.
func observe(ctx context.Context, endpoint string) error {
	otel.SetTextMapPropagator(tracing.DefaultTextMapPropagator())
	if endpoint == "" {
		return nil
	}
	provider, err := tracing.NewTracerProvider(ctx, tracing.Config{
		Protocol: tracing.ProtocolHTTPProtobuf, Endpoint: endpoint, SamplingRate: seldom,
	}, sdktrace.WithResource(resource.Default("knative")))
	if err != nil {
		return fmt.Errorf("record traces: %w", err)
	}
	otel.SetTracerProvider(provider)
	return nil
}
