package function

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the router's numbers. Functions are as many as the Triggers name; no label holds what an alert says.
type metrics struct {
	events, deliveries, callbacks *prometheus.CounterVec
	calls, waiting                *prometheus.GaugeVec
	entries, triggers             prometheus.Gauge
	generation, stale             prometheus.Gauge
	match                         prometheus.Histogram
	delivery                      *prometheus.HistogramVec
}

func newMetrics(to prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "riposte_router_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "riposte_router_" + name, Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "riposte_router_" + name, Help: help}, []string{"function"})
	}
	m := &metrics{
		events:     counter("events_total", "Events taken: delivered, queued, unmatched, failed, invalid, discarded, or busy.", "result"),
		deliveries: counter("deliveries_total", "Deliveries: delivered, deadlettered, failed, handed to a queue, or retried, which counts attempts.", "function", "result"),
		callbacks:  counter("callbacks_total", "Results of asynchronous calls: success, failure, late, or forged.", "result"),
		calls:      gauges("calls", "Calls in flight."),
		waiting:    gauges("waiting", "Deliveries that wait for a call or for their next attempt."),
		entries:    gauge("journal_entries", "Copies in the journal, when it was last looked through."),
		triggers:   gauge("triggers", "Triggers in use."),
		generation: gauge("triggers_generation", "Sets of Triggers that were in use, this one included."),
		stale:      gauge("triggers_stale", "1 while the folder of Triggers holds something wrong, so that an older set is in use."),
		match: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "riposte_router_match_seconds", Help: "Naming and matching one event.",
			Buckets: []float64{.00001, .000025, .00005, .0001, .00025, .0005, .001, .005, .01},
		}),
		delivery: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riposte_router_delivery_seconds", Help: "From an event's arrival to the end of a delivery, retries included.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		}, []string{"function"}),
	}
	to.MustRegister(m.events, m.deliveries, m.callbacks, m.calls, m.waiting, m.entries, m.triggers, m.generation, m.stale, m.match, m.delivery)
	return m
}

func (m *metrics) delivered(function, result string, took time.Duration) {
	m.deliveries.WithLabelValues(function, result).Inc()
	m.delivery.WithLabelValues(function).Observe(took.Seconds())
}
