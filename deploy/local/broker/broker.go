package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	"knative.dev/eventing/pkg/apis/eventing"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	knbroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/broker/filter"
	"knative.dev/eventing/pkg/broker/ingress"
	"knative.dev/eventing/pkg/channel/fanout"
	"knative.dev/eventing/pkg/channel/multichannelfanout"
	"knative.dev/eventing/pkg/client/clientset/versioned/fake"
	"knative.dev/eventing/pkg/client/informers/externalversions"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/reconciler/broker/resources"
	"knative.dev/eventing/pkg/reconciler/sugar/trigger/path"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/network"

	"github.com/riposte-dev/riposte/triggers"
)

const (
	systemNamespace = "knative-eventing"
	// maxReplies is Knative's limit on replies to replies.
	maxReplies = 255
	// maxBody bounds an event; Falcosidekick's largest are far below.
	maxBody = 1 << 20
	// patience is how long Close waits for deliveries under way.
	patience = time.Second
)

// Options say what Broker to start.
type Options struct {
	// Triggers are the manifests.
	Triggers *triggers.Set
	// Network has the addresses of the functions. The Broker adds its own names.
	Network *Network
	// Hooks are told what happens.
	Hooks Hooks
	// Log receives Knative's own log lines, warnings and worse. Nil means nowhere.
	Log io.Writer
}

// Broker is a Broker that runs.
type Broker struct {
	address string
	set     *triggers.Set
	servers []*http.Server
	reached []*apis.URL
	cancel  context.CancelFunc
	// ending is how long Close may take.
	ending func() (context.Context, context.CancelFunc)
}

// URL is where events for a Broker of the manifests are posted.
func (b *Broker) URL(namespace, name string) string {
	return "http://" + b.address + "/" + namespace + "/" + name
}

// Close stops taking events, and waits a moment for what is being delivered. Retries that wait end with the process.
func (b *Broker) Close() error {
	ctx, done := b.ending()
	defer done()
	var errs []error
	// The ingress first: what it took before goes its way, and nothing comes after it.
	for _, server := range slices.Backward(b.servers) {
		if server.Shutdown(ctx) != nil {
			errs = append(errs, server.Close())
		}
	}
	b.cancel()
	// Knative's dispatcher keeps a client for each address for as long as the process lives. The next Broker has the same
	// addresses by name, and the client's connections would lead it here.
	for _, to := range b.reached {
		kncloudevents.DeleteAddressableHandler(duckv1.Addressable{URL: to})
	}
	return errors.Join(errs...)
}

// Start starts the Brokers of the manifests. It returns when they take events.
func Start(ctx context.Context, options Options) (_ *Broker, err error) {
	// Knative's packages ask the environment for the namespace they run in, and
	// panic without it.
	if err := os.Setenv("SYSTEM_NAMESPACE", systemNamespace); err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	forever := context.WithoutCancel(ctx)
	ctx, cancel := context.WithCancel(forever)
	b := &Broker{set: options.Triggers, cancel: cancel, ending: func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(forever, patience)
	}}
	defer func() { //nolint:contextcheck // It ends what outlives the context.
		if err != nil {
			_ = b.Close()
			err = fmt.Errorf("start the broker: %w", err)
		}
	}()
	outer, err := listen(ctx)
	if err != nil {
		return nil, err
	}
	inner, err := listen(ctx)
	if err != nil {
		_ = outer.Close()
		return nil, err
	}
	b.address = outer.Addr().String()
	p := newPlane(options, inner.Addr().String())
	p.network.Set(p.ingressHost, b.address)
	p.network.Set(p.filterHost, p.address)
	if err := p.build(ctx, options.Triggers); err != nil {
		return nil, errors.Join(err, inner.Close(), outer.Close())
	}
	b.reached = p.reached
	b.serve(inner, http.HandlerFunc(p.serveInner))
	b.serve(outer, p.observeIngress(b.address))
	return b, nil
}

func listen(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", "127.0.0.1:0")
}

func (b *Broker) serve(l net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	b.servers = append(b.servers, server)
	go func() { _ = server.Serve(l) }() // Ends with Close, always with an error.
}

// plane is the data plane: what in a cluster are the Services broker-ingress,
// broker-filter and those of the channels.
type plane struct {
	set     *triggers.Set
	network *Network
	watch   *watcher
	log     *zap.Logger

	address     string // of the listener for all but the ingress
	filterHost  string
	ingressHost string
	deadLetters map[string]bool // hosts of dead-letter sinks
	reached     []*apis.URL     // what the dispatcher sends to

	ingress  *ingress.Handler
	filter   *filter.Handler
	channels *multichannelfanout.EventHandler
}

func newPlane(options Options, address string) *plane {
	return &plane{
		set: options.Triggers, network: options.Network, log: logger(options.Log),
		watch:       newWatcher(options.Triggers, options.Hooks),
		address:     address,
		filterHost:  network.GetServiceHostname("broker-filter", systemNamespace),
		ingressHost: network.GetServiceHostname("broker-ingress", systemNamespace),
		deadLetters: map[string]bool{},
	}
}

// build writes what Knative's controllers would write into the status of Brokers and
// Triggers, and starts the handlers on it. The objects are served from memory by
// Knative's generated client; nothing of an API server is asked of it.
func (p *plane) build(ctx context.Context, set *triggers.Set) error {
	client := fake.NewSimpleClientset()
	meters, traces := metricnoop.NewMeterProvider(), tracenoop.NewTracerProvider()
	subscriptions := map[types.NamespacedName][]fanout.Subscription{}
	brokers := map[types.NamespacedName]*eventingv1.Broker{}
	for _, declared := range set.Brokers() {
		broker := declared.DeepCopy()
		brokers[types.NamespacedName{Namespace: broker.Namespace, Name: broker.Name}] = broker
	}
	for _, t := range set.Triggers() {
		key := types.NamespacedName{Namespace: t.Namespace, Name: t.Broker}
		trigger, subscription, err := p.subscribe(t, brokers[key])
		if err != nil {
			return fmt.Errorf("trigger %s/%s: %w", t.Namespace, t.Name, err)
		}
		subscriptions[key] = append(subscriptions[key], *subscription)
		if _, err := client.EventingV1().Triggers(t.Namespace).Create(ctx, trigger, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("trigger %s/%s: %w", t.Namespace, t.Name, err)
		}
	}
	dispatcher := kncloudevents.NewDispatcher(eventingtls.ClientConfig{}, nil,
		kncloudevents.WithMeterProvider(meters), kncloudevents.WithTraceProvider(traces))
	p.channels = multichannelfanout.NewEventHandler(ctx, p.log)
	for key, broker := range brokers {
		host := network.GetServiceHostname(resources.BrokerChannelName(broker.Name, "trigger")+"-kn-channel", key.Namespace)
		p.network.Set(host, p.address)
		broker.Status.Address = &duckv1.Addressable{URL: p.ingressURL(key)}
		p.reached = append(p.reached, p.ingressURL(key), apis.HTTP(host))
		broker.Status.Annotations = map[string]string{eventing.BrokerChannelAddressStatusAnnotationKey: "http://" + host}
		config := fanout.Config{
			Subscriptions: subscriptions[key],
			AsyncHandler:  broker.Annotations[messagingv1.AsyncHandlerAnnotation] == "true",
		}
		channel, err := fanout.NewFanoutEventHandler(p.log, config, nil, nil, nil, dispatcher, meters, traces)
		if err != nil {
			return fmt.Errorf("channel of broker %s: %w", key, err)
		}
		p.channels.SetChannelHandler(host, channel)
		if _, err := client.EventingV1().Brokers(key.Namespace).Create(ctx, broker, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("broker %s: %w", key, err)
		}
	}
	return p.start(ctx, externalversions.NewSharedInformerFactory(client, 0), meters, traces)
}

func (p *plane) start(ctx context.Context, factory externalversions.SharedInformerFactory, meters metricnoop.MeterProvider, traces tracenoop.TracerProvider) error {
	flags := feature.Flags{feature.DeliveryTimeout: feature.Enabled}
	withFlags := func(ctx context.Context) context.Context { return feature.ToContext(ctx, flags) }
	var err error
	p.ingress, err = ingress.NewHandler(p.log, knbroker.TTLDefaulter(p.log, maxReplies),
		factory.Eventing().V1().Brokers(), nil, nil, nil, withFlags, meters, traces)
	if err != nil {
		return fmt.Errorf("ingress: %w", err)
	}
	p.filter, err = filter.NewHandler(p.log, nil, nil, factory.Eventing().V1().Triggers(),
		factory.Eventing().V1().Brokers(), factory.Messaging().V1().Subscriptions(), nil, withFlags, meters, traces)
	if err != nil {
		return fmt.Errorf("filter: %w", err)
	}
	factory.Start(ctx.Done())
	for kind, synced := range factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("read %s: interrupted", kind)
		}
	}
	return nil
}

// subscribe returns the trigger as the filter wants it, and its place in the fan-out.
func (p *plane) subscribe(t *triggers.Trigger, broker *eventingv1.Broker) (*eventingv1.Trigger, *fanout.Subscription, error) {
	trigger := t.Manifest.DeepCopy()
	trigger.UID = types.UID(t.Namespace + "." + t.Name)
	trigger.Status.SubscriberURI = t.Subscriber
	delivery := trigger.Spec.Delivery
	if delivery == nil {
		delivery = broker.Spec.Delivery.DeepCopy()
	}
	// Of a Broker's delivery, a trigger with one of its own still has the dead-letter sink.
	if delivery != nil && delivery.DeadLetterSink == nil && broker.Spec.Delivery != nil {
		delivery.DeadLetterSink = broker.Spec.Delivery.DeadLetterSink.DeepCopy()
	}
	if delivery != nil && delivery.DeadLetterSink != nil {
		uri, err := triggers.SubscriberURI(delivery.DeadLetterSink, t.Namespace)
		if err != nil {
			return nil, nil, fmt.Errorf("dead-letter sink: %w", err)
		}
		delivery.DeadLetterSink = &duckv1.Destination{URI: uri}
		trigger.Status.DeadLetterSinkURI = uri
		p.deadLetters[uri.Host] = true
		p.reached = append(p.reached, uri)
		p.network.Set(uri.URL().Hostname(), p.address)
	}
	p.watch.retries(t, delivery)
	to := apis.HTTP(p.filterHost)
	to.Path = path.Generate(trigger)
	p.reached = append(p.reached, to, t.Subscriber)
	subscription, err := fanout.SubscriberSpecToFanoutConfig(eventingduckv1.SubscriberSpec{
		Name: &trigger.Name, UID: trigger.UID, Delivery: delivery,
		SubscriberURI: to, ReplyURI: p.ingressURL(types.NamespacedName{Namespace: t.Namespace, Name: t.Broker}),
	})
	if err != nil {
		return nil, nil, err
	}
	subscription.Namespace = t.Namespace
	return trigger, subscription, nil
}

func (p *plane) ingressURL(broker types.NamespacedName) *apis.URL {
	u := apis.HTTP(p.ingressHost)
	u.Path = "/" + broker.Namespace + "/" + broker.Name
	return u
}

// logger gives Knative's packages, which want zap, a place to write to.
func logger(w io.Writer) *zap.Logger {
	if w == nil {
		return zap.NewNop()
	}
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), zapcore.WarnLevel))
}
