package function

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
)

// found is an object that may be contained.
type found struct {
	resource kube.Resource
	object   *restore.Object
}

func (f found) target() response.Target {
	return response.Target{
		Kind: f.object.Kind, Resource: f.resource.Plural(), Namespace: f.object.Namespace, Name: f.object.Name, UID: string(f.object.UID),
	}
}

// kindOf is the kind of a resource's objects.
func kindOf(r kube.Resource) string {
	return map[kube.Resource]string{
		kube.Pods: "Pod", kube.Nodes: "Node", kube.Namespaces: "Namespace", kube.Deployments: "Deployment", kube.ReplicaSets: "ReplicaSet",
		kube.StatefulSets: "StatefulSet", kube.DaemonSets: "DaemonSet", kube.Jobs: "Job", kube.CronJobs: "CronJob",
	}[r]
}

// find gives the objects that are wanted, as far as they bear Riposte's mark or are named; or what the object is, where
// the one that is named cannot be had.
func (r *responder) find(ctx context.Context, want order) ([]found, *response.Outcome, error) {
	if want.resource != "" {
		return r.named(ctx, want)
	}
	selector := labels.Set{restore.Contained: "true"}.AsSelector()
	for _, s := range []labels.Selector{r.selector, want.selector} {
		if requirements, ok := s.Requirements(); ok {
			selector = selector.Add(requirements...)
		}
	}
	var all []found
	for _, resource := range r.resources() {
		var list struct {
			Items []restore.Object `json:"items"`
		}
		if err := r.client.ListLabelled(ctx, resource, "", selector.String(), &list); err != nil {
			return nil, nil, err
		}
		for i := range list.Items {
			o := &list.Items[i]
			o.Kind = kindOf(resource) // Items of a list do not say it.
			if !want.tick || r.chosen(o, want) {
				all = append(all, found{resource, o})
			}
		}
	}
	return all, nil, nil
}

// chosen says whether one of the object's records is wanted, believed or not: what is not is looked at in lift.
func (r *responder) chosen(o *restore.Object, want order) bool {
	keys, err := restore.ReadKeys(r.config.Key)
	if err != nil {
		return true // It is said where the object is dealt with.
	}
	records, _ := keys.Records(o)
	for _, record := range records {
		if want.wants(record) {
			return true
		}
	}
	return false
}

// named reads the one object that a request names.
func (r *responder) named(ctx context.Context, want order) ([]found, *response.Outcome, error) {
	target := response.Target{Kind: want.Kind, Resource: want.resource.Plural(), Namespace: want.Namespace, Name: want.Name, UID: want.UID}
	decline := func(o response.Outcome) ([]found, *response.Outcome, error) {
		o.Target = target
		return nil, &o, nil
	}
	o, err := r.read(ctx, want.resource, want.Namespace, want.Name)
	switch {
	case apierrors.IsNotFound(err):
		return decline(response.Skip(response.Gone, "%s does not exist any more", target.Subject()))
	case err != nil:
		return nil, nil, err
	case want.UID != "" && want.UID != string(o.UID):
		return decline(response.Skip(response.Replaced, "%s has another UID than %.80q", target.Subject(), want.UID))
	case !r.selector.Matches(labels.Set(o.Labels)):
		return decline(nothing("%s is not among those that SELECTOR allows", target.Subject()))
	}
	return []found{{want.resource, o}}, nil, nil
}

func (r *responder) read(ctx context.Context, resource kube.Resource, namespace, name string) (*restore.Object, error) {
	o := &restore.Object{}
	if err := r.client.Get(ctx, resource, namespace, name, o); err != nil {
		return nil, err
	}
	o.Kind = kindOf(resource)
	return o, nil
}
