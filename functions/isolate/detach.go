package function

import (
	"context"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// isolation is what was done to one pod so far.
type isolation struct {
	changes []response.Change
	// labels are the pod's, and policies those of its namespace, when all was done.
	labels   map[string]string
	policies []api.NetworkPolicy
	note     restore.Note
}

// contain puts the policy's label on the pod, and then, with DETACH, takes the selecting ones off: finding those takes an API
// server up to a tenth of a second, in which the pod is cut off already. Each change comes with how to undo it. Called again for
// the pod as somebody else has left it, it goes on.
func (r *responder) contain(ctx context.Context, i *isolation, found *target.Found, alert falco.Alert) error {
	pod, err := r.relabel(ctx, i, found.Pod, alert, nil)
	if err != nil {
		return err
	}
	services, err := r.neighbours(ctx, i, pod.Namespace)
	if err != nil {
		return err
	}
	var off []string
	if r.config.Detach {
		off = selecting(pod, services, i.policies, found.Owners)
	}
	pod, err = r.relabel(ctx, i, pod, alert, off)
	if err == nil {
		i.labels = pod.Labels
	}
	return err
}

// relabel gives the pod the policy's label, takes others off, and writes down how to undo both, in one change. It gives the pod
// as it is then.
func (r *responder) relabel(ctx context.Context, i *isolation, pod *api.Pod, alert falco.Alert, off []string) (*api.Pod, error) {
	patched, changes := plan(pod, off)
	if len(changes) == 0 {
		return pod, nil
	}
	object := &restore.Object{TypeMeta: metav1.TypeMeta{Kind: "Pod"}, ObjectMeta: pod.ObjectMeta}
	note, err := r.records.Note(ctx, object, alert, append([]response.Change{restore.PolicyMade(string(pod.UID))}, changes...))
	if err != nil {
		return nil, err
	}
	for key, value := range note.Labels {
		patched[key] = value
	}
	patch := map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "labels": patched, "annotations": note.Annotations,
	}}
	after := &api.Pod{}
	if err := r.client.Merge(ctx, kube.Pods, pod.Namespace, pod.Name, patch, after); err != nil {
		return nil, err
	}
	i.changes, i.note = append(i.changes, changes...), note
	return after, nil
}

// neighbours reads what else can let traffic to the pod: the policies of its namespace and, with DETACH, the Services.
func (r *responder) neighbours(ctx context.Context, i *isolation, namespace string) ([]api.Service, error) {
	var services api.ServiceList
	var policies api.NetworkPolicyList
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return r.client.List(ctx, kube.NetworkPolicies, namespace, &policies) })
	if r.config.Detach {
		both.Go(func() error { return r.client.List(ctx, kube.Services, namespace, &services) })
	}
	err := both.Wait()
	i.policies = policies.Items
	return services.Items, err
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

// plan computes the patch of the pod's labels, and the changes that are in it.
func plan(pod *api.Pod, off []string) (patch map[string]any, changes []response.Change) {
	patch = map[string]any{}
	if pod.Labels[isolatedLabel] != string(pod.UID) { // Another value is nobody's: it is not put back.
		changes = append(changes, response.Change{Field: restore.LabelField(isolatedLabel), After: string(pod.UID)})
		patch[isolatedLabel] = string(pod.UID)
	}
	for _, key := range off {
		changes = append(changes, response.Change{Field: restore.LabelField(key), Before: pod.Labels[key]})
		patch[key] = nil
	}
	return patch, changes
}
