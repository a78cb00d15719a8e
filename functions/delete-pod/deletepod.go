// Package function is delete-pod: it deletes or evicts the pod that raised the alert, so that
// its controller brings up a clean one.
//
// It acts on the one pod that shared/kube has found and verified, with the pod's UID as a
// precondition: a pod of the same name that came up in between stays alive. It declines pods
// that nothing would recreate, pods of StatefulSets if told so, and deletions that would leave
// fewer healthy replicas than wanted. A deletion cannot be undone: with REQUIRE_EVIDENCE it comes after the evidence.
package function

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/target"
)

// Config are the settings of delete-pod.
type Config struct {
	Method           string        `env:"METHOD" envDefault:"delete" oneof:"delete,evict,evict-then-delete" help:"Eviction honours PodDisruptionBudgets; evict-then-delete deletes when one still forbids it after EVICT_TIMEOUT."`
	GracePeriod      time.Duration `env:"GRACE_PERIOD" envDefault:"0s" help:"Time the pod gets to end by itself, in whole seconds; 0s kills at once."`
	EvictTimeout     time.Duration `env:"EVICT_TIMEOUT" envDefault:"10s" help:"How long an eviction that a PodDisruptionBudget forbids is tried again."`
	SkipStatefulSets bool          `env:"SKIP_STATEFULSETS" envDefault:"false" help:"Refuse pods of StatefulSets."`
	SkipStandalone   bool          `env:"SKIP_STANDALONE" envDefault:"true" help:"Refuse pods without a controller: nothing would recreate them."`
	MinHealthy       Replicas      `env:"MIN_HEALTHY_REPLICAS" help:"Healthy replicas of the owner that must be left after the deletion."`
	waiting
	kube.Settings
}

// Validate checks what the types do not.
func (c Config) Validate() error {
	if c.GracePeriod < 0 || c.GracePeriod%time.Second != 0 {
		return fmt.Errorf("GRACE_PERIOD is %q: want whole seconds, not negative", c.GracePeriod)
	}
	if c.EvictTimeout < 0 {
		return fmt.Errorf("EVICT_TIMEOUT is %q: want a duration that is not negative", c.EvictTimeout)
	}
	return errors.Join(c.waiting.Validate(), c.Settings.Validate())
}

type responder struct {
	*target.PodFinder
	config Config
	client *kube.Client
	dryRun bool
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	if c.EvictTimeout >= common.Timeout {
		return nil, fmt.Errorf("EVICT_TIMEOUT is %q: want less than RESPONSE_TIMEOUT, %q", c.EvictTimeout, common.Timeout)
	}
	client, err := kube.Connect(c.Settings, common, "riposte-delete-pod")
	if err != nil {
		return nil, err
	}
	return &responder{target.NewPodFinder(client, c.Settings, target.LevelPod), c, client, common.DryRun}, nil
}

// Techniques implements response.Defender.
func (*responder) Techniques() []response.Technique {
	return []response.Technique{response.ProcessTermination}
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, _ falco.Alert) (response.Outcome, error) {
	o, err := r.respond(ctx, target.FoundFrom(ctx))
	if err != nil {
		return response.Outcome{}, err
	}
	return r.witnessed(ctx, o), nil
}

func (r *responder) respond(ctx context.Context, found *target.Found) (response.Outcome, error) {
	if o := r.decline(found); o != nil {
		return *o, nil
	}
	method, err := r.remove(ctx, found)
	switch {
	case apierrors.IsNotFound(err):
		return response.Skip(response.Gone, "the pod went away by itself"), nil
	case kube.IsReplaced(err):
		return response.Skip(response.Replaced, "another pod has taken the name since"), nil
	case overBudget(err) && r.config.Method == "evict":
		return response.Refuse(response.DisruptionBudget, "a PodDisruptionBudget forbids the eviction, for %s now", r.config.EvictTimeout), nil
	case err != nil:
		return response.Outcome{}, err
	}
	return response.Outcome{
		Verdict: response.Applied,
		Message: fmt.Sprintf("%s pod %s/%s", method, found.Pod.Namespace, found.Pod.Name),
		Changes: []response.Change{{Field: "metadata.deletionTimestamp", Before: found.Pod.DeletionTimestamp, After: method}},
	}, nil
}

// decline is what keeps the pod alive.
func (r *responder) decline(found *target.Found) *response.Outcome {
	var o response.Outcome
	switch {
	case found.OwnedBy("StatefulSet") && r.config.SkipStatefulSets:
		o = response.Refuse(response.StatefulSetPod, "the pod belongs to a StatefulSet and SKIP_STATEFULSETS is true")
	case metav1.GetControllerOf(found.Pod) == nil && r.config.SkipStandalone:
		o = response.Refuse(response.StandalonePod, "no controller would recreate the pod and SKIP_STANDALONE is true")
	case found.Pod.DeletionGracePeriodSeconds != nil && *found.Pod.DeletionGracePeriodSeconds <= r.seconds():
		o = response.Outcome{Verdict: response.Unchanged, Reason: response.AlreadySo, Message: "the pod is already being deleted"}
	default:
		return r.config.MinHealthy.check(found)
	}
	return &o
}

func (r *responder) seconds() int64 { return int64(r.config.GracePeriod / time.Second) }

// remove deletes or evicts, and says which it was.
func (r *responder) remove(ctx context.Context, found *target.Found) (string, error) {
	uid, seconds := types.UID(found.Pod.UID), r.seconds()
	options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, GracePeriodSeconds: &seconds}
	if r.config.Method != "delete" {
		err := r.evict(ctx, found, options)
		if r.config.Method == "evict" || !overBudget(err) {
			return "evicted", err
		}
	}
	return "deleted", r.client.Delete(ctx, kube.Pods, found.Pod.Namespace, found.Pod.Name, options)
}

// evict tries again for EVICT_TIMEOUT while a PodDisruptionBudget forbids it. The time bounds the attempts, not a
// request under way: the API server may have carried that out.
func (r *responder) evict(ctx context.Context, found *target.Found, options metav1.DeleteOptions) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, r.config.EvictTimeout, true, func(context.Context) (bool, error) {
		last = r.client.Evict(ctx, found.Pod.Namespace, found.Pod.Name, options)
		return !overBudget(last), nil
	})
	if err != nil && ctx.Err() != nil {
		return err
	}
	return last
}

// overBudget tells the 429 of a PodDisruptionBudget from that of an API server that has too much to do.
func overBudget(err error) bool {
	// A pod under two budgets cannot be evicted at all. The API server says so with a 500 and these words only.
	return (apierrors.IsTooManyRequests(err) && apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause)) ||
		(err != nil && strings.Contains(err.Error(), "more than one PodDisruptionBudget"))
}
