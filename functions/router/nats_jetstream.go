package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/riposte-dev/riposte/shared/response"
)

// A server that went away in the middle of a pull is noticed after two heartbeats.
const (
	pullExpiry    = 30 * time.Second
	pullHeartbeat = 2 * time.Second
)

// consume takes messages of a stream until ctx ends.
func (n *natsInput) consume(ctx context.Context, conn *nats.Conn) (began bool, err error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return false, fmt.Errorf("use JetStream: %w", err)
	}
	consumer, err := n.consumer(ctx, js)
	if err != nil {
		return false, err
	}
	n.fail(nil)
	n.log.InfoContext(ctx, "taking alerts from NATS JetStream", "stream", n.Stream, "consumer", n.Consumer)
	group, ctx := errgroup.WithContext(ctx)
	for range n.Concurrency {
		group.Go(func() error { return n.worker(ctx, consumer) })
	}
	return true, group.Wait()
}

// worker pulls a message when the last one is finished, so that none grows old in a queue of ours.
func (n *natsInput) worker(ctx context.Context, consumer jetstream.Consumer) error {
	messages, err := consumer.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return fmt.Errorf("pull from consumer %s: %w", n.Consumer, err)
	}
	defer giveBack(messages)
	alive := consumer.CachedInfo().Config.AckWait / 3
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case err == nil:
			n.try(context.WithoutCancel(ctx), msg, alive) // What is begun is finished.
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			err = gone(ctx, consumer)
		}
		if err != nil {
			return fmt.Errorf("pull from consumer %s: %w", n.Consumer, err)
		}
	}
}

// gone is an error if the consumer is no more: a server that has none does not answer pulls. Any other trouble passes,
// and pulling again is all there is to do.
func gone(ctx context.Context, consumer jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, managing)
	defer cancel()
	_, err := consumer.Info(ctx)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return nil
}

// giveBack ends the pulling. A message that was on its way goes back at once; it would else come again after the ack wait.
func giveBack(messages jetstream.MessagesContext) {
	messages.Drain()
	if msg, err := messages.Next(jetstream.NextMaxWait(time.Second)); err == nil {
		_ = msg.Nak() // Else it comes again after the ack wait.
	}
}

// try works on one message: acknowledged when its alert is delivered, given back where that failed, dead-lettered
// where it is no alert or has failed too often.
func (n *natsInput) try(ctx context.Context, msg jetstream.Msg, alive time.Duration) {
	stop := keepAlive(msg, alive)
	defer stop()
	meta, err := msg.Metadata()
	if err != nil {
		n.log.ErrorContext(ctx, "message is not of JetStream", "error", err.Error())
		return
	}
	tries := int(min(meta.NumDelivered, uint64(n.MaxDeliver)+1)) //nolint:gosec // Bounded in the line itself.
	why := fmt.Errorf("NATS has given it %d times: a router may have died of it", meta.NumDelivered)
	if tries <= n.MaxDeliver {
		why = n.offer(ctx, msg.Headers(), msg.Data())
	}
	switch {
	case why == nil:
		n.settle(ctx, resultDelivered, msg.Ack())
		return
	case tries < n.MaxDeliver && response.KindOf(why) != response.Invalid:
	default:
		err := n.discard(ctx, msg.Data(), why)
		if err == nil {
			n.log.WarnContext(ctx, "message dead-lettered as it came", "subject", msg.Subject(), "sequence", meta.Sequence.Stream, "error", why.Error())
			n.settle(ctx, resultDiscarded, msg.Term())
			return
		}
		why = errors.Join(why, err)
	}
	after := max(n.again(tries), response.RetryAfter(why))
	n.log.WarnContext(ctx, "message failed and comes again", "subject", msg.Subject(), "sequence", meta.Sequence.Stream,
		"tries", meta.NumDelivered, "after", after.String(), "error", why.Error())
	n.settle(ctx, resultAgain, msg.NakWithDelay(after))
}

// settle counts what became of a message. Where the server does not learn it the message comes again.
func (n *natsInput) settle(ctx context.Context, result string, err error) {
	n.count(result)
	if err != nil {
		n.log.WarnContext(ctx, "NATS does not know what became of a message, which comes again", "result", result, "error", err.Error())
	}
}

// keepAlive says that a message is being worked on, until it is stopped.
func keepAlive(msg jetstream.Msg, every time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_ = msg.InProgress() // Where it is not heard the message comes again.
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
