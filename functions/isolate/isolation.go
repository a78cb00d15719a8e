package function

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// isolation is what was done to one pod so far, and what is still allowed then.
type isolation struct {
	changes  []response.Change
	residual []Residual
	note     restore.Note
}

// add adds changes. Of two of one field, one after the other, the first knows what was there.
func (i *isolation) add(changes ...response.Change) {
	for _, c := range changes {
		if !slices.ContainsFunc(i.changes, func(known response.Change) bool { return known.Field == c.Field }) {
			i.changes = append(i.changes, c)
		}
	}
}

// isolate cuts the pod off. The policy comes first: the pod is cut off in the same moment in which it gets the policy's label and
// loses the others. That the policy is still there is looked at last. Called again, it does what somebody else has undone since.
func (r *responder) isolate(ctx context.Context, i *isolation, found *target.Found, alert falco.Alert) error {
	var made []response.Change
	var services api.ServiceList
	var policies api.NetworkPolicyList
	pod, want := found.Pod, r.policy(found.Pod)
	all, together := errgroup.WithContext(ctx)
	all.Go(func() (err error) {
		made, err = r.ensurePolicy(together, want, pod.Labels[isolatedLabel] == string(pod.UID))
		return err
	})
	all.Go(func() error { return r.client.List(together, kube.NetworkPolicies, pod.Namespace, &policies) })
	if r.config.Detach {
		all.Go(func() error { return r.client.List(together, kube.Services, pod.Namespace, &services) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	i.add(made...)
	var off []string
	if r.config.Detach {
		off = selecting(pod, services.Items, policies.Items, found.Owners)
	}
	labels, err := r.relabel(ctx, i, pod, alert, off)
	if err != nil {
		return err
	}
	i.residual = residual(policies.Items, want.Name, labels, r.directions())
	return r.inForce(ctx, want)
}
