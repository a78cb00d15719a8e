package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// streamAge is how long a stream that we create keeps messages: longer than a weekend.
	streamAge = 72 * time.Hour
	// maxAckPending bounds what is being worked on and what waits for its next attempt, which counts too: were it as
	// low as the concurrency, a few alerts that cannot be delivered would hold up all others.
	maxAckPending = 1000
	// managing is how long the calls that find or make stream and consumer may take.
	managing = 10 * time.Second
)

// consumer finds the stream and its consumer, or creates them.
func (n *natsInput) consumer(ctx context.Context, js jetstream.JetStream) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, managing)
	defer cancel()
	stream, err := js.Stream(ctx, n.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) && n.CreateStream {
		stream, err = js.CreateStream(ctx, jetstream.StreamConfig{
			Name: n.Stream, Description: "Falco alerts for Riposte's router.", Subjects: []string{n.Subject},
			Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, MaxAge: streamAge,
		})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // Another router was faster.
			stream, err = js.Stream(ctx, n.Stream)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", n.Stream, err)
	}
	consumer, err := stream.Consumer(ctx, n.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: n.Consumer, FilterSubject: n.Subject, AckPolicy: jetstream.AckExplicitPolicy, AckWait: n.ackWait,
			// The server would give up in silence; the router dead-letters.
			MaxDeliver: -1, MaxAckPending: maxAckPending,
		})
	}
	if err == nil {
		err = n.check(consumer.CachedInfo().Config)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s of stream %s: %w", n.Consumer, n.Stream, err)
	}
	return consumer, nil
}

// check refuses a consumer, made by somebody else, through which alerts would be lost.
func (n *natsInput) check(c jetstream.ConsumerConfig) error {
	switch {
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("its ack policy is %s: want explicit", c.AckPolicy)
	case c.MaxDeliver > 0:
		return fmt.Errorf("its max deliver is %d: want -1, since the server would drop what failed so often; NATS_MAX_DELIVER is the router's own limit", c.MaxDeliver)
	case c.AckWait < time.Second:
		return fmt.Errorf("its ack wait is %s: want 1s or more", c.AckWait)
	case len(c.FilterSubjects) > 0:
		return fmt.Errorf("its filter subjects are %q: want one, that of NATS_SUBJECT, %q", c.FilterSubjects, n.Subject)
	case c.FilterSubject != n.Subject && c.FilterSubject != "":
		return fmt.Errorf("its filter subject is %q: want that of NATS_SUBJECT, %q", c.FilterSubject, n.Subject)
	}
	return nil
}
