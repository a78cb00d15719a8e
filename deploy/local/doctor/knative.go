package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/kube"
)

// The resources of Knative that the doctor deals with.
const (
	triggers kube.Resource = "apis/eventing.knative.dev/v1/triggers"
	brokers  kube.Resource = "apis/eventing.knative.dev/v1/brokers"
)

const (
	// stale is the age from which the Triggers of another run are left behind by it.
	stale = 10 * time.Minute
	poll  = 200 * time.Millisecond
	// settling is how long a Broker or Trigger may be not ready: Knative takes a condition back for a moment when one of its
	// parts is looked at anew.
	settling = 3 * time.Second
)

// Knative taps a Broker by Triggers in its namespace.
type Knative struct {
	Client    *kube.Client
	Namespace string
	// Broker and Trigger are the names of the Broker, and of the Trigger that brings the canary to its function.
	Broker, Trigger string
	Now             func() time.Time

	made []string
}

// object is what the doctor reads of a Broker or Trigger.
type object struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		Conditions []struct{ Type, Status, Reason, Message string } `json:"conditions"`
	} `json:"status"`
}

// ready says whether Knative has it ready, and if not, why.
func (o object) ready() (bool, string) {
	why := "Knative has not looked at it yet"
	for _, c := range o.Status.Conditions {
		if c.Type == "Ready" {
			if c.Status == "True" {
				return true, ""
			}
			if c.Reason != "" || c.Message != "" {
				why = c.Reason + ": " + c.Message
			}
		}
	}
	return false, why
}

// Open looks whether the Broker and the canary's Trigger are ready, removes what earlier runs have left behind, and
// makes the taps.
func (k *Knative) Open(ctx context.Context, taps []Tap) error {
	if err := k.check(ctx, brokers, "Broker", k.Broker, "kubectl apply -k deploy/knative/brokers/CLASS"); err != nil {
		return err
	}
	if err := k.check(ctx, triggers, "Trigger", k.Trigger, "kubectl apply -f triggers/canary.yaml"); err != nil {
		return err
	}
	if err := k.sweep(ctx); err != nil {
		return err
	}
	for _, tap := range taps {
		// Noted first: a request whose answer is lost may have made it.
		k.made = append(k.made, tap.Name)
		if err := k.Client.Create(ctx, triggers, k.Namespace, tap.Manifest(k.Namespace, k.Broker)); err != nil {
			return denied(err)
		}
	}
	for _, tap := range taps {
		ok, why, err := k.await(ctx, triggers, tap.Name)
		if err != nil {
			return denied(err)
		}
		if !ok {
			return &Problem{
				Detail: fmt.Sprintf("the doctor's own Trigger %s did not become ready in time: %s", tap.Name, why),
				Look:   fmt.Sprintf("the log of the Broker's controller, and whether other Triggers become ready: kubectl -n %s get trigger", k.Namespace),
			}
		}
	}
	return nil
}

// check says what is wrong with a part of the way that must be there before the alert is sent.
func (k *Knative) check(ctx context.Context, r kube.Resource, kind, name, cure string) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	ok, why, err := k.await(ctx, r, name)
	switch {
	case apierrors.IsNotFound(err):
		return &Problem{Detail: fmt.Sprintf("there is no %s %s in the namespace %s", kind, name, k.Namespace), Look: cure}
	case err != nil:
		return denied(err)
	case !ok:
		return &Problem{
			Detail: fmt.Sprintf("%s %s is not ready: %s", kind, name, why),
			Look:   fmt.Sprintf("kubectl -n %s describe %s", k.Namespace, r.Plural()+"/"+name),
		}
	}
	return nil
}

// await waits until an object is ready. Where that takes longer than the context, it says why.
func (k *Knative) await(ctx context.Context, r kube.Resource, name string) (ok bool, why string, err error) {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		var o object
		if err := k.Client.Get(ctx, r, k.Namespace, name, &o); err != nil {
			if ctx.Err() != nil && why != "" { // The time was up in the middle of a look.
				return false, why, nil
			}
			return false, "", err
		}
		if ok, why = o.ready(); ok {
			return true, "", nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false, why, nil
		}
	}
}

// denied says which right the doctor needs where it has none.
func denied(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return &Problem{Detail: err.Error(), Look: "the doctor's rights: get of brokers; get, list, create and delete of triggers (docs/doctor.md)"}
	}
	return err
}

// sweep removes the Triggers of runs that were killed.
func (k *Knative) sweep(ctx context.Context) error {
	var list struct {
		Items []object `json:"items"`
	}
	if err := k.Client.List(ctx, triggers, k.Namespace, &list); err != nil {
		return denied(err)
	}
	for _, o := range list.Items {
		if o.Metadata.Labels[Label] != "true" || k.Now().Sub(o.Metadata.CreationTimestamp.Time) < stale {
			continue
		}
		if err := k.remove(ctx, o.Metadata.Name); err != nil {
			return denied(err)
		}
	}
	return nil
}

// Close removes the Triggers of this run.
func (k *Knative) Close(ctx context.Context) error {
	var errs []error
	for _, name := range k.made {
		if err := k.remove(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("%w (kubectl -n %s delete trigger %s)", err, k.Namespace, name))
		}
	}
	k.made = nil
	return errors.Join(errs...)
}

func (k *Knative) remove(ctx context.Context, name string) error {
	err := k.Client.Delete(ctx, triggers, k.Namespace, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
