package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

const (
	fieldManager = "knative"
	// patience bounds what takes a second on an idle machine.
	patience = 2 * time.Minute
	interval = 50 * time.Millisecond
)

// eventingManifests are files and folders under the module's config, in the order in
// which they need each other. What is not here nothing of this process needs: RBAC (it is
// cluster-admin), other Deployments, sources.
var eventingManifests = []string{ //nolint:gochecknoglobals // A constant that Go cannot write as one.
	"core/100-namespace.yaml",
	"core/resources",
	"channels/in-memory-channel/resources",
	"core/configmaps",
	"channels/in-memory-channel/configmaps",
	"channels/in-memory-channel/200-imc-dispatcher-serviceaccount.yaml",
	"channels/in-memory-channel/deployments/dispatcher.yaml",
	"channels/in-memory-channel/deployments/dispatcher-service.yaml",
	"brokers/mt-channel-broker/roles/filter-serviceaccount.yaml",
	"brokers/mt-channel-broker/roles/ingress-serviceaccount.yaml",
	"brokers/mt-channel-broker/deployments/broker-filter.yaml",
	"brokers/mt-channel-broker/deployments/broker-ingress.yaml",
	"core/webhooks/secret.yaml",
	"core/webhooks/defaulting.yaml",
	"core/webhooks/resource-validation.yaml",
}

// servingManifest is the type of the functions' Services.
const servingManifest = "core/300-resources/service.yaml"

// cluster is the API server that Knative is installed on.
type cluster struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func connect(config *rest.Config) (*cluster, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return &cluster{client: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))}, nil
}

// install applies Knative's manifests. Its webhooks will be called at that port.
func (c *cluster) install(ctx context.Context, webhookPort int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not done after %s", patience))
	defer cancel()
	eventing, err := eventingFolder(ctx)
	if err != nil {
		return err
	}
	serving, err := moduleFolder(ctx, servingModule, servingVersion, servingSum)
	if err != nil {
		return err
	}
	paths := []string{filepath.Join(serving, "config", servingManifest)}
	for _, name := range eventingManifests {
		paths = append(paths, filepath.Join(eventing, "config", name))
	}
	objects := []*unstructured.Unstructured{webhookService()}
	for _, path := range paths {
		read, err := readManifests(path)
		if err != nil {
			return err
		}
		objects = append(objects, read...)
	}
	// The namespace and the types come first.
	for _, first := range []bool{true, false} {
		for _, o := range objects {
			if first != (o.GetKind() == "Namespace" || o.GetKind() == "CustomResourceDefinition") {
				continue
			}
			if err := errors.Join(redirect(o, webhookPort), c.apply(ctx, o)); err != nil {
				return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
			}
		}
		if err := c.awaitTypes(ctx, objects); err != nil {
			return err
		}
	}
	return nil
}

// webhookService leads to this machine. The API server asks no DNS for the name of a
// webhook's Service and dials its cluster IP; of this kind it dials the external name.
func webhookService() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": webhookServer, "namespace": systemNamespace},
		"spec":     map[string]any{"type": "ExternalName", "externalName": "localhost"},
	}}
}

// redirect gives a webhook the port of this process, which an external name has none of.
func redirect(o *unstructured.Unstructured, port int64) error {
	webhooks, found, err := unstructured.NestedSlice(o.Object, "webhooks")
	if err != nil || !found {
		return err
	}
	for _, w := range webhooks {
		fields, ok := w.(map[string]any)
		if !ok {
			return fmt.Errorf("webhooks holds %v: want objects", w)
		}
		if err := unstructured.SetNestedField(fields, port, "clientConfig", "service", "port"); err != nil {
			return err
		}
	}
	return unstructured.SetNestedSlice(o.Object, webhooks, "webhooks")
}

func (c *cluster) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.client.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return c.client.Resource(mapping.Resource), nil
}

func (c *cluster) apply(ctx context.Context, o *unstructured.Unstructured) error {
	resource, err := c.resource(o)
	if err != nil {
		return err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	force := true
	_, err = resource.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
	return err
}

// awaitTypes waits until the API server serves the types.
func (c *cluster) awaitTypes(ctx context.Context, objects []*unstructured.Unstructured) error {
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for _, o := range objects {
		if o.GetKind() != "CustomResourceDefinition" {
			continue
		}
		err := wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
			now, err := c.client.Resource(definitions).Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return false, err
			}
			conditions, _, err := unstructured.NestedSlice(now.Object, "status", "conditions")
			for _, condition := range conditions {
				if fields, ok := condition.(map[string]any); ok && fields["type"] == "Established" && fields["status"] == "True" {
					return true, err
				}
			}
			return false, err
		})
		if err != nil {
			return fmt.Errorf("wait until %s is established: %w", o.GetName(), err)
		}
	}
	c.mapper.Reset()
	return nil
}

// awaitWebhooks waits until the API server asks both webhooks: they put right what is
// missing and refuse what is wrong.
func (c *cluster) awaitWebhooks(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not after %s", patience))
	defer cancel()
	brokers := c.client.Resource(schema.GroupVersionResource{Group: "eventing.knative.dev", Version: "v1", Resource: "brokers"}).Namespace(systemNamespace)
	probe := func(ctx context.Context, spec map[string]any) (*unstructured.Unstructured, error) {
		return brokers.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": map[string]any{"name": "probe"}, "spec": spec,
		}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	var last error
	err := wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		var defaulted *unstructured.Unstructured
		if defaulted, last = probe(ctx, map[string]any{}); last != nil {
			return false, nil //nolint:nilerr // It is asked again.
		}
		if defaulted.GetAnnotations()["eventing.knative.dev/broker.class"] == "" {
			last = errors.New("a broker gets no class")
			return false, nil
		}
		_, last = probe(ctx, map[string]any{"delivery": map[string]any{"backoffDelay": "2s"}})
		return apierrors.IsBadRequest(last), nil
	})
	if err != nil {
		return fmt.Errorf("wait for the webhooks: %w; last seen: %w", context.Cause(ctx), last)
	}
	return nil
}

// readManifests reads a file of YAML documents, or a folder of such files.
func readManifests(path string) ([]*unstructured.Unstructured, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read Knative's manifests: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
			return nil, fmt.Errorf("read Knative's manifests: %w", err)
		}
	}
	var objects []*unstructured.Unstructured
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read Knative's manifests: %w", err)
		}
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
		for {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			o := &unstructured.Unstructured{}
			if err == nil {
				err = yaml.Unmarshal(document, &o.Object)
			}
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", strings.TrimPrefix(file, path), err)
			}
			if len(o.Object) > 0 {
				objects = append(objects, o)
			}
		}
	}
	return objects, nil
}
