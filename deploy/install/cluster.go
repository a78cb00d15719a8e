package install

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// manager is the field manager of what make deploy applies.
const manager = "riposte"

// What became, or would become, of an object.
const (
	Created   = "created"
	Changed   = "changed"
	Unchanged = "unchanged"
	Deleted   = "deleted"
	Absent    = "absent"
	Kept      = "kept"
)

// Cluster is the Kubernetes cluster that is deployed to.
type Cluster struct {
	// Host is its API server's address, for people to recognise it.
	Host    string
	mapper  meta.ResettableRESTMapper
	dynamic dynamic.Interface
}

// Connect reads the kubeconfig as kubectl does: KUBECONFIG, or ~/.kube/config. It does not touch the network.
func Connect() (*Cluster, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	return newCluster(config)
}

func newCluster(config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.UserAgent, config.QPS, config.Burst, config.Timeout = "riposte-deploy", 50, 100, 30*time.Second
	discover, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	d, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return &Cluster{Host: config.Host, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discover)), dynamic: d}, nil
}

// resource is where the object is, or is to be.
func (c *Cluster) resource(o unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return c.dynamic.Resource(mapping.Resource), nil
}

// serves is whether the API server knows a kind; an error says that it could not be asked.
func (c *Cluster) serves(kind schema.GroupVersionKind) (bool, error) {
	_, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	return err == nil, err
}

// get is the object as it is; nil where it is not there.
func (c *Cluster) get(ctx context.Context, o unstructured.Unstructured) (*unstructured.Unstructured, error) {
	at, err := c.resource(o)
	if err != nil {
		return nil, err
	}
	found, err := at.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return found, err
}

// Apply makes the object what it is to be, by a server-side apply, and says what became of it. A field that somebody else
// has set otherwise since is an error: who that was and which field. With plan nothing is stored.
func (c *Cluster) Apply(ctx context.Context, o unstructured.Unstructured, plan bool) (string, error) {
	old, err := c.get(ctx, o)
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", Name(o), err)
	}
	at, err := c.resource(o)
	if err != nil {
		return "", err
	}
	options := metav1.ApplyOptions{FieldManager: manager}
	if plan {
		if old == nil { // Perhaps its namespace is not there either.
			return Created, nil
		}
		options.DryRun = []string{metav1.DryRunAll}
		if o, err = withImages(o, *old); err != nil {
			return "", err
		}
	}
	now, err := at.Apply(ctx, o.GetName(), &o, options)
	switch {
	case apierrors.IsConflict(err):
		return "", fmt.Errorf("apply %s: %w (set the field as they do, in an overlay of your own, or delete the object: it is made anew)", Name(o), err)
	case err != nil:
		return "", fmt.Errorf("apply %s: %w", Name(o), err)
	case old == nil:
		return Created, nil
	case same(old, now):
		return Unchanged, nil
	}
	return Changed, nil
}

// same is whether an apply has changed nothing. The version does not tell: a claim of a volume gets another one although
// it says the same, and in a dry run it stays as it is.
func same(old, now *unstructured.Unstructured) bool {
	return reflect.DeepEqual(Content(old), Content(now))
}

// Content is what the object says, without what the API server and controllers write of it.
func Content(o *unstructured.Unstructured) map[string]any {
	c := o.DeepCopy()
	c.SetManagedFields(nil)
	c.SetResourceVersion("")
	c.SetGeneration(0)
	delete(c.Object, "status")
	return c.Object
}

// Delete removes the object, and what depends on it in the background.
func (c *Cluster) Delete(ctx context.Context, o unstructured.Unstructured, plan bool) (string, error) {
	old, err := c.get(ctx, o)
	switch {
	case meta.IsNoMatchError(err): // Not even its kind is there.
		return Absent, nil
	case err != nil:
		return "", fmt.Errorf("look for %s: %w", Name(o), err)
	case old == nil:
		return Absent, nil
	case plan:
		return Deleted, nil
	}
	at, err := c.resource(o)
	if err != nil {
		return "", err
	}
	policy, uid := metav1.DeletePropagationBackground, old.GetUID()
	err = at.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &policy, Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fmt.Errorf("delete %s: %w", Name(o), err)
	}
	return Deleted, nil
}

// Name is the object as people name it: Service.serving.knative.dev riposte/delete-pod.
func Name(o unstructured.Unstructured) string {
	kind, name := o.GroupVersionKind(), o.GetName()
	text := kind.Kind
	if kind.Group != "" {
		text += "." + kind.Group
	}
	if o.GetNamespace() != "" {
		name = o.GetNamespace() + "/" + name
	}
	return text + " " + name
}

// notReady is why the object is not ready; nil where it is, or where its kind has no such condition.
func (c *Cluster) notReady(ctx context.Context, o unstructured.Unstructured) error {
	now, err := c.get(ctx, o)
	switch {
	case err != nil:
		return fmt.Errorf("look for %s: %w", Name(o), err)
	case now == nil:
		return fmt.Errorf("%s is gone", Name(o))
	}
	observed, _, _ := unstructured.NestedInt64(now.Object, "status", "observedGeneration")
	if observed < now.GetGeneration() {
		return fmt.Errorf("%s has not been looked at by its controller", Name(o))
	}
	wanted := "Ready"
	if o.GetKind() == "Deployment" {
		wanted = "Available"
	}
	conditions, _, _ := unstructured.NestedSlice(now.Object, "status", "conditions")
	for _, condition := range conditions {
		if is, ok := condition.(map[string]any); ok && is["type"] == wanted {
			if is["status"] == "True" {
				return nil
			}
			return fmt.Errorf("%s is not ready: %v: %v", Name(o), is["reason"], is["message"])
		}
	}
	return fmt.Errorf("%s does not say whether it is ready", Name(o))
}

// waits is whether the kind has a condition to wait for.
func waits(o unstructured.Unstructured) bool {
	switch o.GroupVersionKind().GroupKind().String() {
	case "Service.serving.knative.dev", "Deployment.apps", "Broker.eventing.knative.dev", "Trigger.eventing.knative.dev", "PingSource.sources.knative.dev":
		return true
	}
	return false
}

// Wait waits until all are ready, and says which are not when the time is over.
func (c *Cluster) Wait(ctx context.Context, objects []unstructured.Unstructured, patience time.Duration) error {
	// No deadline of the requests: the last of them would tell of it, and not of why the object is not ready.
	over := time.NewTimer(patience)
	defer over.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var problems []error
		for _, o := range objects {
			if !waits(o) {
				continue
			}
			if err := c.notReady(ctx, o); err != nil {
				problems = append(problems, err)
			}
		}
		if len(problems) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until all is ready: %w", ctx.Err())
		case <-over.C:
			return fmt.Errorf("not ready after %s:\n%w", patience, errors.Join(problems...))
		case <-tick.C:
		}
	}
}
