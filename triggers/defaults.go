package triggers

import (
	"context"
	"fmt"

	"knative.dev/eventing/pkg/apis/config"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
	"knative.dev/pkg/network"

	corev1 "k8s.io/api/core/v1"
)

// releaseDefaults is what the ConfigMap config-br-defaults of Knative Eventing's
// release says: the webhook writes this delivery into every Broker without one.
const releaseDefaults = `
clusterDefault:
  brokerClass: MTChannelBasedBroker
  apiVersion: v1
  kind: ConfigMap
  name: config-br-default-channel
  namespace: knative-eventing
  delivery:
    retry: 10
    backoffPolicy: exponential
    backoffDelay: PT0.2S
`

// knativeDefaults returns a context that carries the feature flags and the Broker
// defaults of a Knative Eventing release as it is installed.
func knativeDefaults() (context.Context, error) {
	defaults, err := config.NewDefaultsConfigFromConfigMap(&corev1.ConfigMap{
		Data: map[string]string{config.BrokerDefaultsKey: releaseDefaults},
	})
	if err != nil {
		return nil, fmt.Errorf("read knative's broker defaults: %w", err)
	}
	flags := feature.Flags{feature.DeliveryTimeout: feature.Enabled}
	ctx := feature.ToContext(context.Background(), flags) //nolint:forbidigo // Carries settings; nothing waits on it.
	return config.ToContext(ctx, &config.Config{Defaults: defaults}), nil
}

// SubscriberURI resolves a destination as Knative does for a URI and for a
// reference to a Service, Kubernetes' or Knative's. Other references need an API
// server to resolve, so they are errors: the same manifests run without one.
func SubscriberURI(d *duckv1.Destination, namespace string) (*apis.URL, error) {
	if d.Ref == nil {
		if d.URI == nil {
			return nil, fmt.Errorf("neither ref nor uri is set")
		}
		return d.URI, nil
	}
	if d.Ref.Kind != "Service" {
		return nil, fmt.Errorf("a reference to %s %s has an address in a cluster only", d.Ref.APIVersion, d.Ref.Kind)
	}
	if d.Ref.Namespace != "" {
		namespace = d.Ref.Namespace
	}
	address := apis.HTTP(network.GetServiceHostname(d.Ref.Name, namespace))
	if d.URI != nil {
		return address.ResolveReference(d.URI), nil
	}
	return address, nil
}
