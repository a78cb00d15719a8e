package function

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/restore"
)

// Released is what was undone of one response on one object, in the outcome's details.released.
type Released struct {
	Object    response.Target    `json:"object"`
	Response  string             `json:"response"`
	AlertID   string             `json:"alert_id"`
	Contained time.Time          `json:"contained"`
	Times     int                `json:"times"`
	Changes   []response.Change  `json:"changes"`
	Conflicts []restore.Conflict `json:"conflicts"`

	alert restore.Alert
}

// failure is an object that was not released, in details.failed and details.refused.
type failure struct {
	Object  response.Target `json:"object"`
	Message string          `json:"message"`
}

// tally is what became of all objects of an event.
type tally struct {
	released []Released
	refused  []failure
	failures []failure
	errs     []error
	// missing is what the one object that was asked for is, instead of released.
	missing *response.Outcome
	// left is how many there was no time for.
	left int
}

func (t *tally) add(r result) {
	switch {
	case r.err != nil:
		t.errs = append(t.errs, r.err)
		t.failures = append(t.failures, failure{r.target(), r.err.Error()})
	case r.declined != nil:
		t.missing = r.declined
		t.missing.Target = r.target()
		t.refused = append(t.refused, failure{r.target(), r.declined.Message})
	}
	for _, u := range r.undone {
		t.released = append(t.released, Released{
			Object: r.target(), Response: u.Name, AlertID: u.Record.Alert.ID, Contained: u.Record.Applied, Times: u.Record.Times,
			Changes: append([]response.Change{}, u.Changes...), Conflicts: append([]restore.Conflict{}, u.Conflicts...), alert: u.Record.Alert,
		})
	}
}

// err is the error to answer with, if one: one that asks for a repeat comes first.
func (t *tally) err() error {
	var picked error
	for _, err := range t.errs {
		if kind := response.KindOf(err); picked == nil || kind == response.Transient || kind == response.Unknown {
			picked = err
		}
	}
	return picked
}

// outcome is the one outcome of the event. Its alert is the most severe of those that led to what was released; its
// target and its changes are of the object that this one was about.
func (t *tally) outcome(want order, now time.Time) (falco.Alert, response.Outcome) {
	if len(t.released) == 0 {
		return t.without(want, now)
	}
	worst := slices.MinFunc(t.released, func(a, b Released) int {
		return cmp.Or(cmp.Compare(a.alert.Priority, b.alert.Priority), b.alert.Time.Compare(a.alert.Time), cmp.Compare(a.Response, b.Response))
	})
	o := response.Outcome{Verdict: response.Applied, Target: worst.Object, Details: t.details()}
	conflicts, objects := 0, map[string]bool{}
	for _, x := range t.released {
		o.Key += x.Object.UID + "/" + x.Response + "/" + x.Contained.UTC().Format(time.RFC3339Nano) + "\n"
		objects[x.Object.Subject()] = true
		conflicts += len(x.Conflicts)
		if x.Object.Subject() == worst.Object.Subject() {
			o.Changes = append(o.Changes, x.Changes...)
		}
	}
	o.Message = "released " + worst.Object.Subject() + " from " + worst.Response
	if more := len(t.released) - 1; more > 0 {
		o.Message = fmt.Sprintf("released %d objects from %d containments, among them %s from %s", len(objects), more+1, worst.Object.Subject(), worst.Response)
	}
	if conflicts > 0 {
		o.Reason = response.Conflict
		o.Message += fmt.Sprintf("; %d fields that somebody else has changed since stay as they are", conflicts)
	}
	if bad := len(t.failures) + t.left; bad > 0 {
		o.Message += fmt.Sprintf("; %d objects are still to be released", bad)
	}
	return worst.alert.Falco(), o
}

// without answers a request that released nothing.
func (t *tally) without(want order, now time.Time) (falco.Alert, response.Outcome) {
	o := nothing("nothing is to be released")
	switch {
	case t.missing != nil && len(t.refused) <= 1:
		o = *t.missing
	case len(t.refused) > 1:
		o = response.Refuse(t.missing.Reason, "none of %d objects was released, the last because %s", len(t.refused), t.missing.Message)
	}
	o.Details = t.details()
	return falco.Alert{
		Rule: "Release requested", Priority: falco.Informational, Source: "riposte", Time: now.UTC(),
		Output: "somebody asked for a release", Fields: falco.Fields{"riposte.event": want.event},
	}, o
}

func nothing(format string, args ...any) response.Outcome {
	return response.Outcome{Verdict: response.Unchanged, Reason: response.NothingToRelease, Message: fmt.Sprintf(format, args...)}
}

// details are those of the outcome; lists that are empty are left out, but for released.
func (t *tally) details() map[string]any {
	slices.SortFunc(t.released, func(a, b Released) int {
		return strings.Compare(a.Object.Subject()+" "+a.Response, b.Object.Subject()+" "+b.Response)
	})
	details := map[string]any{"released": append([]Released{}, t.released...)}
	if len(t.failures) > 0 {
		details["failed"] = t.failures
	}
	if len(t.refused) > 0 {
		details["refused"] = t.refused
	}
	if t.left > 0 {
		details["left"] = t.left
	}
	return details
}
