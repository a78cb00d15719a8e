// Package function is release: it undoes what isolate, taint and label did to an object, by the restore record they left
// there, and nothing else. A field that somebody else has changed since stays as it is; the outcome says both values.
//
// It takes two events. A tick (dev.knative.sources.ping, or any body without an envelope) releases everything whose time
// has come, and says nothing where that is nothing. A request (dev.riposte.release.v1) releases at once what it names.
// An alert is neither.
//
// Records are annotations, and whoever may patch the object may write one, so they are checked: release only ever touches
// what the response that is named could have changed, and nothing that is protected. Without RESTORE_KEY somebody who may
// write the record can bring the release forward.
package function

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/target"
)

// Config are the settings of release.
type Config struct {
	Levels       config.List   `env:"LEVELS" envDefault:"pod,node" help:"Which objects may be released, of pod, node, namespace and owner; the last two need their roles of rbac.yaml."`
	Selector     string        `env:"SELECTOR" help:"Label selector of the objects that may be released, such as team=red; unset is all."`
	Key          config.Secret `env:"RESTORE_KEY" help:"Key that signs restore records, that of isolate, taint and label; records without its signature are not believed."`
	Kubeconfig   string        `env:"KUBECONFIG" help:"Path of a kubeconfig; unset means the ServiceAccount of the pod."`
	Cluster      string        `env:"KUBE_CLUSTER" help:"An EKS cluster instead of a kubeconfig: eks:NAME, or eks: and its ARN; the function's AWS role is who it is there."`
	Namespaces   config.List   `env:"PROTECTED_NAMESPACES" help:"Namespaces protected beside the built-in ones; * matches any part of a name."`
	OwnNamespace string        `env:"POD_NAMESPACE" help:"The function's own namespace, always protected; unset means that of its ServiceAccount."`
}

func (c Config) kube() kube.Settings {
	return kube.Settings{Kubeconfig: c.Kubeconfig, Cluster: c.Cluster, Protection: guard.Protection{Namespaces: c.Namespaces, OwnNamespace: c.OwnNamespace}}
}

// Validate checks what the types do not.
func (c Config) Validate() error {
	for _, level := range c.Levels {
		if len(resourcesOf(target.Level(level))) == 0 {
			return fmt.Errorf("LEVELS has %q: want pod, node, namespace or owner", level)
		}
	}
	if _, err := labels.Parse(c.Selector); err != nil {
		return fmt.Errorf("SELECTOR is %q: want a label selector such as team=red (%w)", c.Selector, err)
	}
	if _, err := restore.ReadKeys(c.Key); err != nil {
		return err
	}
	return c.kube().Validate()
}

// The types of the events it takes.
const (
	TypeTick    = "dev.knative.sources.ping"
	TypeRequest = "dev.riposte.release.v1"
)

type responder struct {
	*target.Announcer

	config   Config
	selector labels.Selector
	client   *kube.Client
	watchman *target.Watchman
	// store remembers who was released; nil is nowhere.
	store store.Store
	// reserve is the part of an event's time that is kept for the answer.
	reserve time.Duration
	now     func() time.Time
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	client, err := kube.Connect(c.kube(), common, "riposte-release")
	if err != nil {
		return nil, err
	}
	selector, err := labels.Parse(c.Selector)
	if err != nil {
		return nil, fmt.Errorf("SELECTOR is %q: %w", c.Selector, err)
	}
	return &responder{
		Announcer: target.NewAnnouncer(client), config: c, selector: selector, client: client, watchman: target.NewWatchman(client, c.kube()),
		store: common.Store, reserve: common.Timeout / 5, now: time.Now,
	}, nil
}

// Types implements response.EventResponder.
func (r *responder) Types() []string { return []string{TypeTick, TypeRequest} }

// Respond implements response.Responder. No alert ever comes here: Types has none.
func (r *responder) Respond(context.Context, falco.Alert) (response.Outcome, error) {
	return response.Outcome{}, response.InvalidError(errors.New("release answers no alerts"))
}

// RespondEvent implements response.EventResponder.
func (r *responder) RespondEvent(ctx context.Context, e response.Event) (falco.Alert, *response.Outcome, error) {
	want, err := r.order(e)
	if err != nil {
		return falco.Alert{}, nil, response.InvalidError(err)
	}
	objects, missing, err := r.find(ctx, want)
	if err != nil {
		return falco.Alert{}, nil, err
	}
	t := &tally{missing: missing, failures: []failure{}}
	for i, found := range objects {
		if i > 0 && r.late(ctx) {
			t.left = len(objects) - i
			break
		}
		t.add(r.lift(ctx, found, want))
	}
	// What was released is told of, whatever else failed: the next tick tries that again. Where nothing was, the event
	// itself is to come again.
	if err := t.err(); err != nil && len(t.released) == 0 {
		return falco.Alert{}, nil, err
	}
	if want.tick && len(t.released) == 0 {
		return falco.Alert{}, nil, nil
	}
	alert, o := t.outcome(want, r.now())
	return alert, &o, nil
}

// late says whether what is left of the time is needed for the answer.
func (r *responder) late(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < r.reserve
}

// resourcesOf are the resources of a level.
func resourcesOf(level target.Level) []kube.Resource {
	return map[target.Level][]kube.Resource{
		target.LevelPod: {kube.Pods}, target.LevelNode: {kube.Nodes}, target.LevelNamespace: {kube.Namespaces},
		target.LevelOwner: {kube.Deployments, kube.ReplicaSets, kube.StatefulSets, kube.DaemonSets, kube.Jobs, kube.CronJobs},
	}[level]
}

// resources are those of all levels that may be released.
func (r *responder) resources() []kube.Resource {
	var all []kube.Resource
	for _, level := range r.config.Levels {
		all = append(all, resourcesOf(target.Level(level))...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
