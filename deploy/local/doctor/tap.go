package doctor

import (
	"maps"
	"slices"
)

// Label marks the doctor's Triggers.
const Label = "riposte.dev/doctor"

// Tap is a Trigger that brings copies of events to the doctor.
type Tap struct {
	Name string
	// Types are those of the events; any of them will do.
	Types []string
	// Attributes are those an event must have, each with just this value.
	Attributes map[string]string
	// URI is where the Broker posts the copies.
	URI string
}

// Manifest is the Trigger. It tries again for a moment, for a data plane that does not know it yet, and has no dead
// letter of its own.
func (t Tap) Manifest(namespace, broker string) map[string]any {
	var types []any
	for _, kind := range t.Types {
		types = append(types, map[string]any{"exact": map[string]string{"type": kind}})
	}
	filters := []any{map[string]any{"any": types}}
	for _, name := range slices.Sorted(maps.Keys(t.Attributes)) {
		filters = append(filters, map[string]any{"exact": map[string]string{name: t.Attributes[name]}})
	}
	return map[string]any{
		"apiVersion": "eventing.knative.dev/v1",
		"kind":       "Trigger",
		"metadata": map[string]any{
			"name": t.Name, "namespace": namespace,
			"labels": map[string]string{Label: "true", "eventing.knative.dev/broker": broker},
		},
		"spec": map[string]any{
			"broker":     broker,
			"filters":    filters,
			"subscriber": map[string]string{"uri": t.URI},
			"delivery":   map[string]any{"retry": 4, "backoffPolicy": "exponential", "backoffDelay": "PT0.1S", "timeout": "PT5S"},
		},
	}
}
