package target

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

// Try acts on the target, and where somebody else was faster, acts again on the target as it is then. It declines a target
// that by then is gone, another one, or protected. The changes that act makes carry the version of the target as it got it.
func (p *PodFinder) Try(ctx context.Context, act func(*Found) (response.Outcome, error)) (response.Outcome, error) {
	found, target := FoundFrom(ctx), response.TargetFrom(ctx)
	var outcome response.Outcome
	first := true
	err := kube.RetryOnConflict(func() error {
		if !first {
			next, declined, err := p.again(ctx, found)
			if err != nil {
				return err
			}
			if declined != nil {
				outcome = *declined
				return nil
			}
			found = next
		}
		first = false
		var err error
		outcome, err = act(found)
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return response.Skip(response.Gone, "%s %s went away", target.Kind, target.Name), nil
	case kube.IsReplaced(err):
		return response.Skip(response.Replaced, "another %s has taken the name since", target.Kind), nil
	}
	return outcome, err
}

// again reads the target once more.
func (p *PodFinder) again(ctx context.Context, found *Found) (*Found, *response.Outcome, error) {
	now, was := *found, found.Meta(p.level)
	var into any
	switch p.level {
	case LevelNode:
		now.Node = &api.Node{}
		into = now.Node
	case LevelNamespace:
		now.Namespace = &api.Namespace{}
		into = now.Namespace
	case LevelOwner:
		now.Owners = slices.Clone(found.Owners)
		top := now.Top()
		*top = Owner{TypeMeta: top.TypeMeta, resource: top.resource}
		into = top
	case LevelPod:
		now.Pod = &api.Pod{}
		into = now.Pod
	}
	if err := p.client.Get(ctx, p.Resource(found), was.Namespace, was.Name, into); err != nil {
		return nil, nil, err
	}
	if now.Meta(p.level).UID != was.UID {
		return nil, skip(response.Replaced, "another object has taken the name of %s since", was.Name), nil
	}
	return &now, p.Protected(&now), nil
}

// Meta is the metadata of the object of a level.
func (f *Found) Meta(level Level) *metav1.ObjectMeta {
	switch top := f.Top(); {
	case level == LevelNode && f.Node != nil:
		return &f.Node.ObjectMeta
	case level == LevelNamespace:
		return &f.Namespace.ObjectMeta
	case level == LevelOwner && top != nil:
		return &top.ObjectMeta
	}
	return &f.Pod.ObjectMeta
}
