package cluster

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// CreateNamespace makes a namespace whose name begins with the prefix and that no
// other test has, waits until pods can be created in it, and returns its name.
func (c *Cluster) CreateNamespace(ctx context.Context, prefix string) (string, error) {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Namespace",
		"metadata":   map[string]any{"generateName": prefix + "-"},
	}}
	created, err := c.client.Resource(namespacesResource).Create(ctx, object, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("create a namespace %s-: %w", prefix, err)
	}
	name := created.GetName()
	if err := c.waitFor(ctx, "the service account of namespace "+name, c.defaultAccount(name)); err != nil {
		return "", err
	}
	return name, nil
}

// DeleteNamespace has the namespace and all that is in it removed, and does not wait
// for that.
func (c *Cluster) DeleteNamespace(ctx context.Context, name string) error {
	if err := c.client.Resource(namespacesResource).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return nil
}
