package function

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
)

// result is what became of one object.
type result struct {
	found

	undone []restore.Undone
	// declined is why nothing was undone, where there was something.
	declined *response.Outcome
	err      error
}

// lift releases one object from what is wanted.
func (r *responder) lift(ctx context.Context, f found, want order) result {
	l := &lifting{responder: r, found: f, want: want, uid: f.object.UID}
	first := true
	err := kube.RetryOnConflict(func() error {
		if !first { // Somebody else was faster: look again.
			next, err := r.read(ctx, f.resource, f.object.Namespace, f.object.Name)
			if err != nil {
				return err
			}
			l.object = next
		}
		first = false
		return l.attempt(ctx)
	})
	switch {
	case apierrors.IsNotFound(err):
		l.decline(response.Skip(response.Gone, "%s went away", f.target().Subject()))
	case kube.IsReplaced(err), err == nil && l.object.UID != f.object.UID:
		l.decline(response.Skip(response.Replaced, "another object has taken the name of %s since", f.target().Subject()))
	case err != nil:
		return result{found: f, err: err}
	}
	return result{found: f, undone: l.undone, declined: l.declined}
}

// lifting is one object being released.
type lifting struct {
	*responder
	found

	want     order
	uid      types.UID    // of the object as it was found
	policy   policyChange // what became of isolate's policy, in whichever attempt
	undone   []restore.Undone
	declined *response.Outcome
}

func (l *lifting) decline(o response.Outcome) { l.undone, l.declined = nil, &o }

// attempt undoes the records of the object as it was read. The change of the object itself is the last one, with its UID
// and version as preconditions: as long as the record is there, a repeat does what is left.
func (l *lifting) attempt(ctx context.Context) error {
	if l.object.UID != l.uid {
		return nil
	}
	keys, err := restore.ReadKeys(l.config.Key)
	if err != nil {
		return err
	}
	plan, err := keys.Plan(l.object, l.want.wants)
	if err != nil {
		return err
	}
	if plan == nil {
		l.none(keys)
		return nil
	}
	declined, err := l.watchman.Check(ctx, l.resource, l.object.ObjectMeta, l.object.Spec.Taints)
	if err != nil {
		return err
	}
	if declined != nil {
		l.decline(*declined)
		return nil
	}
	for _, u := range plan.Undone {
		if err := restore.Remember(ctx, l.store, u.Record, l.now()); err != nil {
			return err
		}
	}
	if plan.Policy {
		if err := l.removePolicy(ctx); err != nil {
			return err
		}
	}
	var after metav1.PartialObjectMetadata
	if err := l.client.Merge(ctx, l.resource, l.object.Namespace, l.object.Name, plan.Patch, &after); err != nil {
		return err
	}
	l.undone = l.policy.addTo(plan.Undone)
	l.disown(ctx, after, plan)
	return nil
}

// none says why nothing of the object is released.
func (l *lifting) none(keys restore.Keys) {
	_, bad := keys.Records(l.object)
	for _, name := range l.object.Names() {
		if err := bad[name]; err != nil {
			l.decline(response.Refuse(response.Conflict, "somebody has written into what Riposte left on %s: %s", l.target().Subject(), err))
			return
		}
	}
}

// disown gives up what label's field manager still holds of the object: a label that somebody else set to the same value
// would otherwise stay when they take it back. Only who holds what changes, so a failure does no harm.
func (l *lifting) disown(ctx context.Context, after metav1.PartialObjectMetadata, plan *restore.Plan) {
	for _, u := range plan.Undone {
		manager := restore.Manager(u.Name)
		if !slices.ContainsFunc(after.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
			return m.Manager == manager && m.Operation == metav1.ManagedFieldsOperationApply
		}) {
			continue
		}
		metadata := map[string]any{
			"name": after.Name, "uid": after.UID, "resourceVersion": after.ResourceVersion,
			"labels": plan.Keep.Labels, "annotations": plan.Keep.Annotations,
		}
		if after.Namespace != "" {
			metadata["namespace"] = after.Namespace
		}
		configuration := map[string]any{"apiVersion": l.resource.APIVersion(), "kind": l.object.Kind, "metadata": metadata}
		if err := l.client.Apply(ctx, l.resource, after.Namespace, after.Name, manager, false, configuration, &after); err != nil {
			return
		}
	}
}
