package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// Change is a pod that came, changed or went.
type Change struct {
	At  time.Time
	Pod Pod
	// Added and Deleted are false for a change.
	Added   bool
	Deleted bool
}

// Watch keeps the pods and nodes of a cluster as they are now.
type Watch struct {
	mu      sync.Mutex
	pods    map[string]Pod // by UID
	nodes   map[string]Node
	changed chan struct{} // Closed at the next change.
	onPod   []func(Change)
}

// Watch starts to watch and returns when it has seen what is there. It ends with the
// context. The functions are called for every change of a pod after that.
func (c *Client) Watch(ctx context.Context, onPod ...func(Change)) (*Watch, error) {
	w := &Watch{pods: map[string]Pod{}, nodes: map[string]Node{}, changed: make(chan struct{})}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(c.dynamic, 0)
	pods := factory.ForResource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Informer()
	nodes := factory.ForResource(schema.GroupVersionResource{Version: "v1", Resource: "nodes"}).Informer()
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandlerFuncs{
		pods: {
			AddFunc:    func(object any) { w.pod(object, true, false) },
			UpdateFunc: func(_, object any) { w.pod(object, false, false) },
			DeleteFunc: func(object any) { w.pod(object, false, true) },
		},
		nodes: {
			AddFunc:    func(object any) { w.node(object, false) },
			UpdateFunc: func(_, object any) { w.node(object, false) },
			DeleteFunc: func(object any) { w.node(object, true) },
		},
	} {
		registration, err := informer.AddEventHandler(handler)
		if err != nil {
			return nil, fmt.Errorf("watch the cluster: %w", err)
		}
		go informer.RunWithContext(ctx)
		if !cache.WaitForCacheSync(ctx.Done(), registration.HasSynced) {
			return nil, fmt.Errorf("watch the cluster: %w", context.Cause(ctx))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onPod = onPod
	return w, nil
}

func (w *Watch) pod(object any, added, deleted bool) {
	u, ok := unwrap(object)
	if !ok {
		return
	}
	pod, err := newPod(u)
	if err != nil { // The API server sends pods.
		return
	}
	w.mu.Lock()
	if deleted {
		delete(w.pods, pod.UID)
	} else {
		w.pods[pod.UID] = pod
	}
	w.tell()
	onPod := w.onPod
	w.mu.Unlock()
	for _, f := range onPod {
		f(Change{At: time.Now(), Pod: pod, Added: added, Deleted: deleted})
	}
}

func (w *Watch) node(object any, deleted bool) {
	u, ok := unwrap(object)
	if !ok {
		return
	}
	node, err := newNode(u)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before, known := w.nodes[node.Name]
	if deleted {
		delete(w.nodes, node.Name)
	} else {
		w.nodes[node.Name] = node
		if known && before.Ready == node.Ready && slices.Equal(before.Taints, node.Taints) {
			return // A heartbeat.
		}
	}
	w.tell()
}

func unwrap(object any) (*unstructured.Unstructured, bool) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	u, ok := object.(*unstructured.Unstructured)
	return u, ok
}

// tell wakes whoever waits. The caller holds the lock.
func (w *Watch) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (w *Watch) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// Pods returns the pods, sorted by namespace and name.
func (w *Watch) Pods() []Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Pod, 0, len(w.pods))
	for _, pod := range w.pods {
		out = append(out, pod)
	}
	slices.SortFunc(out, func(a, b Pod) int {
		return cmp.Or(strings.Compare(a.Key(), b.Key()), a.Created.Compare(b.Created), strings.Compare(a.UID, b.UID))
	})
	return out
}

// Nodes returns the nodes, sorted by name.
func (w *Watch) Nodes() []Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]Node, 0, len(w.nodes))
	for _, node := range w.nodes {
		out = append(out, node)
	}
	slices.SortFunc(out, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Until waits until the pods are as the condition wants them.
func (w *Watch) Until(ctx context.Context, condition func([]Pod) bool) error {
	for {
		changed := w.Changed()
		if condition(w.Pods()) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
