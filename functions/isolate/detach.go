package function

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/retry"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
)

// restoreRecord is what has to be put back to undo the detaching.
type restoreRecord struct {
	Labels map[string]string `json:"labels"`
}

// relabel puts the policy's label on and, with DETACH, takes the selecting ones off, in one change. It gives the
// labels as they are then, or what declines it: after a conflict the pod is looked at anew.
func (r *responder) relabel(ctx context.Context, found *kube.Found) (labels map[string]string, changes []response.Change, declined *response.Outcome, err error) {
	pod := found.Pod
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if pod == nil { // the last attempt met somebody else's change: read again
			pod = &corev1.Pod{}
			if err := r.client.Get(ctx, kube.Pods, found.Pod.Namespace, found.Pod.Name, pod); err != nil {
				return err
			}
		}
		if pod.UID != found.Pod.UID {
			o := response.Skip(response.Replaced, "another pod has taken the name since")
			declined = &o
			return nil
		}
		now := *found
		now.Pod = pod
		if declined = r.Protected(&now); declined != nil {
			return nil
		}
		off, err := r.selecting(ctx, pod, found.Owners)
		if err != nil {
			return err
		}
		var patch map[string]any
		labels, changes, patch, err = plan(pod, off)
		if err == nil && len(changes) > 0 {
			err = r.client.Merge(ctx, kube.Pods, pod.Namespace, pod.Name, patch, nil)
		}
		pod = nil
		return err
	})
	return labels, changes, declined, err
}

// selecting are the keys of the pod's labels by which Services, its owner and policies select it; none
// without DETACH.
func (r *responder) selecting(ctx context.Context, pod *corev1.Pod, owners []kube.Owner) ([]string, error) {
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
			if _, has := pod.Labels[key]; has && key != isolatedLabel {
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

// plan computes the pod's labels afterwards, the changes, and the patch that makes them.
func plan(pod *corev1.Pod, off []string) (map[string]string, []response.Change, map[string]any, error) {
	after := maps.Clone(pod.Labels)
	if after == nil {
		after = map[string]string{}
	}
	var changes []response.Change
	patched := map[string]any{}
	if after[isolatedLabel] != string(pod.UID) {
		changes = append(changes, response.Change{Field: "metadata.labels[" + isolatedLabel + "]", After: string(pod.UID)})
		patched[isolatedLabel] = string(pod.UID)
		after[isolatedLabel] = string(pod.UID)
	}
	for _, key := range off {
		changes = append(changes, response.Change{Field: "metadata.labels[" + key + "]", Before: pod.Labels[key]})
		patched[key] = nil
		delete(after, key)
	}
	metadata := map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "labels": patched}
	if len(off) > 0 {
		record, err := remember(pod, off)
		if err != nil {
			return nil, nil, nil, err
		}
		metadata["annotations"] = map[string]any{restoreAnnotation: record}
	}
	return after, changes, map[string]any{"metadata": metadata}, nil
}

// remember adds the labels that go to the restore record the pod may already have. A record that cannot be read
// is replaced: whoever wrote into it must not be able to prevent the isolation.
func remember(pod *corev1.Pod, off []string) (string, error) {
	var record restoreRecord
	if err := json.Unmarshal([]byte(pod.Annotations[restoreAnnotation]), &record); err != nil || record.Labels == nil {
		record.Labels = map[string]string{}
	}
	for _, key := range off {
		record.Labels[key] = pod.Labels[key]
	}
	b, err := json.Marshal(record)
	return string(b), err
}
