package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	defaultconfig "knative.dev/eventing/pkg/apis/config"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	channelconfig "knative.dev/eventing/pkg/apis/messaging/config"
	messagingv1 "knative.dev/eventing/pkg/apis/messaging/v1"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	secretinformer "knative.dev/pkg/injection/clients/namespacedkube/informers/core/v1/secret"
	"knative.dev/pkg/logging"
	certresources "knative.dev/pkg/webhook/certificates/resources"
	"knative.dev/pkg/webhook/resourcesemantics"
	"knative.dev/pkg/webhook/resourcesemantics/defaulting"
	"knative.dev/pkg/webhook/resourcesemantics/validation"
)

// webhookSecret is where Knative keeps the certificate that it makes for its webhooks.
const webhookSecret = "eventing-webhook-certs"

// admitted are the types that pass the webhooks, of those that the eventing-webhook of a
// release knows: the ones that a Broker has to do with.
func admitted() map[schema.GroupVersionKind]resourcesemantics.GenericCRD {
	return map[schema.GroupVersionKind]resourcesemantics.GenericCRD{
		eventingv1.SchemeGroupVersion.WithKind("Broker"):        &eventingv1.Broker{},
		eventingv1.SchemeGroupVersion.WithKind("Trigger"):       &eventingv1.Trigger{},
		messagingv1.SchemeGroupVersion.WithKind("Channel"):      &messagingv1.Channel{},
		messagingv1.SchemeGroupVersion.WithKind("Subscription"): &messagingv1.Subscription{},
	}
}

// withSettings puts Knative's settings into the context of a request: the defaults of
// Brokers and channels, and the features that are on.
func withSettings(ctx context.Context, watcher configmap.Watcher) func(context.Context) context.Context {
	logger := logging.FromContext(ctx)
	defaults := defaultconfig.NewStore(logger.Named("defaults"))
	defaults.WatchConfigs(watcher)
	channels := channelconfig.NewStore(logger.Named("channel-defaults"))
	channels.WatchConfigs(watcher)
	features := feature.NewStore(logger.Named("features"))
	features.WatchConfigs(watcher)
	return func(ctx context.Context) context.Context {
		return features.ToContext(channels.ToContext(defaults.ToContext(ctx)))
	}
}

func newDefaulting(ctx context.Context, watcher configmap.Watcher) *controller.Impl {
	return defaulting.NewAdmissionController(ctx, "webhook.eventing.knative.dev", "/defaulting", admitted(), withSettings(ctx, watcher), true)
}

func newValidation(ctx context.Context, watcher configmap.Watcher) *controller.Impl {
	return validation.NewAdmissionController(ctx, "validation.webhook.eventing.knative.dev", "/resource-validation", admitted(), withSettings(ctx, watcher), true)
}

// serveWebhooks serves the webhooks with the certificate from Knative's Secret.
func serveWebhooks(ctx context.Context, l net.Listener, handler http.Handler) error {
	secrets := secretinformer.Get(ctx).Lister().Secrets(systemNamespace)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			secret, err := secrets.Get(webhookSecret)
			if err != nil {
				return nil, err
			}
			certificate, err := tls.X509KeyPair(secret.Data[certresources.ServerCert], secret.Data[certresources.ServerKey])
			return &certificate, err
		},
	}}
	if err := server.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the webhooks: %w", err)
	}
	return nil
}
