package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// patience bounds every wait: a condition that takes a second on an idle machine
// gets this long on a busy one.
const patience = time.Minute

// one is the cluster that the tests share, each in a namespace of its own.
var one *Cluster

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) (status int) {
	ctx := context.Background()
	binary, err := buildHere(ctx)
	if err == nil {
		one, err = Start(ctx, Options{Binary: binary, ControlPlaneNode: true, Log: os.Stderr})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := one.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}()
	return m.Run()
}

func buildHere(ctx context.Context) (string, error) {
	root, err := Root(".")
	if err != nil {
		return "", err
	}
	return Build(ctx, root, os.Stderr)
}

// eventually waits until check finds no fault.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		if cause := pause(ctx, pollInterval); cause != nil {
			t.Fatalf("wait for %s: %v; last seen: %v", what, cause, err)
		}
	}
}

// newNamespace makes a namespace for the test.
func newNamespace(t *testing.T) string {
	t.Helper()
	name, err := one.CreateNamespace(t.Context(), "cluster-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := one.DeleteNamespace(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	return name
}

// create creates a typed object, which names its kind.
func create(t *testing.T, resource schema.GroupVersionResource, namespace string, object runtime.Object) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	created := &unstructured.Unstructured{Object: content}
	if _, err := one.client.Resource(resource).Namespace(namespace).Create(t.Context(), created, metav1.CreateOptions{}); err != nil {
		t.Fatalf("create %s: %v", resource.Resource, err)
	}
}

// read fills into, a pointer to a typed object.
func read(ctx context.Context, resource schema.GroupVersionResource, namespace, name string, into any) error {
	object, err := one.client.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	return runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into)
}

// list returns the typed objects that the selector selects.
func list[T any](ctx context.Context, resource schema.GroupVersionResource, namespace, selector string) ([]T, error) {
	found, err := one.client.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	items := make([]T, len(found.Items))
	var faults []error
	for i, item := range found.Items {
		faults = append(faults, runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &items[i]))
	}
	return items, errors.Join(faults...)
}
