package policy

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Enforce keeps the rules of a cluster in force until the context ends: apply is called with the
// ruleset whenever that has changed, and first with the one of the beginning. An error of
// apply ends it: a node whose rules are not in force proves nothing.
func Enforce(ctx context.Context, config *rest.Config, apply func(ctx context.Context, ruleset string) error) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("enforce network policies: %w", err)
	}
	// Whoever finds it full has nothing to add: the rules are made of what is known when it is read.
	changed := make(chan struct{}, 1)
	o, err := observe(ctx, client, func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("enforce network policies: %w", err)
	}
	last := ""
	for {
		world, err := o.world()
		if err != nil {
			return fmt.Errorf("enforce network policies: %w", err)
		}
		ruleset := world.Ruleset()
		if ruleset != last {
			err = apply(ctx, ruleset)
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // It was told to end, and what it did then failed for that.
		}
		if err != nil {
			return fmt.Errorf("enforce network policies: %w", err)
		}
		last = ruleset
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// observer sees a cluster.
type observer struct{ pods, namespaces, policies cache.SharedInformer }

// observe begins to watch a cluster until the context ends, and waits until all that is there was seen. It calls changed
// for whatever it sees.
func observe(ctx context.Context, client dynamic.Interface, changed func()) (observer, error) {
	var o observer
	for at, resource := range map[*cache.SharedInformer]schema.GroupVersionResource{
		&o.pods:       corev1.SchemeGroupVersion.WithResource("pods"),
		&o.namespaces: corev1.SchemeGroupVersion.WithResource("namespaces"),
		&o.policies:   networkingv1.SchemeGroupVersion.WithResource("networkpolicies"),
	} {
		all := client.Resource(resource)
		*at = cache.NewSharedInformer(&cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				return all.List(ctx, options)
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				return all.Watch(ctx, options)
			},
		}, &unstructured.Unstructured{}, 0)
		_, err := (*at).AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
		})
		if err != nil {
			return o, fmt.Errorf("watch %s: %w", resource.Resource, err)
		}
		go (*at).RunWithContext(ctx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), o.pods.HasSynced, o.namespaces.HasSynced, o.policies.HasSynced) {
		return o, context.Cause(ctx)
	}
	return o, nil
}

func (o observer) world() (World, error) {
	w := World{Namespaces: map[string]map[string]string{}}
	namespaces, err := typed[corev1.Namespace](o.namespaces)
	if err != nil {
		return w, err
	}
	for _, n := range namespaces {
		w.Namespaces[n.Name] = n.Labels
	}
	if w.Pods, err = typed[corev1.Pod](o.pods); err != nil {
		return w, err
	}
	w.Policies, err = typed[networkingv1.NetworkPolicy](o.policies)
	return w, err
}

// typed are the objects that an informer has seen, as what they are.
func typed[T any](informer cache.SharedInformer) ([]T, error) {
	objects := informer.GetStore().List()
	list := make([]T, len(objects))
	for i, o := range objects {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("an informer of %T holds a %T", list[i], o)
		}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &list[i]); err != nil {
			return nil, fmt.Errorf("read %s: %w", u.GetName(), err)
		}
	}
	return list, nil
}
