package function

import (
	"context"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// relabel puts the policy's label on and takes others off, and writes down how to undo it, in one change. It gives the labels
// as they are then.
func (r *responder) relabel(ctx context.Context, i *isolation, pod *api.Pod, alert falco.Alert, off []string) (map[string]string, error) {
	object := &restore.Object{TypeMeta: metav1.TypeMeta{Kind: "Pod"}, ObjectMeta: pod.ObjectMeta}
	recorded, err := r.records.Wrote(object)
	if err != nil {
		return nil, err
	}
	after, patched, changes := plan(pod, off, recorded)
	if len(changes) == 0 {
		return after, nil
	}
	note, err := r.records.Note(ctx, object, alert, append([]response.Change{restore.PolicyMade(string(pod.UID))}, changes...))
	if err != nil {
		return nil, err
	}
	if note.Without != "" && maps.Equal(after, pod.Labels) { // It is as it should be, and there is no room to write it down.
		return after, nil
	}
	for key, value := range note.Labels {
		patched[key], after[key] = value, value
	}
	patch := map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "labels": patched, "annotations": note.Annotations,
	}}
	if err := r.client.Merge(ctx, kube.Pods, pod.Namespace, pod.Name, patch, nil); err != nil {
		return nil, err
	}
	i.note = note
	i.add(changes...)
	return after, nil
}

// selecting are the keys of the pod's labels by which Services, its owner and policies select it.
func selecting(pod *api.Pod, services []api.Service, policies []api.NetworkPolicy, owners []target.Owner) []string {
	var selectors []*metav1.LabelSelector
	for _, s := range services {
		selectors = append(selectors, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
	}
	for _, p := range policies {
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
	return slices.Sorted(maps.Keys(keys))
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

// plan computes the pod's labels afterwards, the patch of the labels, and the changes that are. A label of isolate that no record
// speaks of was put there by somebody else, who would have the pod stay isolated, or its isolation unrecorded.
func plan(pod *api.Pod, off []string, recorded bool) (after map[string]string, patch map[string]any, changes []response.Change) {
	after, patch = maps.Clone(pod.Labels), map[string]any{}
	if after == nil {
		after = map[string]string{}
	}
	if after[isolatedLabel] != string(pod.UID) || !recorded { // What it held is nobody's: it is not put back.
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
