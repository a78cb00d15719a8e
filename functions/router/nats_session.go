package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

// run takes messages until ctx ends, and returns when those that were begun are finished. Whatever goes wrong is tried
// again for ever; ready says what it is.
func (n *natsInput) run(ctx context.Context) error {
	if !n.URL.IsSet() {
		<-ctx.Done()
		return nil
	}
	if n.Stream == "" {
		n.log.WarnContext(ctx, "NATS_STREAM is not set: core NATS delivers at most once, and what no router takes in time is lost")
	}
	for attempt := 1; ; attempt++ {
		began, err := n.session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // It was told to end; what it could not acknowledge comes again.
		}
		if began {
			attempt = 1
		}
		n.fail(err)
		n.log.WarnContext(ctx, "NATS gives no messages; trying again", "error", err.Error())
		if !wait(ctx, n.reconnect(attempt)) {
			return nil
		}
	}
}

// session is one connection and what is taken through it. It says whether messages could be taken at all.
func (n *natsInput) session(ctx context.Context) (began bool, err error) {
	connected := make(chan struct{}, 1)
	conn, err := n.connect(ctx, connected)
	if err != nil {
		return false, err
	}
	n.conn.Store(conn)
	defer hangUp(conn)
	if !conn.IsConnected() {
		n.log.WarnContext(ctx, "NATS cannot be reached; trying on", "error", n.ready().Error())
	}
	select {
	case <-connected:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if n.Stream == "" {
		return n.listen(ctx, conn)
	}
	return n.consume(ctx, conn)
}

// connect begins to connect, which the library does beside us and for ever.
func (n *natsInput) connect(ctx context.Context, connected chan<- struct{}) (*nats.Conn, error) {
	servers, err := n.servers()
	if err != nil {
		return nil, fmt.Errorf("NATS_URL: %w", err)
	}
	options := []nats.Option{
		nats.Name("riposte-router"), nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true), nats.CustomReconnectDelay(n.reconnect),
		// Credentials are read again at each attempt, so that one that is refused today may be accepted tomorrow.
		nats.IgnoreAuthErrorAbort(),
		nats.ConnectHandler(func(*nats.Conn) { connected <- struct{}{} }),
		nats.ReconnectHandler(func(*nats.Conn) { n.log.InfoContext(ctx, "connected to NATS again") }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // Nil where we hung up.
				n.log.WarnContext(ctx, "connection to NATS lost", "error", err.Error())
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { n.asynchronous(ctx, err) }),
	}
	if n.Token.IsSet() {
		options = append(options, nats.TokenHandler(func() string {
			token, err := n.Token.Read()
			if err != nil {
				n.log.ErrorContext(ctx, "token for NATS cannot be read", "error", err.Error())
			}
			return token
		}))
	}
	if n.Credentials != "" {
		options = append(options, nats.UserCredentials(n.Credentials))
	}
	if n.CA != "" {
		options = append(options, nats.RootCAs(n.CA))
	}
	if n.Cert != "" {
		options = append(options, nats.ClientCert(n.Cert, n.Key))
	}
	conn, err := nats.Connect(servers, options...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// asynchronous takes the errors that belong to no call.
func (n *natsInput) asynchronous(ctx context.Context, err error) {
	sub := n.sub.Load()
	switch {
	case errors.Is(err, nats.ErrSlowConsumer):
		n.log.WarnContext(ctx, "messages of NATS dropped: more come than are worked on", "dropped", n.dropped())
	case errors.Is(err, nats.ErrPermissionViolation) && sub != nil:
		// Core NATS was allowed to us and is no more: nothing would come. What has come is worked on.
		n.log.ErrorContext(ctx, "NATS forbids the subscription", "error", err.Error())
		_ = sub.Drain() // It fails where it has ended.
	default:
		n.log.WarnContext(ctx, "error from NATS", "error", err.Error())
	}
}

// hangUp sends what is still to be sent: acknowledgements.
func hangUp(conn *nats.Conn) {
	if conn.IsConnected() {
		_ = conn.FlushTimeout(2 * time.Second) // What is not acknowledged comes again.
	}
	conn.Close()
}

// wait is false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
