package function

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
)

// waitingBytes bounds the messages of core NATS that wait in memory.
const waitingBytes = 64 << 20

// listen takes messages of core NATS until ctx ends. They are given once: what cannot be delivered is dead-lettered as
// it came, and where that fails too it is lost, which is logged and counted.
func (n *natsInput) listen(ctx context.Context, conn *nats.Conn) (began bool, err error) {
	var working sync.WaitGroup
	defer working.Wait()
	slots, closed := make(chan struct{}, n.Concurrency), make(chan struct{})
	unbroken := context.WithoutCancel(ctx) // What is begun is finished.
	sub, err := conn.QueueSubscribe(n.Subject, n.Queue, func(m *nats.Msg) {
		slots <- struct{}{}
		working.Go(func() {
			defer func() { <-slots }()
			n.once(unbroken, m)
		})
	})
	if err != nil {
		return false, fmt.Errorf("subscribe to %s: %w", n.Subject, err)
	}
	sub.SetClosedHandler(func(string) { close(closed) })
	if err := sub.SetPendingLimits(n.waiting, waitingBytes); err != nil {
		return false, fmt.Errorf("subscribe to %s: %w", n.Subject, err)
	}
	// The subscription counts once the server has it.
	if err := conn.FlushTimeout(managing); err != nil {
		return false, fmt.Errorf("subscribe to %s: %w", n.Subject, err)
	}
	if err := conn.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return false, err
	}
	n.sub.Store(sub)
	defer n.sub.Store(nil)
	n.fail(nil)
	n.log.InfoContext(ctx, "taking alerts from core NATS", "subject", n.Subject, "queue", n.Queue)
	select {
	case <-closed:
		return true, errors.New("subscription ended")
	case <-ctx.Done():
	}
	if err := sub.Drain(); err != nil {
		return true, fmt.Errorf("end the subscription: %w", err)
	}
	<-closed // Those that waited have begun.
	return true, nil
}

// once tries one message of core NATS.
func (n *natsInput) once(ctx context.Context, m *nats.Msg) {
	why := n.offer(ctx, m.Header, m.Data)
	if why == nil {
		n.count(resultDelivered)
		return
	}
	if err := n.discard(ctx, m.Data, why); err != nil {
		n.count(resultLost)
		n.log.ErrorContext(ctx, "alert lost: NATS gives it once, and it could neither be delivered nor dead-lettered",
			"subject", m.Subject, "error", why.Error(), "dead_letter_error", err.Error())
		return
	}
	n.count(resultDiscarded)
	n.log.WarnContext(ctx, "message dead-lettered as it came", "subject", m.Subject, "error", why.Error())
}

// dropped counts what core NATS dropped in this connection because too many messages waited.
func (n *natsInput) dropped() float64 {
	sub := n.sub.Load()
	if sub == nil {
		return 0
	}
	count, err := sub.Dropped()
	if err != nil { // It is closed.
		return 0
	}
	return float64(count)
}
