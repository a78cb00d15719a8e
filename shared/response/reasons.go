package response

import "fmt"

// Reason says in one word why an outcome is what it is. The list is closed, so that
// alerts and dashboards can rely on it; docs/reasons.md is made from it.
type Reason string

// The reasons.
const (
	// The alert itself.

	// Canary: the alert is the marked one of `make doctor`, on which no function acts.
	Canary Reason = "canary"
	// TestRule: the alert is Falcosidekick's own test.
	TestRule Reason = "test-rule"
	// InternalSource: the alert is Falco's, about itself.
	InternalSource Reason = "internal-source"
	// OwnAction: the alert is about what a function of Riposte did; to answer it could go on without an end.
	OwnAction Reason = "own-action"
	// BelowMinPriority: the alert is less severe than MIN_PRIORITY.
	BelowMinPriority Reason = "below-min-priority"
	// TooOld: the alert is older than MAX_ALERT_AGE.
	TooOld Reason = "too-old"
	// FromTheFuture: the alert's time is ahead of this function's clock.
	FromTheFuture Reason = "from-the-future"

	// The target.

	// NoTarget: the alert names no pod; it is about a host, or Falco could not fill the fields.
	NoTarget Reason = "no-target"
	// InvalidTarget: the alert names a pod or namespace that cannot exist.
	InvalidTarget Reason = "invalid-target"
	// Unverified: the alert names a pod and nothing that tells its incarnations apart.
	Unverified Reason = "unverified"
	// Gone: the target does not exist any more.
	Gone Reason = "gone"
	// Replaced: another object has the target's name now.
	Replaced Reason = "replaced"
	// NotScheduled: the pod has no node.
	NotScheduled Reason = "not-scheduled"
	// NoOwner: the pod has no owner.
	NoOwner Reason = "no-owner"

	// Guardrails.

	// ProtectedNamespace: the namespace is one that is never touched.
	ProtectedNamespace Reason = "protected-namespace"
	// ProtectedAnnotation: riposte.dev/protect is "true" on the target, an owner or the namespace.
	ProtectedAnnotation Reason = "protected-annotation"
	// ControlPlaneNode: the node runs the control plane.
	ControlPlaneNode Reason = "control-plane-node"
	// StaticPod: the pod is managed by a kubelet, not by the API server.
	StaticPod Reason = "static-pod"
	// DaemonSetPod: the pod belongs to a DaemonSet and SKIP_DAEMONSETS is on.
	DaemonSetPod Reason = "daemonset-pod"
	// ConditionFalse: WHEN is false.
	ConditionFalse Reason = "condition-false"
	// ConditionError: WHEN could not be evaluated, so it is taken as false.
	ConditionError Reason = "condition-error"
	// Duplicate: the same rule was answered for the same target less than DEDUP_WINDOW ago.
	Duplicate Reason = "duplicate"
	// OverBudget: the function, the target's workload or the cluster has had as many responses as its budget allows.
	OverBudget Reason = "over-budget"
	// Recovered: an earlier attempt at this alert was cut off after it had made the change.
	Recovered Reason = "recovered"

	// Single responses.

	// StandalonePod: the pod has no controller that would recreate it, and SKIP_STANDALONE is on.
	StandalonePod Reason = "standalone-pod"
	// StatefulSetPod: the pod belongs to a StatefulSet and SKIP_STATEFULSETS is on.
	StatefulSetPod Reason = "statefulset-pod"
	// TooFewReplicas: fewer healthy replicas than MIN_HEALTHY_REPLICAS would be left.
	TooFewReplicas Reason = "too-few-replicas"
	// DisruptionBudget: a PodDisruptionBudget forbids the eviction.
	DisruptionBudget Reason = "disruption-budget"
	// HostNetwork: the pod uses its node's network, which no policy can cut for it alone.
	HostNetwork Reason = "host-network"
	// AlreadySo: the target already was as wanted.
	AlreadySo Reason = "already-so"
	// EvidencePartial: the evidence was stored, and some of it could not be had.
	EvidencePartial Reason = "evidence-partial"
	// NoEvidence: the outcome that was to bring the evidence brought none.
	NoEvidence Reason = "no-evidence"
	// NothingToRelease: nothing has expired, or nothing matches what was asked for.
	NothingToRelease Reason = "nothing-to-release"
	// Conflict: somebody else owns the field and holds it at another value.
	Conflict Reason = "conflict"
	// ResidualTraffic: the target was changed, and some traffic is still allowed.
	ResidualTraffic Reason = "residual-traffic"
	// FunctionError: the invoked function reported an error of its own.
	FunctionError Reason = "function-error"
)

// Skip is an outcome without anything to act on.
func Skip(r Reason, format string, args ...any) Outcome {
	return Outcome{Verdict: Skipped, Reason: r, Message: fmt.Sprintf(format, args...)}
}

// Refuse is an outcome that a guardrail or a setting forbade.
func Refuse(r Reason, format string, args ...any) Outcome {
	return Outcome{Verdict: Refused, Reason: r, Message: fmt.Sprintf(format, args...)}
}
