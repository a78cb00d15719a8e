package function

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
)

// conclude writes the one log line of an event, and ends its span.
func (e *engine) conclude(ctx context.Context, in *taken, out *report, begin time.Time) error {
	defer in.span.End()
	out.hops = append(out.hops, hop{name: "match", took: in.match})
	fate, failed := "delivered", []error(nil)
	if len(in.tasks) == 0 {
		fate = "unmatched"
	}
	functions := make([]string, len(in.tasks))
	for i, t := range in.tasks {
		functions[i] = in.routes[i].function
		select {
		case <-t.safe:
		default: // take says so.
			fate = "failed"
			continue
		}
		switch {
		case t.queued:
			out.queued, out.hops = true, append(out.hops, hop{name: functions[i], desc: "queued"})
			if fate == "delivered" {
				fate = "queued"
			}
		case t.result.err != nil:
			fate, failed = "failed", append(failed, fmt.Errorf("%s: %w", functions[i], t.result.err))
		}
		out.hops = append(out.hops, t.result.hops...)
	}
	e.metrics.events.WithLabelValues(fate).Inc()
	attrs := []slog.Attr{
		slog.String("event_id", in.event.ID()), slog.String("type", in.event.Type()), slog.Any("functions", functions),
		slog.String("result", fate), slog.Duration("duration", time.Since(begin)),
	}
	if rule, ok := in.event.Extensions()["rule"].(string); ok {
		attrs = append(attrs, slog.String("rule", rule))
		in.span.SetAttributes(attribute.String("riposte.rule", rule))
	}
	in.span.SetAttributes(attribute.String("cloudevents.event_id", in.event.ID()), attribute.String("riposte.result", fate))
	if fate == "failed" {
		in.span.SetStatus(codes.Error, fate)
	}
	e.log.LogAttrs(ctx, slog.LevelInfo, "event", attrs...)
	return errors.Join(failed...)
}
