package e2e_test

import (
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/triggers"
)

// accepted are the broken manifests that Knative's webhooks let pass. What they do is not
// what they say: they send events to every function, call a function with its own outcome, make
// the Broker's filter panic. Only our loader refuses them.
var accepted = []string{
	"call-each-other", "calls-itself", "cesql-missing-attribute", "cesql-not-boolean", "cesql-traps",
	"empty-exact-value", "empty-filter", "empty-list", "empty-map", "empty-prefix-value", "empty-suffix-value",
	"filter-and-filters", "legacy-any-value", "no-filter", "no-filters", "not-missing-attribute",
	"other-broker", "priority-in-small-letters", "retry-without-pause", "twice",
	"mistyped-dialect", // Where the client asks for no strict validation, as many tools do.
}

func TestBroken(t *testing.T) {
	k := start(t)
	k.env.Account(t, "delete-pod") // Makes the namespace.
	paths, err := filepath.Glob(filepath.Join(testkit.Root(t), "triggers", "testdata", "bad", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("find the broken manifests: %d found, %v", len(paths), err)
	}
	seen := 0
	t.Run("11 our loader refuses what Knative's webhooks accept", func(t *testing.T) {
		for _, path := range paths {
			name := filepath.Base(path[:len(path)-len(".yaml")])
			t.Run(name, func(t *testing.T) {
				content := file(t, "triggers", "testdata", "bad", filepath.Base(path))
				if _, err := triggers.Load(fstest.MapFS{"bad.yaml": {Data: []byte(content)}}); err == nil {
					t.Error("the loader takes it")
				}
				if !slices.Contains(accepted, name) {
					return
				}
				seen++
				for _, o := range parse(t, content) {
					if o.GetKind() != "Trigger" {
						continue
					}
					o.SetName("broken") // Another test may have made one of its name.
					_, err := k.client.Resource(resource(t, o)).Namespace(o.GetNamespace()).
						Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
					if err != nil {
						t.Errorf("Knative refuses it too: %v", err)
					}
				}
			})
		}
		if seen != len(accepted) {
			t.Errorf("%d of %d were there", seen, len(accepted))
		}
		t.Logf("of %d broken manifests Knative's webhooks accept %d", len(paths), len(accepted))
	})
	t.Run("12 Knative's webhooks do refuse", func(t *testing.T) {
		for _, name := range []string{"bad-delivery", "dotted-attribute", "two-dialects"} {
			o := parse(t, file(t, "triggers", "testdata", "bad", name+".yaml"))[0]
			_, err := k.client.Resource(resource(t, o)).Namespace(o.GetNamespace()).
				Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if !apierrors.IsBadRequest(err) {
				t.Errorf("%s: %v, want it refused", name, err)
			}
		}
	})
}
