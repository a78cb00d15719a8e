package function

import (
	"context"
	"fmt"
	"net/http"
	"time"

	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/kncloudevents"

	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/serve"
)

const (
	// defaultTimeout is that of one attempt where the Trigger says none.
	defaultTimeout = time.Minute
	// maxBackoff bounds a pause, which grows without an end.
	maxBackoff = time.Hour
	// maxRetryAfter bounds what a function can ask for where the Trigger has no retryAfterMax.
	maxRetryAfter = 5 * time.Minute
)

// policy is the delivery of a Trigger as Knative understands it.
type policy struct{ retry kncloudevents.RetryConfig }

func newPolicy(spec *eventingduckv1.DeliverySpec) (policy, error) {
	if spec == nil {
		spec = &eventingduckv1.DeliverySpec{}
	}
	retry, err := kncloudevents.RetryConfigFromDeliverySpec(*spec)
	if err != nil {
		return policy{}, fmt.Errorf("delivery: %w", err)
	}
	if retry.RequestTimeout <= 0 {
		retry.RequestTimeout = defaultTimeout
	}
	return policy{retry}, nil
}

// steady is the policy of what no Trigger sets one for: exponential from 0.2 s, as Knative's own default.
func steady(retries int) policy {
	retry := kncloudevents.NoRetries()
	retry.RetryMax, retry.CheckRetry, retry.RequestTimeout = retries, kncloudevents.SelectiveRetry, 30*time.Second
	retry.Backoff = func(n int, _ *http.Response) time.Duration { return 200 * time.Millisecond << min(n, 20) }
	return policy{retry}
}

// again says whether what failed is tried once more, after that many attempts.
func (p policy) again(ctx context.Context, attempts int, a answer) bool {
	if attempts > p.retry.RetryMax {
		return false
	}
	var resp *http.Response
	if a.status > 0 {
		resp = &http.Response{StatusCode: a.status}
	}
	retried, err := p.retry.CheckRetry(ctx, resp, nil)
	return retried && err == nil
}

// pause is how long to wait after that many attempts, and how much of it the function asked for.
func (p policy) pause(attempts int, a answer) (pause, asked time.Duration) {
	pause = p.retry.Backoff(attempts-1, nil)
	if pause < 0 || pause > maxBackoff {
		pause = maxBackoff
	}
	if a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable {
		most := maxRetryAfter
		if p.retry.RetryAfterMaxDuration != nil {
			most = *p.retry.RetryAfterMaxDuration
		}
		asked = min(outbound.RetryAfter(a.header, time.Now()), most)
	}
	pause = max(pause, asked)
	if a.header.Get(serve.DeferredHeader) != "" { // This event is to wait, and no other.
		asked = 0
	}
	return pause, asked
}
