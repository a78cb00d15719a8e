package function

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/target"
)

func (r *responder) outcome(found *target.Found, done isolation) response.Outcome {
	pod := found.Pod
	o := response.Outcome{
		Verdict: response.Applied,
		Message: fmt.Sprintf("isolated pod %s/%s", pod.Namespace, pod.Name),
		Changes: done.changes,
		Details: map[string]any{"policy": policyName(pod), "residual": done.residual, "notes": r.notes(found)},
	}
	if len(done.changes) == 0 {
		o.Verdict, o.Reason, o.Message = response.Unchanged, response.AlreadySo, "the pod already is isolated"
	}
	if len(done.residual) > 0 {
		names := map[string]bool{}
		for _, x := range done.residual {
			names[x.Policy] = true
		}
		o.Reason = response.ResidualTraffic
		o.Message += "; other policies still allow traffic: " + strings.Join(slices.Sorted(maps.Keys(names)), ", ")
	}
	o.Message = done.note.Told(o.Message)
	return o
}

// notes are what a reader must not take for granted.
func (r *responder) notes(found *target.Found) []string {
	notes := []string{
		"a network plugin that enforces NetworkPolicy is needed; whether it cuts open connections depends on it",
		"the pod's ServiceAccount token stays valid",
	}
	if r.config.Direction != "both" {
		notes = append(notes, "only "+r.config.Direction+" is cut")
	}
	if r.config.Detach && found.OwnedBy("StatefulSet") {
		notes = append(notes, "a StatefulSet makes no replacement while a pod of the same name exists")
	}
	return notes
}
