package restore

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/kube/api"
)

// Object is an object of any kind, as far as containment can change it.
type Object struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              Spec `json:"spec"`
}

// Spec has the taints of a node.
type Spec struct {
	Taints []api.Taint `json:"taints"`
}

// asTaint reads a taint from a record.
func asTaint(v any) (api.Taint, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return api.Taint{}, fmt.Errorf("read a taint: %w", err)
	}
	var t api.Taint
	if err := json.Unmarshal(b, &t); err != nil {
		return api.Taint{}, fmt.Errorf("read a taint: %w", err)
	}
	return t, nil
}

// working is a copy of what is to be changed.
type working struct {
	labels map[string]string
	taints []api.Taint
}

func workingCopy(o *Object) *working {
	w := &working{labels: maps.Clone(o.Labels), taints: slices.Clone(o.Spec.Taints)}
	if w.labels == nil {
		w.labels = map[string]string{}
	}
	return w
}

// value is what the field holds; nil is nothing.
func (w *working) value(f field) any {
	switch f.kind {
	case labelField:
		if v, ok := w.labels[f.key]; ok {
			return v
		}
	case taintField:
		if i := w.taint(f); i >= 0 {
			if v, err := plain(w.taints[i]); err == nil {
				return v
			}
		}
	case policyField:
	}
	return nil
}

func (w *working) taint(f field) int {
	return slices.IndexFunc(w.taints, func(t api.Taint) bool { return t.Key == f.key && string(t.Effect) == f.effect })
}

// set makes the field hold a value that was checked.
func (w *working) set(f field, v any) error {
	switch f.kind {
	case labelField:
		text, ok := v.(string)
		if !ok {
			delete(w.labels, f.key)
			return nil
		}
		w.labels[f.key] = text
	case taintField:
		return w.setTaint(f, v)
	case policyField:
	}
	return nil
}

// setTaint keeps the order of the others, and the place of the one that is replaced.
func (w *working) setTaint(f field, v any) error {
	i := w.taint(f)
	if v == nil {
		if i >= 0 {
			w.taints = slices.Delete(w.taints, i, i+1)
		}
		return nil
	}
	t, err := asTaint(v)
	if err != nil {
		return err
	}
	if i >= 0 {
		w.taints[i] = t
	} else {
		w.taints = append(w.taints, t)
	}
	return nil
}

// same compares two values of a field. When a taint was added is the node controller's affair.
func same(a, b any) bool { return reflect.DeepEqual(untimed(a), untimed(b)) }

func untimed(v any) any {
	taint, ok := v.(map[string]any)
	if !ok {
		return v
	}
	taint = maps.Clone(taint)
	delete(taint, "timeAdded")
	return taint
}
