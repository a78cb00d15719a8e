package platforms

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	eventingv1alpha1 "knative.dev/eventing/pkg/apis/eventing/v1alpha1"
	"knative.dev/eventing/pkg/apis/feature"
	sourcesv1 "knative.dev/eventing/pkg/apis/sources/v1"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	kjson "sigs.k8s.io/json"
)

// knativeType is a type of Knative's, with its own defaults and validation.
type knativeType interface {
	apis.Defaultable
	apis.Validatable
}

// knativeTypes make the types that Knative's webhooks check.
func knativeTypes() map[string]func() knativeType {
	return map[string]func() knativeType{
		"serving.knative.dev/v1 Service":            func() knativeType { return &servingv1.Service{} },
		"eventing.knative.dev/v1 Broker":            func() knativeType { return &eventingv1.Broker{} },
		"eventing.knative.dev/v1 Trigger":           func() knativeType { return &eventingv1.Trigger{} },
		"eventing.knative.dev/v1alpha1 EventPolicy": func() knativeType { return &eventingv1alpha1.EventPolicy{} },
		"sources.knative.dev/v1 PingSource":         func() knativeType { return &sourcesv1.PingSource{} },
	}
}

// pulled is an object as ko applies it: with images that can be pulled.
func pulled(o *unstructured.Unstructured) *unstructured.Unstructured {
	o = o.DeepCopy()
	containers, _, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
	for _, c := range containers {
		if fields, ok := c.(map[string]any); ok {
			fields["image"] = "registry.example.com/riposte@sha256:" + strings.Repeat("0", 64)
		}
	}
	if len(containers) > 0 {
		_ = unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", "containers")
	}
	return o
}

// refusal is what Knative's webhooks would say of an object; nil if they would take it.
func refusal(ctx context.Context, t *testing.T, o *unstructured.Unstructured, as knativeType) error {
	t.Helper()
	content, err := json.Marshal(pulled(o))
	if err != nil {
		t.Fatal(err)
	}
	strict, err := kjson.UnmarshalStrict(content, as)
	if err != nil {
		return err
	}
	if len(strict) > 0 {
		return strict[0]
	}
	as.SetDefaults(ctx)
	if found := as.Validate(apis.WithinCreate(ctx)); found != nil {
		return found
	}
	return nil
}

// knativeContext has the features that docs/knative.md turns on, and no other.
func knativeContext(t *testing.T, overlay string) context.Context {
	t.Helper()
	flags := feature.Flags{feature.DeliveryTimeout: feature.Enabled}
	if overlay == "oidc" {
		flags[feature.OIDCAuthentication] = feature.Enabled
	}
	return feature.ToContext(t.Context(), flags)
}

// Knative's own code takes all that is Knative's, without any feature that has to be turned on, but OIDC for its overlay.
func TestKnativeTakesManifests(t *testing.T) {
	types := knativeTypes()
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			checked := map[string]int{}
			for _, o := range objects {
				kind := o.GetAPIVersion() + " " + o.GetKind()
				if types[kind] == nil {
					if strings.Contains(o.GetAPIVersion(), "knative.dev") && withoutDefinition()[kind] == "" {
						t.Errorf("there is no type for %s", kind)
					}
					continue
				}
				checked[kind]++
				if err := refusal(knativeContext(t, overlay), t, o, types[kind]()); err != nil {
					t.Errorf("%s: %v", called(o), err)
				}
			}
			for _, kind := range []string{"serving.knative.dev/v1 Service", "eventing.knative.dev/v1 Broker", "eventing.knative.dev/v1 Trigger"} {
				if checked[kind] == 0 {
					t.Errorf("there is no %s", kind)
				}
			}
		})
	}
}

// Were that code not asked, or asked in vain, all above would pass too.
func TestKnativeRefusesManifests(t *testing.T) {
	types := knativeTypes()
	objects := kustomized(t, "deploy/knative/overlays/oidc")
	for name, c := range map[string]struct {
		kind  string
		spoil func(o map[string]any)
	}{
		"a Service that is privileged": {"serving.knative.dev/v1 Service", func(o map[string]any) {
			containers, _, _ := unstructured.NestedSlice(o, "spec", "template", "spec", "containers")
			_ = unstructured.SetNestedField(containers[0].(map[string]any), true, "securityContext", "privileged")
			_ = unstructured.SetNestedSlice(o, containers, "spec", "template", "spec", "containers")
		}},
		"a scale that is no number": {"serving.knative.dev/v1 Service", func(o map[string]any) {
			_ = unstructured.SetNestedField(o, "many", "spec", "template", "metadata", "annotations", "autoscaling.knative.dev/max-scale")
		}},
		"a field that there is not": {"serving.knative.dev/v1 Service", func(o map[string]any) {
			_ = unstructured.SetNestedField(o, "x", "spec", "template", "spec", "serviceAcountName")
		}},
		"a Trigger without a subscriber":    {"eventing.knative.dev/v1 Trigger", func(o map[string]any) { unstructured.RemoveNestedField(o, "spec", "subscriber") }},
		"a Broker that waits 2s":            {"eventing.knative.dev/v1 Broker", func(o map[string]any) { _ = unstructured.SetNestedField(o, "2s", "spec", "delivery", "backoffDelay") }},
		"a PingSource that is never":        {"sources.knative.dev/v1 PingSource", func(o map[string]any) { _ = unstructured.SetNestedField(o, "never", "spec", "schedule") }},
		"an EventPolicy from nobody":        {"eventing.knative.dev/v1alpha1 EventPolicy", func(o map[string]any) { _ = unstructured.SetNestedSlice(o, []any{map[string]any{}}, "spec", "from") }},
		"an EventPolicy with no such field": {"eventing.knative.dev/v1alpha1 EventPolicy", func(o map[string]any) { _ = unstructured.SetNestedField(o, "x", "spec", "form") }},
	} {
		t.Run(name, func(t *testing.T) {
			version, kind, _ := strings.Cut(c.kind, " ")
			found := find(objects, version, kind)
			if len(found) == 0 {
				t.Fatal("there is none to spoil")
			}
			o := found[0].DeepCopy()
			c.spoil(o.Object)
			if err := refusal(knativeContext(t, "oidc"), t, o, types[c.kind]()); err == nil {
				t.Error("it is taken")
			}
		})
	}
	t.Run("an EventPolicy while OIDC is off", func(t *testing.T) {
		for _, o := range find(objects, "eventing.knative.dev/v1alpha1", "EventPolicy") {
			if err := refusal(knativeContext(t, "dry-run"), t, o, &eventingv1alpha1.EventPolicy{}); err == nil {
				t.Error("it is taken")
			}
		}
	})
}
