package function

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// relabelled is what became of the pod's labels.
type relabelled struct {
	labels  map[string]string
	changes []response.Change
	note    restore.Note
}

// relabel puts the policy's label on and, with DETACH, takes the selecting ones off, and writes down how to undo it, in one
// change. It gives the labels as they are then.
func (r *responder) relabel(ctx context.Context, found *target.Found, alert falco.Alert) (relabelled, error) {
	pod := found.Pod
	off, err := r.selecting(ctx, pod, found.Owners)
	if err != nil {
		return relabelled{}, err
	}
	after, patched, changes := plan(pod, off)
	if len(changes) == 0 {
		return relabelled{labels: after}, nil
	}
	object := &restore.Object{TypeMeta: metav1.TypeMeta{Kind: "Pod"}, ObjectMeta: pod.ObjectMeta}
	note, err := r.records.Note(ctx, object, alert, append([]response.Change{restore.PolicyMade(string(pod.UID))}, changes...))
	if err != nil {
		return relabelled{}, err
	}
	for key, value := range note.Labels {
		patched[key], after[key] = value, value
	}
	patch := map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "labels": patched, "annotations": note.Annotations,
	}}
	return relabelled{after, changes, note}, r.client.Merge(ctx, kube.Pods, pod.Namespace, pod.Name, patch, nil)
}

// selecting are the keys of the pod's labels by which Services, its owner and policies select it; none
// without DETACH.
func (r *responder) selecting(ctx context.Context, pod *corev1.Pod, owners []target.Owner) ([]string, error) {
	if !r.config.Detach {
		return nil, nil
	}
	var services corev1.ServiceList
	if err := r.client.List(ctx, kube.Services, pod.Namespace, &services); err != nil {
		return nil, err
	}
	var policies networkingv1.NetworkPolicyList
	if err := r.client.List(ctx, kube.NetworkPolicies, pod.Namespace, &policies); err != nil {
		return nil, err
	}
	var selectors []*metav1.LabelSelector
	for _, s := range services.Items {
		selectors = append(selectors, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
	}
	for _, p := range policies.Items {
		selectors = append(selectors, &p.Spec.PodSelector)
	}
	for _, o := range owners {
		selectors = append(selectors, o.Spec.Selector)
	}
	keys := map[string]bool{}
	for _, s := range selectors {
		if !selects(s, pod.Labels) {
			continue
		}
		for _, key := range positive(s) {
			if _, has := pod.Labels[key]; has && key != isolatedLabel && key != restore.Contained {
				keys[key] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(keys)), nil
}

// positive are the keys a selector wants to be there: taking one off ends the selection.
func positive(s *metav1.LabelSelector) []string {
	keys := slices.Collect(maps.Keys(s.MatchLabels))
	for _, e := range s.MatchExpressions {
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpExists {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

func selects(s *metav1.LabelSelector, set map[string]string) bool {
	if s == nil {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(set))
}

// plan computes the pod's labels afterwards, the patch of the labels, and the changes that are.
func plan(pod *corev1.Pod, off []string) (after map[string]string, patch map[string]any, changes []response.Change) {
	after, patch = maps.Clone(pod.Labels), map[string]any{}
	if after == nil {
		after = map[string]string{}
	}
	if after[isolatedLabel] != string(pod.UID) { // Another value is nobody's: it is not put back.
		changes = append(changes, response.Change{Field: restore.LabelField(isolatedLabel), After: string(pod.UID)})
		patch[isolatedLabel], after[isolatedLabel] = string(pod.UID), string(pod.UID)
	}
	for _, key := range off {
		changes = append(changes, response.Change{Field: restore.LabelField(key), Before: pod.Labels[key]})
		patch[key] = nil
		delete(after, key)
	}
	return after, patch, changes
}
