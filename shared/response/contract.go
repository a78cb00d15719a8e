// Package response is the contract of a response and the wrapper every one of them runs in.
//
// A response implements Responder and nothing else: it knows nothing of HTTP, CloudEvents,
// retries, metrics or platforms. The wrapper (Function) decodes the event, runs the
// guardrails, finds and verifies the target, calls Respond once, and turns the outcome
// into an event. Declining to act is not an error, it is an Outcome with a reason; an
// error carries a Kind, from which package serve picks the status.
package response

import (
	"context"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
)

// Responder is one response.
type Responder interface {
	// Respond acts on the alert's target. It must be safe to call again with the same alert.
	// The verified target is in the context: TargetFrom.
	Respond(ctx context.Context, alert falco.Alert) (Outcome, error)
}

// Targeter is a Responder that acts on an object of its own finding. The wrapper calls
// Target before any guardrail that looks at the target, and Respond only if it was found.
type Targeter interface {
	Responder
	// Target finds and verifies the object the alert is about. A non-nil Outcome declines:
	// no such object, another incarnation of it, or a protected one.
	Target(ctx context.Context, alert falco.Alert) (Target, *Outcome, error)
}

// OutcomeResponder is a Responder that also takes the outcomes of other functions:
// notifiers, and responses that follow another one.
type OutcomeResponder interface {
	Responder
	// RespondOutcome acts on what another function did.
	RespondOutcome(ctx context.Context, record Record) (Outcome, error)
}

// Follower is a Targeter that can wait for another function's outcome before it acts on the outcome's alert: delete-pod
// after the evidence. It goes through all guardrails, and shares its claim with the alert that came by itself.
type Follower interface {
	Targeter
	// Follow says whether the outcome is a go-ahead. A non-nil Outcome declines it.
	Follow(ctx context.Context, record Record) *Outcome
}

// Deferrer is a Responder that may not want to act yet. It is asked after the guardrails that look at the alert alone.
type Deferrer interface {
	// Defer is nil where the response may go ahead. The error is a DeferredError with the time to wait. The outcome by
	// which the alert came is in ctx: CauseFrom.
	Defer(ctx context.Context, alert falco.Alert, now time.Time) error
}

// EventResponder is a Responder that also takes events that are neither alerts nor outcomes, such as those of a clock.
type EventResponder interface {
	Responder
	// Types are the event types it takes. The first is the type of a body without an envelope, which is no alert then.
	Types() []string
	// RespondEvent acts on an event. The alert is the one that the outcome is about in the end: the one that led to what is
	// released. A nil Outcome is nothing to publish.
	RespondEvent(ctx context.Context, e Event) (falco.Alert, *Outcome, error)
}

// Announcer is a Responder that tells of its outcomes where the target is: by Kubernetes Events. The wrapper calls it
// beside the completion of the claim. What fails there is logged and changes nothing.
type Announcer interface {
	Announce(ctx context.Context, record Record) error
}

// Verdict is what became of an alert.
type Verdict string

// The verdicts, as they stand in the outcome attribute of the outcome event.
const (
	// Applied: the target was changed.
	Applied Verdict = "applied"
	// Unchanged: the target already was as wanted.
	Unchanged Verdict = "unchanged"
	// Skipped: there was nothing to act on (host alert, pod gone, pod replaced).
	Skipped Verdict = "skipped"
	// Refused: a guardrail or a setting forbade it.
	Refused Verdict = "refused"
	// DryRun: everything was done but the change itself.
	DryRun Verdict = "dryrun"
	// Failed: it was attempted and did not work, and trying again would not help.
	Failed Verdict = "failed"
)

// Outcome is what a response did about one alert.
type Outcome struct {
	Verdict Verdict
	// Reason is one word of the closed list in reasons.go; empty where Applied needs none.
	Reason Reason
	// Message is one sentence for people.
	Message string
	// Target is what was acted on. Left zero, the wrapper fills in the verified target.
	Target Target
	// Changes are the fields changed, before and after.
	Changes []Change
	// Details are facts that belong to one response, under its own keys.
	Details map[string]any
	// Key tells outcomes of one function about the same alert and target apart, where there can be several; it goes into
	// the event's id.
	Key string
	// Repeat says that an outcome like it was told of just before: notifiers leave it out.
	Repeat bool
}

// Change is one field of the target, before and after.
type Change struct {
	// Field is a path in the target: metadata.labels[app], spec.taints.
	Field  string `json:"field"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// Target is the object acted on, as it was read.
type Target struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	UID       string `json:"uid,omitempty"`
	// Resource is the plural in paths: pods, nodes, deployments.
	Resource string `json:"resource,omitempty"`
	// Workload is what the target is one replica of; zero where it is nobody's.
	Workload Workload `json:"-"`
	// Facts is what WHEN can test, as plain maps, lists and scalars.
	Facts map[string]any `json:"-"`
	// Object is the API object the target was made from.
	Object any `json:"-"`
}

// Subject is the target as the subject of the outcome event: namespaces/shop/pods/cart-0, nodes/n1.
func (t Target) Subject() string {
	resource := t.Resource
	if resource == "" {
		resource = t.Kind
	}
	switch {
	case t.Name == "":
		return ""
	case t.Namespace == "":
		return resource + "/" + t.Name
	default:
		return "namespaces/" + t.Namespace + "/" + resource + "/" + t.Name
	}
}

// Workload is the controller that a target belongs to, for the budget.
type Workload struct {
	// Key names it: Deployment/shop/cart.
	Key string
	// Ready is how many of its replicas are ready.
	Ready int
}

type causeKey struct{}

// CauseFrom is the outcome that a Follower goes by; nil where the alert came by itself.
func CauseFrom(ctx context.Context) *Record {
	r, _ := ctx.Value(causeKey{}).(*Record)
	return r
}

type targetKey struct{}

// WithTarget puts the verified target into the context of Respond.
func WithTarget(ctx context.Context, t Target) context.Context {
	return context.WithValue(ctx, targetKey{}, t)
}

// TargetFrom is the verified target; the zero Target outside of Respond.
func TargetFrom(ctx context.Context) Target {
	t, _ := ctx.Value(targetKey{}).(Target)
	return t
}
