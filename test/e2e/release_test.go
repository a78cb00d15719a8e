package e2e_test

import (
	"encoding/json"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"sigs.k8s.io/yaml"
)

// What drives release passes the real API server, with Knative's own types, strictly: a field that it does not know is an
// error, not dropped.
func TestDriversOfRelease(t *testing.T) {
	k := start(t)
	for name, tc := range map[string]struct {
		file     string
		resource schema.GroupVersionResource
	}{
		"the ping source": {"pingsource.yaml", schema.GroupVersionResource{Group: "sources.knative.dev", Version: "v1", Resource: "pingsources"}},
		"the cron job":    {"cronjob.yaml", schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "cronjobs"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range parse(t, file(t, "deploy", "release", tc.file)) {
				namespace := k.env.Namespace(t)
				o.SetNamespace(namespace)
				_, err := k.client.Resource(tc.resource).Namespace(namespace).Create(t.Context(), o, metav1.CreateOptions{
					FieldValidation: metav1.FieldValidationStrict, DryRun: []string{metav1.DryRunAll},
				})
				if err != nil {
					t.Errorf("%s: %v", tc.file, err)
				}
			}
		})
	}
	t.Run("knative finds the ping source valid", func(t *testing.T) {
		var source sourcesv1.PingSource
		if err := yaml.UnmarshalStrict([]byte(file(t, "deploy", "release", "pingsource.yaml")), &source); err != nil {
			t.Fatal(err)
		}
		if err := source.Validate(t.Context()); err != nil {
			t.Error(err)
		}
		var data map[string]any
		if err := json.Unmarshal([]byte(source.Spec.Data), &data); err != nil || len(data) > 0 {
			t.Errorf("its data is %q: want an empty object", source.Spec.Data)
		}
	})
}
