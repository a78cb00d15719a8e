package function

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

// ensurePolicy makes the pod's policy, or puts it right if somebody changed it. It is likely to be there where the pod has its label.
func (r *responder) ensurePolicy(ctx context.Context, want *api.NetworkPolicy, likely bool) ([]response.Change, error) {
	made := []response.Change{{Field: "networkpolicies/" + want.Name, After: want.Spec}}
	create := func() error { return r.client.Create(ctx, kube.NetworkPolicies, want.Namespace, want) }
	if !likely {
		if err := create(); !apierrors.IsAlreadyExists(err) {
			return made, moved(err, want)
		}
	}
	var have api.NetworkPolicy
	err := r.client.Get(ctx, kube.NetworkPolicies, want.Namespace, want.Name, &have)
	switch {
	case apierrors.IsNotFound(err):
		return made, moved(create(), want)
	case err != nil:
		return nil, err
	case equality.Semantic.DeepEqual(have.Spec, want.Spec):
		return nil, nil
	}
	made[0].Before = have.Spec
	// Written out in full: what a merge patch does not mention would stay.
	selector := map[string]any{}
	for key := range have.Spec.PodSelector.MatchLabels {
		selector[key] = nil
	}
	for key, value := range want.Spec.PodSelector.MatchLabels {
		selector[key] = value
	}
	spec := map[string]any{
		"podSelector": map[string]any{"matchLabels": selector, "matchExpressions": nil},
		"policyTypes": want.Spec.PolicyTypes, "ingress": want.Spec.Ingress, "egress": want.Spec.Egress,
	}
	patch := map[string]any{"metadata": map[string]any{"uid": have.UID, "resourceVersion": have.ResourceVersion}, "spec": spec}
	return made, moved(r.client.Merge(ctx, kube.NetworkPolicies, want.Namespace, want.Name, patch, nil), want)
}

// inForce is nil where the policy is as it should be. Somebody may have taken it away since it was made: a pod that has left the
// policies of its own would then be allowed more than before.
func (r *responder) inForce(ctx context.Context, want *api.NetworkPolicy) error {
	if r.dryRun {
		return nil
	}
	var have api.NetworkPolicy
	err := r.client.Get(ctx, kube.NetworkPolicies, want.Namespace, want.Name, &have)
	if err == nil && !equality.Semantic.DeepEqual(have.Spec, want.Spec) {
		return conflict(want, errors.New("somebody has changed it"))
	}
	return moved(err, want)
}

// moved makes a conflict of the error over a policy that somebody else made, replaced or took away in the same moment: then
// everything is looked at again. As it is, it would be taken for one over the pod.
func moved(err error, policy *api.NetworkPolicy) error {
	if apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) || kube.IsReplaced(err) {
		return conflict(policy, err)
	}
	return err
}

func conflict(policy *api.NetworkPolicy, cause error) error {
	return apierrors.NewConflict(schema.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}, policy.Name, cause)
}
