package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"go.opentelemetry.io/otel"
	"go.uber.org/zap"
	"k8s.io/client-go/rest"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/eventing/pkg/apis/sinks"
	"knative.dev/eventing/pkg/auth"
	"knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/broker/filter"
	"knative.dev/eventing/pkg/broker/ingress"
	brokerinformer "knative.dev/eventing/pkg/client/injection/informers/eventing/v1/broker"
	triggerinformer "knative.dev/eventing/pkg/client/injection/informers/eventing/v1/trigger"
	eventpolicyinformer "knative.dev/eventing/pkg/client/injection/informers/eventing/v1alpha1/eventpolicy"
	subscriptioninformer "knative.dev/eventing/pkg/client/injection/informers/messaging/v1/subscription"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	brokerreconciler "knative.dev/eventing/pkg/reconciler/broker"
	triggerreconciler "knative.dev/eventing/pkg/reconciler/broker/trigger"
	"knative.dev/eventing/pkg/reconciler/channel"
	channelcontroller "knative.dev/eventing/pkg/reconciler/inmemorychannel/controller"
	"knative.dev/eventing/pkg/reconciler/subscription"
	kubeclient "knative.dev/pkg/client/injection/kube/client"
	configmapinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/configmap/filtered"
	filteredfactory "knative.dev/pkg/client/injection/kube/informers/factory/filtered"
	"knative.dev/pkg/configmap"
	cminformer "knative.dev/pkg/configmap/informer"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/webhook"
	"knative.dev/pkg/webhook/certificates"
)

// maxReplies is what broker-ingress has by default.
const maxReplies = 255

// environment is what Knative's packages read from their pods' environment.
var environment = map[string]string{ //nolint:gochecknoglobals // A constant that Go cannot write as one.
	"SYSTEM_NAMESPACE":          systemNamespace,
	"CONFIG_LOGGING_NAME":       "config-logging",
	"CONFIG_OBSERVABILITY_NAME": "config-observability",
	"POD_NAME":                  "knative",
	"CONTAINER_NAME":            "knative",
	"DISPATCHER_IMAGE":          "none", // For channels that want a dispatcher of their own.
}

// serve runs controllers and servers until ctx ends or one of them fails. It is what
// Knative's mains do, without what they serve beside: health, metrics and profiles, on
// fixed ports.
func serve(ctx context.Context, config *rest.Config, s servers) error {
	for name, value := range environment {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("set %s for Knative: %w", name, err)
		}
	}
	zapConfig := zap.NewProductionConfig()
	zapConfig.Level = zap.NewAtomicLevelAt(zap.WarnLevel)
	logger, err := zapConfig.Build()
	if err != nil {
		return fmt.Errorf("make Knative's logger: %w", err)
	}
	ctx = logging.WithLogger(ctx, logger.Sugar())
	ctx = webhook.WithOptions(ctx, webhook.Options{
		ServiceName: webhookServer, Port: int(s.port(webhookServer)), SecretName: webhookSecret,
	})
	ctx = filteredfactory.WithSelectors(ctx, auth.OIDCLabelSelector, eventingtls.TrustBundleLabelSelector, sinks.JobSinkJobsLabelSelector)
	ctx = injection.WithConfig(ctx, config)
	ctx, informers := injection.Default.SetupInformers(ctx, config)
	watcher := cminformer.NewInformedWatcher(kubeclient.Get(ctx), systemNamespace)

	handlers, err := newDataPlane(ctx, watcher)
	if err != nil {
		return err
	}
	controllers, admissions := sharedmain.ControllersAndWebhooksFromCtors(ctx, watcher,
		channel.NewController, subscription.NewController, channelcontroller.NewController,
		brokerreconciler.NewController, triggerreconciler.NewController,
		certificates.NewController, newDefaulting, newValidation)
	dispatcher, channels, err := newDispatcher(ctx, watcher)
	if err != nil {
		return err
	}
	controllers, handlers[dispatcherServer] = append(controllers, dispatcher), channels
	handlers[ingressServer] = withSubscriptions(handlers[ingressServer], channels)

	if err := watcher.Start(ctx.Done()); err != nil {
		return fmt.Errorf("read Knative's settings: %w", err)
	}
	admission, err := webhook.New(ctx, admissions)
	if err != nil {
		return fmt.Errorf("start the webhooks: %w", err)
	}
	if err := controller.StartInformers(ctx.Done(), informers...); err != nil {
		return fmt.Errorf("read the cluster: %w", err)
	}
	admission.InformersHaveSynced()

	failed := make(chan error, len(s)+1)
	for name, handler := range handlers {
		go func() { failed <- serveOn(s[name], kncloudevents.CreateHandler(handler)) }()
	}
	go func() { failed <- serveWebhooks(ctx, s[webhookServer], admission) }()
	go func() { failed <- controller.StartAll(ctx, controllers...) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func serveOn(l net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	}
	return nil
}

// newDataPlane returns the Broker's ingress and filter, made as in their own mains.
func newDataPlane(ctx context.Context, watcher configmap.Watcher) (map[string]http.Handler, error) {
	logger := logging.FromContext(ctx).Desugar()
	features := feature.NewStore(logging.FromContext(ctx).Named("features"))
	features.WatchConfigs(watcher)
	bundles := configmapinformer.Get(ctx, eventingtls.TrustBundleLabelSelector).Lister().ConfigMaps(systemNamespace)
	meters, traces := otel.GetMeterProvider(), otel.GetTracerProvider()
	policies := eventpolicyinformer.Get(ctx).Lister()
	in, err := ingress.NewHandler(logger, broker.TTLDefaulter(logger, maxReplies), brokerinformer.Get(ctx),
		auth.NewVerifier(ctx, policies, bundles, watcher), auth.NewOIDCTokenProvider(ctx), bundles, features.ToContext, meters, traces)
	if err != nil {
		return nil, fmt.Errorf("start the broker's ingress: %w", err)
	}
	out, err := filter.NewHandler(logger, auth.NewVerifier(ctx, policies, bundles, watcher), auth.NewOIDCTokenProvider(ctx),
		triggerinformer.Get(ctx), brokerinformer.Get(ctx), subscriptioninformer.Get(ctx), bundles, features.ToContext, meters, traces)
	if err != nil {
		return nil, fmt.Errorf("start the broker's filter: %w", err)
	}
	return map[string]http.Handler{ingressServer: in, filterServer: out}, nil
}
