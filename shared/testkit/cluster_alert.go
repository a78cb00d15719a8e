package testkit

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Edit changes an alert beyond what Retarget does: it is decoded, with its numbers as they are.
type Edit func(alert map[string]any)

// AlertFor is a captured alert (03, of priority Critical) as if it had just been raised in the pod. Without edits it is,
// but for the pod's identity and the time, what Falcosidekick sent byte for byte.
func AlertFor(tb testing.TB, p corev1.Pod, edits ...Edit) []byte {
	tb.Helper()
	return AlertFrom(tb, "03", p, edits...)
}

// AlertFrom is AlertFor with another capture.
func AlertFrom(tb testing.TB, capture string, p corev1.Pod, edits ...Edit) []byte {
	tb.Helper()
	body := Find(tb, capture).Retarget(To(tb, p, time.Now())).webhook.body
	if len(edits) == 0 {
		return body
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var alert map[string]any
	if err := d.Decode(&alert); err != nil {
		tb.Fatalf("edit an alert: %v", err)
	}
	for _, edit := range edits {
		edit(alert)
	}
	edited, err := json.Marshal(alert)
	if err != nil {
		tb.Fatalf("edit an alert: %v", err)
	}
	return edited
}

// To makes captures point at the pod.
func To(tb testing.TB, p corev1.Pod, at time.Time) Retargeting {
	tb.Helper()
	return Retargeting{Time: at, Namespace: p.Namespace, Pod: p.Name, ContainerID: ContainerID(tb, p), UID: string(p.UID)}
}

// Field sets an output field.
func Field(name string, value any) Edit {
	return func(alert map[string]any) { alert["output_fields"].(map[string]any)[name] = value } //nolint:forcetypeassert // The captures have them.
}

// Without removes output fields.
func Without(names ...string) Edit {
	return func(alert map[string]any) {
		for _, name := range names {
			delete(alert["output_fields"].(map[string]any), name) //nolint:forcetypeassert // The captures have them.
		}
	}
}

// Set sets a field of the envelope, such as priority.
func Set(name string, value any) Edit {
	return func(alert map[string]any) { alert[name] = value }
}

// At sets the time of the alert.
func At(at time.Time) Edit { return Set("time", at.UTC().Format(time.RFC3339Nano)) }
