package function

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
)

// policyChange is what became of the policy that isolated a pod.
type policyChange struct {
	change   *response.Change
	conflict *restore.Conflict
}

// removePolicy removes the policy that isolate made for the pod. Its name comes from the pod's UID, never from a record;
// one of that name that does not belong to the pod is somebody else's.
func (l *lifting) removePolicy(ctx context.Context) error {
	pod := l.object
	field := restore.PolicyMade(string(pod.UID))
	name := restore.PolicyName(string(pod.UID))
	var policy api.NetworkPolicy
	err := l.client.Get(ctx, kube.NetworkPolicies, pod.Namespace, name, &policy)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ours := policy.Labels["app.kubernetes.io/managed-by"] == "riposte" && slices.ContainsFunc(policy.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.Kind == "Pod" && o.UID == pod.UID
	})
	foreign := &restore.Conflict{Field: field.Field, Ours: field.After, Theirs: policy.Spec}
	if !ours {
		l.policy.conflict = foreign
		return nil
	}
	err = l.client.Delete(ctx, kube.NetworkPolicies, pod.Namespace, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &policy.UID}})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case kube.IsReplaced(err):
		l.policy.conflict = foreign
		return nil
	case err != nil:
		return err
	}
	l.policy.change = &response.Change{Field: field.Field, Before: policy.Spec}
	return nil
}

// addTo puts what became of the policy into what became of isolate's record.
func (p policyChange) addTo(undone []restore.Undone) []restore.Undone {
	for i := range undone {
		if restore.ResponseOf(undone[i].Name) != "isolate" {
			continue
		}
		if p.change != nil {
			undone[i].Changes = append(undone[i].Changes, *p.change)
		}
		if p.conflict != nil {
			undone[i].Conflicts = append(undone[i].Conflicts, *p.conflict)
		}
	}
	return undone
}
