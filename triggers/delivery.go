package triggers

import (
	"fmt"

	"github.com/rickb777/date/period"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
)

const durationCure = "write an ISO 8601 duration: PT0.5S, PT2S, PT1M"

// checkDelivery finds settings on which Knative's webhook stops every later change
// of the Broker's Triggers, or that retry without a pause.
func checkDelivery(r *reporter, path string, d *eventingduckv1.DeliverySpec) {
	if d == nil {
		return
	}
	retries := d.Retry != nil && *d.Retry > 0
	if d.Retry != nil && *d.Retry < 0 {
		r.add(path+".retry", fmt.Sprintf("%d is less than 0", *d.Retry), "write how often to try again, 0 or more")
	}
	if p := d.BackoffPolicy; p != nil && *p != eventingduckv1.BackoffPolicyExponential && *p != eventingduckv1.BackoffPolicyLinear {
		r.add(path+".backoffPolicy", fmt.Sprintf("%q is no back-off policy", *p), "write exponential or linear")
	}
	if retries && (d.BackoffPolicy == nil || d.BackoffDelay == nil) {
		r.add(path+".retry", "without backoffPolicy and backoffDelay the retries follow one another at once",
			"add backoffPolicy: exponential and backoffDelay: PT0.5S")
	}
	duration(r, path+".backoffDelay", d.BackoffDelay, !retries)
	duration(r, path+".timeout", d.Timeout, false)
	duration(r, path+".retryAfterMax", d.RetryAfterMax, true)
}

func duration(r *reporter, path string, text *string, zero bool) {
	if text == nil {
		return
	}
	p, err := period.Parse(*text)
	switch {
	case err != nil:
		r.add(path, fmt.Sprintf("%q is no duration", *text), durationCure)
	case p.IsNegative() || (p.IsZero() && !zero):
		// Knative keeps tenths of a second: PT0.05S is nothing, and retries follow one another at once.
		r.add(path, fmt.Sprintf("%q is not more than nothing, as Knative reads it, to tenths of a second", *text), durationCure)
	}
}
