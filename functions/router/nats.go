package function

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// natsInput takes alerts from NATS, core or JetStream.
type natsInput struct {
	natsConfig
	log     *slog.Logger
	take    intake
	discard func(ctx context.Context, raw []byte, why error) error
	results *prometheus.CounterVec
	// trouble is why nothing is taken; what it points to is nil while all is well.
	trouble atomic.Pointer[error]
	// conn and sub are the connection and, on core NATS, the subscription now.
	conn atomic.Pointer[nats.Conn]
	sub  atomic.Pointer[nats.Subscription]

	// The times and limits of production, which would make tests slow.
	reconnect func(attempt int) time.Duration
	again     func(attempt int) time.Duration
	ackWait   time.Duration
	waiting   int
}

// The results of a message, as they stand in the metric.
const (
	resultDelivered = "delivered" // Its alert is delivered, queued or dead-lettered by Trigger.
	resultAgain     = "again"     // It comes again.
	resultDiscarded = "discarded" // It is dead-lettered as it came.
	resultLost      = "lost"      // Core NATS does not give it again.
)

func newNATSInput(c natsConfig, host serve.Host, take intake, discard func(ctx context.Context, raw []byte, why error) error) (*natsInput, error) {
	n := &natsInput{
		natsConfig: c, log: host.Log, take: take, discard: discard,
		reconnect: growing(100*time.Millisecond, 10*time.Second), again: growing(time.Second, time.Minute),
		ackWait: 30 * time.Second, waiting: 8192,
	}
	n.fail(errors.New("not connected yet"))
	if !c.URL.IsSet() {
		return n, nil
	}
	n.results = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "riposte_router_nats_messages_total", Help: "Messages from NATS, by what became of them.",
	}, []string{"result"})
	for _, result := range []string{resultDelivered, resultAgain, resultDiscarded, resultLost} {
		n.results.WithLabelValues(result) // Zero is a number too.
	}
	dropped := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "riposte_router_nats_dropped_total", Help: "Messages of core NATS that were dropped because too many waited.",
	}, n.dropped)
	if err := errors.Join(host.Metrics.Register(n.results), host.Metrics.Register(dropped)); err != nil {
		return nil, fmt.Errorf("register the metrics of NATS: %w", err)
	}
	return n, nil
}

func (n *natsInput) fail(err error) { n.trouble.Store(&err) }

func (n *natsInput) count(result string) { n.results.WithLabelValues(result).Inc() }

// ready is nil while messages are taken, or NATS is not configured.
func (n *natsInput) ready() error {
	if !n.URL.IsSet() {
		return nil
	}
	if conn := n.conn.Load(); conn != nil && !conn.IsConnected() {
		if err := conn.LastError(); err != nil {
			return fmt.Errorf("NATS: not connected: %w", err)
		}
		return errors.New("NATS: not connected")
	}
	if err := *n.trouble.Load(); err != nil {
		return fmt.Errorf("NATS: %w", err)
	}
	return nil
}

// offer hands in the events of a message, whose headers may be those of the CloudEvents binding.
// https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md
func (n *natsInput) offer(ctx context.Context, header nats.Header, data []byte) error {
	if len(data) > serve.MaxBody {
		return response.InvalidError(fmt.Errorf("message has %d bytes: want %d or fewer", len(data), serve.MaxBody))
	}
	h := http.Header{}
	for name, values := range header {
		for _, value := range values {
			h.Add(name, value)
		}
	}
	events, err := serve.Decode(ctx, serve.Request{Header: h, Body: data})
	if err != nil {
		return response.InvalidError(err)
	}
	_, err = n.take(ctx, events)
	return err
}

// growing doubles a pause with each attempt, up to a longest, and takes half of it or more at random, so that many
// who failed together do not come back together.
func growing(first, longest time.Duration) func(attempt int) time.Duration {
	return func(attempt int) time.Duration {
		pause := first
		for i := 1; i < attempt && pause < longest; i++ {
			pause *= 2
		}
		pause = min(pause, longest)
		return pause/2 + rand.N(pause/2+1) //nolint:gosec // Nobody gains by guessing it.
	}
}
