// Package function is router: it takes raw alerts where there is no Broker to do it, and makes of them what a Broker
// would. It authenticates the sender, gives each alert one identity and the attributes that are routed by, matches it
// with the Trigger manifests, calls the functions, feeds their outcomes back in, tries again, and keeps what cannot be
// delivered.
//
// It answers 2xx, and acknowledges a message, only when the event is delivered, queued durably or dead-lettered.
// docs/router.md tells the whole way.
package function

import (
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// Config are the settings of router.
type Config struct {
	access
	output
	natsConfig
	pubSubConfig
	snsConfig
}

// Validate checks what the settings mean together.
func (c Config) Validate() error {
	return errors.Join(c.access.Validate(), c.output.Validate(), c.natsConfig.Validate(), c.pubSubConfig.Validate(), c.snsConfig.Validate(), c.graves())
}

// graves refuses a router that takes from NATS and has nowhere to put what is no alert: such a message would come again
// for ever, and with enough of them nothing else would.
func (c Config) graves() error {
	if c.URL.IsSet() && c.DeadLetterURL == "" {
		return errors.New("DEAD_LETTER_URL is not set: want it with NATS_URL, since nobody is left to tell that a message is no alert")
	}
	return nil
}

// intake is where every input hands its events to. A nil error says that each is delivered, queued durably or
// dead-lettered, or that no Trigger wants it; an error has a kind.
type intake func(ctx context.Context, events []serve.Event) (report, error)

// router is the service.
type router struct {
	access access
	engine *engine
	nats   *natsInput
	pubSub *pubSubInput
	sns    *snsInput
}

func newRouter(c Config, host serve.Host) (serve.Service, error) {
	if c.Auth == authMTLS && !host.Mutual {
		return nil, errors.New("AUTH is mtls although TLS_CLIENT_CA_FILE is not set: want the authorities of the senders there, or nobody could send")
	}
	r := &router{access: c.access}
	var err error
	if r.engine, err = newEngine(c.output, host); err != nil {
		return nil, err
	}
	if r.nats, err = newNATSInput(c.natsConfig, host, r.engine.take, r.engine.discard); err != nil {
		return nil, err
	}
	r.pubSub, r.sns = newPubSubInput(c.pubSubConfig), newSNSInput(c.snsConfig, host.Log)
	if c.Auth == authOff {
		host.Log.Warn("AUTH is off: whoever reaches the router can make functions act")
	}
	return r, nil
}

// Exchange takes one request: an event of a sender that is authenticated, or one of the services that prove
// themselves in ways of their own.
func (r *router) Exchange(ctx context.Context, q serve.Request) (serve.Reply, error) {
	switch {
	case isCallback(q):
		return r.engine.callback(ctx, q)
	case isSNS(q):
		return r.enter(ctx, q, r.sns.open)
	case r.pubSub.takes(q):
		return r.enter(ctx, q, r.pubSub.open)
	}
	if err := r.access.check(q, time.Now()); err != nil {
		return serve.Reply{}, err
	}
	return r.enter(ctx, q, serve.Decode)
}

// enter reads the events of a request and hands them in.
func (r *router) enter(ctx context.Context, q serve.Request, open func(context.Context, serve.Request) ([]serve.Event, error)) (serve.Reply, error) {
	events, err := open(ctx, q)
	switch {
	case errors.Is(err, auth.ErrUnauthenticated):
		return serve.Reply{}, err
	case err != nil && response.KindOf(err) == response.Unknown:
		return serve.Reply{}, response.InvalidError(err)
	case err != nil:
		return serve.Reply{}, err
	case len(events) == 0: // A message of the service itself.
		return serve.Reply{Status: http.StatusNoContent}, nil
	}
	done, err := r.engine.take(ctx, events)
	if err != nil {
		return serve.Reply{}, err
	}
	return done.reply(), nil
}

// Run consumes NATS and takes up what the journal holds. It returns when the deliveries that have begun are finished.
func (r *router) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.nats.run(ctx) })
	group.Go(func() error { return r.engine.run(ctx) })
	return group.Wait()
}

// Ready is nil if events can be taken.
func (r *router) Ready() error { return errors.Join(r.engine.ready(), r.nats.ready()) }

// Patience is how long an answer may take.
func (r *router) Patience() time.Duration { return r.engine.patience() }
