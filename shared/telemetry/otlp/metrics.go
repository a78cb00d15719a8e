package otlp

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// exporter exports metrics.
type exporter struct{ *sender }

// Temporality implements sdkmetric.Exporter. Prometheus counts from the start of the process.
func (exporter) Temporality(sdkmetric.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}

// Aggregation implements sdkmetric.Exporter. There are no instruments of the SDK.
func (exporter) Aggregation(k sdkmetric.InstrumentKind) sdkmetric.Aggregation {
	return sdkmetric.DefaultAggregationSelector(k)
}

// Export implements sdkmetric.Exporter. The message is that of a request in all but its name.
func (e exporter) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	e.send(ctx, &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{resourceOf(all)}})
	return nil
}

// ForceFlush implements sdkmetric.Exporter.
func (exporter) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdkmetric.Exporter.
func (exporter) Shutdown(context.Context) error { return nil }

func resourceOf(all *metricdata.ResourceMetrics) *metricspb.ResourceMetrics {
	out := &metricspb.ResourceMetrics{
		Resource: &resourcepb.Resource{Attributes: pairs(*all.Resource.Set())}, SchemaUrl: all.Resource.SchemaURL(),
	}
	for _, scope := range all.ScopeMetrics {
		converted := &metricspb.ScopeMetrics{
			Scope: &commonpb.InstrumentationScope{Name: scope.Scope.Name, Version: scope.Scope.Version}, SchemaUrl: scope.Scope.SchemaURL,
		}
		for _, m := range scope.Metrics {
			if one := metric(m); one.Data != nil {
				converted.Metrics = append(converted.Metrics, one)
			}
		}
		out.ScopeMetrics = append(out.ScopeMetrics, converted)
	}
	return out
}

// metric converts the forms that Prometheus instruments have; the data of others stays nil.
func metric(m metricdata.Metrics) *metricspb.Metric {
	const cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	out := &metricspb.Metric{Name: m.Name, Description: m.Description, Unit: m.Unit}
	switch data := m.Data.(type) {
	case metricdata.Gauge[float64]:
		out.Data = &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: points(data.DataPoints)}}
	case metricdata.Sum[float64]:
		out.Data = &metricspb.Metric_Sum{Sum: &metricspb.Sum{
			DataPoints: points(data.DataPoints), IsMonotonic: data.IsMonotonic, AggregationTemporality: cumulative,
		}}
	case metricdata.Histogram[float64]:
		histogram := &metricspb.Histogram{AggregationTemporality: cumulative}
		for _, p := range data.DataPoints {
			histogram.DataPoints = append(histogram.DataPoints, &metricspb.HistogramDataPoint{
				Attributes: pairs(p.Attributes), StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time),
				Count: p.Count, Sum: &p.Sum, ExplicitBounds: p.Bounds, BucketCounts: p.BucketCounts,
			})
		}
		out.Data = &metricspb.Metric_Histogram{Histogram: histogram}
	case metricdata.Summary:
		summary := &metricspb.Summary{}
		for _, p := range data.DataPoints {
			point := &metricspb.SummaryDataPoint{
				Attributes: pairs(p.Attributes), StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time), Count: p.Count, Sum: p.Sum,
			}
			for _, q := range p.QuantileValues {
				point.QuantileValues = append(point.QuantileValues, &metricspb.SummaryDataPoint_ValueAtQuantile{Quantile: q.Quantile, Value: q.Value})
			}
			summary.DataPoints = append(summary.DataPoints, point)
		}
		out.Data = &metricspb.Metric_Summary{Summary: summary}
	}
	return out
}

func points(in []metricdata.DataPoint[float64]) []*metricspb.NumberDataPoint {
	out := make([]*metricspb.NumberDataPoint, 0, len(in))
	for _, p := range in {
		out = append(out, &metricspb.NumberDataPoint{
			Attributes: pairs(p.Attributes), StartTimeUnixNano: nanos(p.StartTime), TimeUnixNano: nanos(p.Time),
			Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: p.Value},
		})
	}
	return out
}

// pairs converts attributes. Labels are text, and so are the attributes of the resource.
func pairs(in attribute.Set) []*commonpb.KeyValue {
	out := make([]*commonpb.KeyValue, 0, in.Len())
	for i := in.Iter(); i.Next(); {
		kv := i.Attribute()
		out = append(out, &commonpb.KeyValue{
			Key: string(kv.Key), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: kv.Value.Emit()}},
		})
	}
	return out
}

func nanos(t time.Time) uint64 { return uint64(max(0, t.UnixNano())) }
