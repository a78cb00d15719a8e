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

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/target"
)

// Config are the settings of label.
type Config struct {
	Labels Labels       `env:"LABELS" required:"true" help:"Labels to set (key=value) and to remove (key-)."`
	Level  target.Level `env:"LEVEL" envDefault:"pod" oneof:"pod,node,namespace,owner" help:"Which object gets the labels; owner is the topmost controller."`
	Force  bool         `env:"FORCE" envDefault:"false" help:"Overwrite a label that somebody else holds at another value."`
	restore.Terms
	kube.Settings
}

// Validate checks what the types do not.
func (c Config) Validate() error {
	if err := c.Terms.Validate(); err != nil {
		return err
	}
	if key := c.Labels.reserved(); key != "" && c.Level == target.LevelNode && c.TTL > 0 && !c.Key.IsSet() {
		return fmt.Errorf("LABELS has %s, which Kubernetes reserves on nodes, and TTL is %s: want RESTORE_KEY, without which release does not touch such a label", key, c.TTL)
	}
	return c.Settings.Validate()
}

type responder struct {
	*target.PodFinder
	config  Config
	client  *kube.Client
	records *restore.Writer
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	client, err := kube.Connect(c.Settings, common, c.Labels.manager())
	if err != nil {
		return nil, err
	}
	records := restore.NewWriter(c.Labels.record(), c.Terms, common.Store)
	return &responder{target.NewPodFinder(client, c.Settings, c.Level), c, client, records}, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	w := &writing{responder: r, target: response.TargetFrom(ctx), alert: alert}
	return r.Try(ctx, func(found *target.Found) (response.Outcome, error) { return w.label(ctx, found) })
}

// changes are the labels that differ from what is wanted, before and after.
func (l Labels) changes(before map[string]string) []response.Change {
	var changes []response.Change
	for _, key := range slices.Sorted(maps.Keys(l.set)) {
		if value, ok := before[key]; !ok {
			changes = append(changes, response.Change{Field: restore.LabelField(key), After: l.set[key]})
		} else if value != l.set[key] {
			changes = append(changes, response.Change{Field: restore.LabelField(key), Before: value, After: l.set[key]})
		}
	}
	for _, key := range l.remove {
		if value, ok := before[key]; ok {
			changes = append(changes, response.Change{Field: restore.LabelField(key), Before: value})
		}
	}
	return changes
}
