// Package function is taint: it taints the node of the pod that raised the alert, so that
// nothing new is scheduled there (or, with NoExecute, nothing stays).
//
// The node's other taints are kept. Nodes of the control plane are never tainted. With
// NoExecute every pod that does not tolerate the taint is evicted, without regard to
// PodDisruptionBudgets.
package function

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/util/retry"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
)

// Config are the settings of taint.
type Config struct {
	Key    string `env:"TAINT_KEY" envDefault:"falco/alert" help:"Key of the taint."`
	Value  string `env:"TAINT_VALUE" envDefault:"true" help:"Value of the taint."`
	Effect string `env:"TAINT_EFFECT" envDefault:"NoSchedule" oneof:"NoSchedule,PreferNoSchedule,NoExecute" help:"What the taint does to pods that do not tolerate it."`
	kube.Settings
}

// Validate checks key and value as the API server would.
func (c Config) Validate() error {
	if problems := validation.IsQualifiedName(c.Key); len(problems) > 0 {
		return fmt.Errorf("TAINT_KEY is %q: %s", c.Key, problems[0])
	}
	if problems := validation.IsValidLabelValue(c.Value); len(problems) > 0 {
		return fmt.Errorf("TAINT_VALUE is %q: %s", c.Value, problems[0])
	}
	return c.Settings.Validate()
}

type responder struct {
	*kube.PodFinder
	taint  corev1.Taint
	client *kube.Client
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	client, err := kube.Connect(c.Settings, common, "riposte-taint")
	if err != nil {
		return nil, err
	}
	return &responder{
		PodFinder: kube.NewPodFinder(client, c.Settings, kube.LevelNode),
		taint:     corev1.Taint{Key: c.Key, Value: c.Value, Effect: corev1.TaintEffect(c.Effect)},
		client:    client,
	}, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, _ falco.Alert) (response.Outcome, error) {
	found := kube.FoundFrom(ctx)
	node, uid := found.Node, found.Node.UID
	var outcome response.Outcome
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if node == nil { // the last attempt met somebody else's change: read again
			node = &corev1.Node{}
			if err := r.client.Get(ctx, kube.Nodes, "", response.TargetFrom(ctx).Name, node); err != nil {
				return err
			}
		}
		if node.UID != uid {
			outcome = response.Skip(response.Replaced, "another node has taken the name since")
			return nil
		}
		now := *found
		now.Node = node
		if o := r.Protected(&now); o != nil {
			outcome = *o
			return nil
		}
		var err error
		outcome, err = r.put(ctx, node)
		node = nil
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return response.Skip(response.Gone, "the node went away"), nil
	case kube.IsReplaced(err):
		return response.Skip(response.Replaced, "another node has taken the name since"), nil
	}
	return outcome, err
}

// put adds the taint to the node as it was read. The list of taints is atomic, so the whole of it is
// written, and only if nobody has changed the node since.
func (r *responder) put(ctx context.Context, node *corev1.Node) (response.Outcome, error) {
	before := node.Spec.Taints
	if slices.ContainsFunc(before, func(t corev1.Taint) bool { return t.MatchTaint(&r.taint) && t.Value == r.taint.Value }) {
		return response.Outcome{Verdict: response.Unchanged, Reason: response.AlreadySo, Message: "the node already has taint " + r.taint.ToString()}, nil
	}
	after := slices.DeleteFunc(slices.Clone(before), func(t corev1.Taint) bool { return t.MatchTaint(&r.taint) })
	after = append(after, r.taint)
	patch := map[string]any{
		"metadata": map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion},
		"spec":     map[string]any{"taints": after},
	}
	if err := r.client.Merge(ctx, kube.Nodes, "", node.Name, patch, nil); err != nil {
		return response.Outcome{}, err
	}
	return response.Outcome{
		Verdict: response.Applied,
		Message: fmt.Sprintf("tainted node %s with %s", node.Name, r.taint.ToString()),
		Changes: []response.Change{{Field: "spec.taints", Before: orEmpty(before), After: after}},
	}, nil
}

func orEmpty(taints []corev1.Taint) []corev1.Taint {
	if taints == nil {
		return []corev1.Taint{}
	}
	return taints
}
