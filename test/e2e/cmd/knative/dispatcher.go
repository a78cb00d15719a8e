package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"unsafe"

	"go.opentelemetry.io/otel"
	"k8s.io/client-go/tools/cache"
	"knative.dev/eventing/pkg/apis/feature"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"knative.dev/eventing/pkg/auth"
	"knative.dev/eventing/pkg/channel/multichannelfanout"
	eventingclient "knative.dev/eventing/pkg/client/injection/client"
	eventpolicyinformer "knative.dev/eventing/pkg/client/injection/informers/eventing/v1alpha1/eventpolicy"
	eventtypeinformer "knative.dev/eventing/pkg/client/injection/informers/eventing/v1beta3/eventtype"
	channelinformer "knative.dev/eventing/pkg/client/injection/informers/messaging/v1/inmemorychannel"
	channelreconciler "knative.dev/eventing/pkg/client/injection/reconciler/messaging/v1/inmemorychannel"
	"knative.dev/eventing/pkg/eventingtls"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/reconciler/inmemorychannel/dispatcher"
	configmapinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/configmap/filtered"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/kmeta"
	"knative.dev/pkg/logging"
)

// newDispatcher returns the dispatcher of the in-memory channels: its reconciler and what
// it serves.
//
// Its own constructor starts a server too, on port 8080 of every address of this machine,
// and there is no setting for that. So the reconciler, all of whose code is Knative's, is
// put together here of the same parts; its fields can be set in no other way than this.
func newDispatcher(ctx context.Context, watcher configmap.Watcher) (*controller.Impl, *multichannelfanout.EventHandler, error) {
	kncloudevents.ConfigureConnectionArgs(&kncloudevents.ConnectionArgs{MaxIdleConns: 1000, MaxIdleConnsPerHost: 1000})
	meters, traces := otel.GetMeterProvider(), otel.GetTracerProvider()
	bundles := configmapinformer.Get(ctx, eventingtls.TrustBundleLabelSelector).Lister().ConfigMaps(systemNamespace)
	clientConfig := eventingtls.ClientConfig{TrustBundleConfigMapLister: bundles}
	features := feature.NewStore(logging.FromContext(ctx).Named("features"))
	features.WatchConfigs(watcher)
	handler := multichannelfanout.NewEventHandler(ctx, logging.FromContext(ctx).Desugar())
	informer := channelinformer.Get(ctx)

	r := &dispatcher.Reconciler{}
	for name, value := range map[string]any{
		"multiChannelEventHandler": handler,
		"messagingClientSet":       eventingclient.Get(ctx).MessagingV1(),
		"eventingClient":           eventingclient.Get(ctx).EventingV1beta3(),
		"eventTypeLister":          eventtypeinformer.Get(ctx).Lister(),
		"inMemoryChannelLister":    informer.Lister(),
		"featureStore":             features,
		"eventDispatcher": kncloudevents.NewDispatcher(clientConfig, auth.NewOIDCTokenProvider(ctx),
			kncloudevents.WithMeterProvider(meters), kncloudevents.WithTraceProvider(traces)),
		"authVerifier":  auth.NewVerifier(ctx, eventpolicyinformer.Get(ctx).Lister(), bundles, watcher),
		"clientConfig":  clientConfig,
		"meterProvider": meters,
		"traceProvider": traces,
	} {
		if err := setField(r, name, value); err != nil {
			return nil, nil, fmt.Errorf("start the dispatcher: %w", err)
		}
	}
	impl := channelreconciler.NewImpl(ctx, r, func(*controller.Impl) controller.Options {
		return controller.Options{SkipStatusUpdates: true, FinalizerName: dispatcherServer, ConfigStore: features}
	})
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    impl.Enqueue,
		UpdateFunc: controller.PassNew(impl.Enqueue),
		DeleteFunc: func(deleted any) { forget(handler, deleted) },
	})
	if err != nil {
		return nil, nil, fmt.Errorf("start the dispatcher: %w", err)
	}
	return impl, handler, nil
}

// withSubscriptions says at GET /subscriptions/HOST how many subscriptions the dispatcher
// serves for a channel. Nothing else does: Knative calls a Trigger Ready as soon as its
// channel lists it, and an event that comes before the dispatcher has followed is accepted
// and reaches nobody.
func withSubscriptions(next http.Handler, channels *multichannelfanout.EventHandler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc("GET /subscriptions/{host}", func(w http.ResponseWriter, r *http.Request) {
		served := 0
		if channel := channels.GetChannelHandler(r.PathValue("host")); channel != nil {
			served = len(channel.GetSubscriptions(r.Context()))
		}
		_, _ = io.WriteString(w, strconv.Itoa(served)+"\n")
	})
	return mux
}

// forget takes a channel away that was deleted, so that another of its name is made anew.
func forget(handler *multichannelfanout.EventHandler, deleted any) {
	accessor, err := kmeta.DeletionHandlingAccessor(deleted)
	if err != nil {
		return
	}
	if c, ok := accessor.(*messagingv1.InMemoryChannel); ok && c.Status.Address != nil && c.Status.Address.URL != nil {
		handler.DeleteChannelHandler(c.Status.Address.URL.Host)
		handler.DeleteChannelHandler(c.Namespace + "/" + c.Name)
	}
}

// setField sets a field that is not exported.
func setField(object any, name string, value any) error {
	field := reflect.ValueOf(object).Elem().FieldByName(name)
	if !field.IsValid() || !reflect.TypeOf(value).AssignableTo(field.Type()) {
		return fmt.Errorf("%T has no field %s for a %T: this version of Knative is another", object, name, value)
	}
	reflect.NewAt(field.Type(), unsafe.Pointer(field.UnsafeAddr())).Elem().Set(reflect.ValueOf(value)) //nolint:gosec // The reason is with newDispatcher.
	return nil
}
