package serve

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/riposte-dev/riposte/shared/response"
)

// metrics are a function's numbers. No label holds the name of a pod: there is no end to those.
type metrics struct {
	registry  *prometheus.Registry
	responses *prometheus.CounterVec
	errors    *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	age       prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "riposte_responses_total", Help: "Alerts answered with an outcome.",
		}, []string{"response", "outcome", "reason"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "riposte_response_errors_total", Help: "Events answered with an error, by what can be done about it.",
		}, []string{"response", "kind"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "riposte_refusals_total", Help: "Alerts refused, by guardrail.",
		}, []string{"guardrail"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riposte_response_duration_seconds", Help: "From the event's arrival to the outcome.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"response"}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "riposte_alert_age_seconds", Help: "From the system call to the event's arrival.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 30, 60, 300, 600, 3600},
		}),
	}
	m.registry.MustRegister(m.responses, m.errors, m.refusals, m.duration, m.age,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) observe(o response.Observation) {
	m.duration.WithLabelValues(o.Function).Observe(o.Duration.Seconds())
	if o.AlertAge != 0 {
		m.age.Observe(o.AlertAge.Seconds())
	}
	if o.Err != nil {
		m.errors.WithLabelValues(o.Function, response.KindOf(o.Err).String()).Inc()
		return
	}
	m.responses.WithLabelValues(o.Function, string(o.Outcome), string(o.Reason)).Inc()
	if o.Outcome == response.Refused {
		m.refusals.WithLabelValues(o.Guardrail).Inc()
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
