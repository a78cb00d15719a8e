package platforms

import (
	"slices"
	"strings"
	"testing"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	eventingv1alpha1 "knative.dev/eventing/pkg/apis/eventing/v1alpha1"
	"knative.dev/eventing/pkg/auth"
)

// knownAs is by which identity Knative sends what an object of its own has to send.
func knownAs(apiVersion, kind, name string) string {
	return "system:serviceaccount:riposte:" +
		auth.GetOIDCServiceAccountNameForResource(schema.FromAPIVersionAndKind(apiVersion, kind), metav1.ObjectMeta{Name: name})
}

// admitted are the policies of the Broker as Knative's ingress asks them: with identities, in the order of their names.
func admitted(t *testing.T) []auth.SubjectsWithFilters {
	t.Helper()
	objects := kustomized(t, "deploy/knative/overlays/oidc")
	var all []auth.SubjectsWithFilters
	found := find(objects, "eventing.knative.dev/v1alpha1", "EventPolicy")
	slices.SortFunc(found, func(a, b *unstructured.Unstructured) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, o := range found {
		var p eventingv1alpha1.EventPolicy
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &p); err != nil {
			t.Fatal(err)
		}
		one := auth.SubjectsWithFilters{Filters: p.Spec.Filters}
		for _, from := range p.Spec.From {
			if from.Ref != nil {
				one.Subjects = append(one.Subjects, knownAs(from.Ref.APIVersion, from.Ref.Kind, from.Ref.Name))
			} else {
				one.Subjects = append(one.Subjects, *from.Sub)
			}
		}
		all = append(all, one)
	}
	return all
}

// Knative's own code lets each sender send what it has to, and nothing else.
func TestOIDCByKnativesCode(t *testing.T) {
	const alert, outcome, tick, release = "dev.riposte.alert.v1", "dev.riposte.response.v1", "dev.knative.sources.ping", "dev.riposte.release.v1"
	policies := admitted(t)
	for name, c := range map[string]struct {
		sender string
		may    []string
	}{
		"the router":                   {"system:serviceaccount:riposte:riposte-router", []string{alert, outcome}},
		"the clock":                    {knownAs("sources.knative.dev/v1", "PingSource", "release"), []string{tick}},
		"another clock":                {knownAs("sources.knative.dev/v1", "PingSource", "other"), nil},
		"what delete-pod answers":      {knownAs("eventing.knative.dev/v1", "Trigger", "delete-malware"), []string{outcome}},
		"a Trigger of somebody's":      {knownAs("eventing.knative.dev/v1", "Trigger", "other"), nil},
		"a function with its account":  {"system:serviceaccount:riposte:riposte-delete-pod", nil},
		"a router of another":          {"system:serviceaccount:shop:riposte-router", nil},
		"an account that begins alike": {"system:serviceaccount:riposte:riposte-router-2", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kind := range []string{alert, outcome, tick, release, "falco.rule.output.v1"} {
				e := cloudevents.NewEvent()
				e.SetID("1")
				e.SetSource("/test")
				e.SetType(kind)
				got := auth.SubjectAndFiltersPass(t.Context(), c.sender, policies, &e, zap.NewNop().Sugar())
				if got != slices.Contains(c.may, kind) {
					t.Errorf("it may send %s: %t", kind, got)
				}
			}
		})
	}
}

// The router's token is for the audience that Knative gives the Broker.
func TestOIDCAudience(t *testing.T) {
	want := auth.GetAudienceDirect(schema.FromAPIVersionAndKind("eventing.knative.dev/v1", "Broker"), "riposte", "default")
	for _, w := range workloads(t, kustomized(t, "deploy/knative/overlays/oidc")) {
		for _, v := range w.pod.Volumes {
			if v.Projected != nil && v.Projected.Sources[0].ServiceAccountToken.Audience != want {
				t.Errorf("%s has a token for %s: want %s", called(w.Unstructured), v.Projected.Sources[0].ServiceAccountToken.Audience, want)
			}
		}
	}
}
