package install

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// nameLabel is the label of objects that belong to one function. Those that belong to all have none.
const nameLabel = "app.kubernetes.io/name"

// Build is what kustomize makes of a folder, in the order in which the objects have to be made.
func Build(folder string) ([]unstructured.Unstructured, error) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("kustomize build %s: %w", filepath.ToSlash(folder), err)
	}
	objects := make([]unstructured.Unstructured, 0, built.Size())
	for _, r := range built.Resources() {
		content, err := r.AsYAML()
		if err != nil {
			return nil, err
		}
		var o unstructured.Unstructured
		if err := yaml.Unmarshal(content, &o.Object); err != nil {
			return nil, err
		}
		objects = append(objects, o)
	}
	slices.SortStableFunc(objects, func(a, b unstructured.Unstructured) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.GetKind(), b.GetKind()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return objects, nil
}

// rank puts first what others need: where they live, who they are, what they read, then what takes events before what
// sends them.
func rank(o unstructured.Unstructured) int {
	order := []string{
		"Namespace", "ServiceAccount", "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "NetworkPolicy", "ConfigMap", "Secret",
		"PersistentVolumeClaim", "Deployment", "Service", "PodDisruptionBudget", "Broker", "EventPolicy", "Trigger", "PingSource",
	}
	if i := slices.Index(order, o.GetKind()); i >= 0 {
		return i
	}
	return slices.Index(order, "Broker") // Such as what a Broker's class reads.
}

// deadLetter is the function that the triggers of all others need.
const deadLetter = "dead-letter"

// Of are the objects that functions need: their own, those of all, and dead-letter. Without names it is every object.
func Of(objects []unstructured.Unstructured, functions []string) []unstructured.Unstructured {
	if len(functions) == 0 {
		return objects
	}
	return slices.DeleteFunc(slices.Clone(objects), func(o unstructured.Unstructured) bool {
		owner := o.GetLabels()[nameLabel]
		return owner != "" && owner != deadLetter && !slices.Contains(functions, owner)
	})
}

// Own are the objects of these functions alone; without names, of every function and all that is shared.
func Own(objects []unstructured.Unstructured, functions []string) []unstructured.Unstructured {
	if len(functions) == 0 {
		return objects
	}
	return slices.DeleteFunc(slices.Clone(objects), func(o unstructured.Unstructured) bool {
		return !slices.Contains(functions, o.GetLabels()[nameLabel])
	})
}
