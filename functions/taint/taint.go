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

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// Config are the settings of taint.
type Config struct {
	TaintKey string `env:"TAINT_KEY" envDefault:"falco/alert" help:"Key of the taint."`
	Value    string `env:"TAINT_VALUE" envDefault:"true" help:"Value of the taint."`
	Effect   string `env:"TAINT_EFFECT" envDefault:"NoSchedule" oneof:"NoSchedule,PreferNoSchedule,NoExecute" help:"What the taint does to pods that do not tolerate it."`
	restore.Terms
	kube.Settings
}

// Validate checks key and value as the API server would.
func (c Config) Validate() error {
	if err := c.Terms.Validate(); err != nil {
		return err
	}
	if problems := validation.IsQualifiedName(c.TaintKey); len(problems) > 0 {
		return fmt.Errorf("TAINT_KEY is %q: %s", c.TaintKey, problems[0])
	}
	if problems := validation.IsValidLabelValue(c.Value); len(problems) > 0 {
		return fmt.Errorf("TAINT_VALUE is %q: %s", c.Value, problems[0])
	}
	if c.TTL > 0 && restore.Reserved(c.TaintKey) && !c.Key.IsSet() {
		return fmt.Errorf("TAINT_KEY is %q, which Kubernetes reserves, and TTL is %s: want RESTORE_KEY, without which release does not touch such a taint", c.TaintKey, c.TTL)
	}
	return c.Settings.Validate()
}

type responder struct {
	*target.PodFinder
	taint   api.Taint
	client  *kube.Client
	records *restore.Writer
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	client, err := kube.Connect(c.Settings, common, "riposte-taint")
	if err != nil {
		return nil, err
	}
	return &responder{
		PodFinder: target.NewPodFinder(client, c.Settings, target.LevelNode),
		taint:     api.Taint{Key: c.TaintKey, Value: c.Value, Effect: c.Effect},
		client:    client,
		records:   restore.NewWriter(restore.TaintName(c.TaintKey, c.Effect), c.Terms, common.Store),
	}, nil
}

// Techniques implements response.Defender.
func (*responder) Techniques() []response.Technique {
	return []response.Technique{response.ExecutionIsolation}
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	return r.Try(ctx, func(found *target.Found) (response.Outcome, error) { return r.put(ctx, found.Node, alert) })
}

// put adds the taint to the node as it was read, and writes down how to undo it. The list of taints is atomic, so the whole
// of it is written, and only if nobody has changed the node since. The others keep their places.
func (r *responder) put(ctx context.Context, node *api.Node, alert falco.Alert) (response.Outcome, error) {
	before := node.Spec.Taints
	after := slices.Clone(before)
	change := response.Change{Field: restore.TaintField(r.taint), After: r.taint}
	switch i := slices.IndexFunc(before, func(t api.Taint) bool { return t.MatchTaint(r.taint) }); {
	case i < 0:
		after = append(after, r.taint)
	case before[i].Value == r.taint.Value:
		return response.Outcome{Verdict: response.Unchanged, Reason: response.AlreadySo, Message: "the node already has taint " + r.taint.String()}, nil
	default:
		change.Before, after[i] = before[i], r.taint
	}
	object := &restore.Object{TypeMeta: metav1.TypeMeta{Kind: "Node"}, ObjectMeta: node.ObjectMeta}
	note, err := r.records.Note(ctx, object, alert, []response.Change{change})
	if err != nil {
		return response.Outcome{}, err
	}
	patch := map[string]any{
		"metadata": map[string]any{"uid": node.UID, "resourceVersion": node.ResourceVersion, "labels": note.Labels, "annotations": note.Annotations},
		"spec":     map[string]any{"taints": after},
	}
	if err := r.client.Merge(ctx, kube.Nodes, "", node.Name, patch, nil); err != nil {
		return response.Outcome{}, err
	}
	return response.Outcome{
		Verdict: response.Applied,
		Message: note.Told(fmt.Sprintf("tainted node %s with %s", node.Name, r.taint.String())),
		Changes: []response.Change{{Field: "spec.taints", Before: orEmpty(before), After: after}},
	}, nil
}

func orEmpty(taints []api.Taint) []api.Taint {
	if taints == nil {
		return []api.Taint{}
	}
	return taints
}
