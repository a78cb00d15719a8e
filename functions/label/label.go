// Package function is label: it sets or removes labels on the pod that raised the alert, or
// on its node, its namespace or its topmost owner.
//
// Labels are set by server-side apply under a field manager of this function's own, so that
// who set what stays visible and somebody else's value is not overwritten: that is refused,
// unless FORCE is true. A label that is to be removed is removed whoever set it.
package function

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
)

// Config are the settings of label.
type Config struct {
	Labels Labels     `env:"LABELS" required:"true" help:"Labels to set (key=value) and to remove (key-)."`
	Level  kube.Level `env:"LEVEL" envDefault:"pod" oneof:"pod,node,namespace,owner" help:"Which object gets the labels; owner is the topmost controller."`
	Force  bool       `env:"FORCE" envDefault:"false" help:"Overwrite a label that somebody else holds at another value."`
	kube.Settings
}

type responder struct {
	*kube.PodFinder
	config Config
	client *kube.Client
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	client, err := kube.Connect(c.Settings, common, c.Labels.manager())
	if err != nil {
		return nil, err
	}
	return &responder{kube.NewPodFinder(client, c.Settings, c.Level), c, client}, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, _ falco.Alert) (response.Outcome, error) {
	found, target := kube.FoundFrom(ctx), response.TargetFrom(ctx)
	before := found.Labels(r.config.Level)
	changes := r.config.Labels.changes(before)
	if len(changes) == 0 {
		return response.Outcome{Verdict: response.Unchanged, Reason: response.AlreadySo, Message: "the labels already are as wanted"}, nil
	}
	err := r.write(ctx, r.Resource(found), target, before)
	switch {
	case apierrors.IsNotFound(err):
		return response.Skip(response.Gone, "%s %s went away", target.Kind, target.Name), nil
	case kube.IsReplaced(err):
		return response.Skip(response.Replaced, "another %s has taken the name since", target.Kind), nil
	case apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict):
		return response.Refuse(response.Conflict, "somebody else holds a label at another value and FORCE is false: %s", causes(err)), nil
	case err != nil:
		return response.Outcome{}, err
	}
	return response.Outcome{
		Verdict: response.Applied,
		Message: fmt.Sprintf("labelled %s %s: %s", target.Kind, target.Name, r.config.Labels),
		Changes: changes,
	}, nil
}

// write sets what is to be set, then removes what is to be removed. The UID is a precondition of both.
func (r *responder) write(ctx context.Context, resource kube.Resource, target response.Target, before map[string]string) error {
	if set := r.config.Labels.set; len(set) > 0 {
		metadata := map[string]any{"name": target.Name, "uid": target.UID, "labels": set}
		if target.Namespace != "" {
			metadata["namespace"] = target.Namespace
		}
		configuration := map[string]any{"apiVersion": resource.APIVersion(), "kind": target.Kind, "metadata": metadata}
		if err := r.client.Apply(ctx, resource, target.Namespace, target.Name, r.config.Labels.manager(), r.config.Force, configuration, nil); err != nil {
			return err
		}
	}
	gone := map[string]any{}
	for _, key := range r.config.Labels.remove {
		if _, ok := before[key]; ok {
			gone[key] = nil
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return r.client.Merge(ctx, resource, target.Namespace, target.Name,
		map[string]any{"metadata": map[string]any{"uid": target.UID, "labels": gone}}, nil)
}

// causes lists the fields in conflict and who holds them.
func causes(err error) string {
	var list []string
	for _, c := range kube.Causes(err) {
		list = append(list, c.Field+" ("+c.Message+")")
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}

// changes are the labels that differ from what is wanted, before and after.
func (l Labels) changes(before map[string]string) []response.Change {
	var changes []response.Change
	for _, key := range slices.Sorted(maps.Keys(l.set)) {
		if value, ok := before[key]; !ok {
			changes = append(changes, response.Change{Field: "metadata.labels[" + key + "]", After: l.set[key]})
		} else if value != l.set[key] {
			changes = append(changes, response.Change{Field: "metadata.labels[" + key + "]", Before: value, After: l.set[key]})
		}
	}
	for _, key := range l.remove {
		if value, ok := before[key]; ok {
			changes = append(changes, response.Change{Field: "metadata.labels[" + key + "]", Before: value})
		}
	}
	return changes
}
