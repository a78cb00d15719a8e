package doctor

import (
	"fmt"

	"github.com/riposte-dev/riposte/shared/response"
)

// judge reads the hops from the copies that arrived. Either may be missing after the time that was waited.
func (r *running) judge(alert, outcome *arrival, waited string) {
	now := r.Now().Sub(r.report.Sent)
	if alert == nil {
		detail := "no copy of the alert came " + waited
		if outcome != nil {
			detail += ", although its outcome did"
		}
		r.report.fail(HopBroker, now, &Problem{Detail: detail}, r.Entry.lost(r.Namespace))
		return
	}
	r.brokerHad(alert)
	received, answered := r.Function+" received", r.Function+" answered"
	if outcome == nil {
		r.report.fail(received, now, &Problem{
			Detail: fmt.Sprintf("the Broker has the alert, but no outcome of %s came %s", r.Function, waited),
		}, fmt.Sprintf("the Trigger (kubectl -n %s describe trigger canary), the log of %s, "+
			"and the Service dead-letter, which has the alert if its delivery was given up", r.Namespace, r.Function))
		return
	}
	record := outcome.record
	r.report.pass(received, record.Timings.Received.Sub(r.report.Sent), "by its own clock")
	said := fmt.Sprintf("%s, %s; worked for %.1f ms", record.Outcome, record.Reason, record.Timings.ResponseMS)
	if record.Outcome != response.Skipped || record.Reason != response.Canary {
		r.report.fail(answered, record.Timings.Done.Sub(r.report.Sent), &Problem{Detail: said + ": want skipped, canary"},
			fmt.Sprintf("the version of %s: it does not know the canary, or something between has renamed the alert's rule", r.Function))
		return
	}
	r.report.pass(answered, record.Timings.Done.Sub(r.report.Sent), said)
	r.report.pass(HopOutcome, outcome.at.Sub(r.report.Sent), "through the Broker, as notifiers get it")
}

// brokerHad tells the time by the Broker's stamp, where there is one: that of Kafka, RabbitMQ and NATS sets none.
func (r *running) brokerHad(alert *arrival) {
	came := alert.at.Sub(r.report.Sent)
	if alert.stamp.IsZero() {
		r.report.pass(HopBroker, came, "a copy came to the doctor; this Broker does not stamp events")
		return
	}
	r.report.pass(HopBroker, alert.stamp.Sub(r.report.Sent), "by its stamp; a copy came to the doctor after "+milliseconds(came))
}
