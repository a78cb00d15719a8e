package restore

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
)

// Undone is what undoing one record does to the object.
type Undone struct {
	Name   string
	Record Record
	// Changes are the fields put back, before and after.
	Changes []response.Change
	// Conflicts are the fields that somebody else has changed since: they stay.
	Conflicts []Conflict
}

// Conflict is a field that is neither as Riposte left it nor as Riposte found it.
type Conflict struct {
	Field string `json:"field"`
	// Ours is what Riposte left, Theirs what is there now, Before what Riposte would have put back.
	Ours   any `json:"ours"`
	Theirs any `json:"theirs"`
	Before any `json:"before"`
}

// Plan is what a release does to one object.
type Plan struct {
	Undone []Undone
	// Policy says that isolate's policy goes.
	Policy bool
	// Patch is a JSON merge patch with the object's UID and version as preconditions.
	Patch map[string]any
	// Keep is what stays of the marks: other records need them.
	Keep Note
}

// Plan undoes the records that which chooses. It puts a field back only if it still is as the record left it. A field that
// another, later record has changed since is that one's to put back: it then puts back what this one found, so that records
// can be released in any order. Plan is nil if none is chosen.
func (k Keys) Plan(o *Object, which func(Record) bool) (*Plan, error) {
	records, _ := k.Records(o)
	u := &undoing{object: o, working: workingCopy(o), records: records, out: map[string]*Undone{}, touched: map[string]bool{}}
	for name, r := range records {
		if which(r) {
			u.out[name] = &Undone{Name: name, Record: r}
		}
	}
	if len(u.out) == 0 {
		return nil, nil //nolint:nilnil // Nothing chosen: said so above.
	}
	plan := &Plan{}
	for _, s := range u.steps() {
		if strings.HasPrefix(s.change.Field, policyPath) {
			plan.Policy = true
			continue
		}
		if err := u.undo(s); err != nil {
			return nil, fmt.Errorf("undo %s: %w", s.name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.out)) {
		plan.Undone = append(plan.Undone, *u.out[name])
		delete(u.records, name)
	}
	return plan, u.finish(k, plan)
}

// undoing is a plan in the making.
type undoing struct {
	object  *Object
	working *working
	// records are all that are believed; in the end those that stay.
	records map[string]Record
	out     map[string]*Undone
	// touched are records that stay and now say something else.
	touched map[string]bool
}

// step is one change of a chosen record.
type step struct {
	name   string
	change Change
}

// steps are the changes of the chosen records, the latest first.
func (u *undoing) steps() []step {
	var all []step
	for name := range u.out {
		for _, c := range u.records[name].Changes {
			all = append(all, step{name, c})
		}
	}
	slices.SortFunc(all, func(a, b step) int {
		if d := b.change.At.Compare(a.change.At); d != 0 {
			return d
		}
		return strings.Compare(a.name+a.change.Field, b.name+b.change.Field)
	})
	return all
}

func (u *undoing) undo(s step) error {
	f, err := parseField(s.change.Field)
	if err != nil {
		return err
	}
	c, out, now := s.change, u.out[s.name], u.working.value(f)
	switch {
	case u.handOver(c):
	case same(now, c.After):
		out.Changes = append(out.Changes, response.Change{Field: c.Field, Before: now, After: c.Before})
		return u.working.set(f, c.Before)
	case same(now, c.Before):
	default:
		out.Conflicts = append(out.Conflicts, Conflict{Field: c.Field, Ours: c.After, Theirs: now, Before: c.Before})
	}
	return nil
}

// handOver gives the value to put back to a record that stays and has found what this one left, if there is one.
func (u *undoing) handOver(c Change) bool {
	for _, other := range slices.Sorted(maps.Keys(u.records)) {
		if _, chosen := u.out[other]; chosen { // Undone already, if it is the later one.
			continue
		}
		for i, d := range u.records[other].Changes {
			if d.Field == c.Field && d.At.After(c.At) && same(d.Before, c.After) {
				u.records[other].Changes[i].Before = c.Before
				u.touched[other] = true
				return true
			}
		}
	}
	return false
}

// finish writes the patch.
func (u *undoing) finish(k Keys, plan *Plan) error {
	annotations := map[string]any{}
	for _, done := range plan.Undone {
		annotations[Prefix+done.Name] = nil
	}
	for name := range u.touched {
		r := u.records[name]
		r.Changes = slices.DeleteFunc(slices.Clone(r.Changes), func(c Change) bool { return same(c.Before, c.After) })
		text, err := k.Seal(r)
		if err != nil {
			return err
		}
		annotations[Prefix+name] = text
	}
	plan.Keep = u.keep(plan)
	labels := difference(u.object.Labels, u.working.labels)
	if _, marked := u.object.Labels[Contained]; marked && plan.Keep.Labels == nil {
		labels[Contained] = nil
	}
	if at, has := u.object.Annotations[ReleaseAt]; has && plan.Keep.Annotations == nil {
		annotations[ReleaseAt] = nil
	} else if want := plan.Keep.Annotations[ReleaseAt]; want != at {
		annotations[ReleaseAt] = want
	}
	metadata := map[string]any{"uid": u.object.UID, "resourceVersion": u.object.ResourceVersion, "annotations": annotations}
	if len(labels) > 0 {
		metadata["labels"] = labels
	}
	plan.Patch = map[string]any{"metadata": metadata}
	if !slices.Equal(u.object.Spec.Taints, u.working.taints) {
		var taints any // the list is atomic, and an empty one is none
		if len(u.working.taints) > 0 {
			taints = u.working.taints
		}
		plan.Patch["spec"] = map[string]any{"taints": taints}
	}
	return nil
}

// keep are the marks that records which stay need. One that is not believed now may be tomorrow, with another key.
func (u *undoing) keep(plan *Plan) Note {
	if len(u.object.Names()) == len(plan.Undone) {
		return Note{}
	}
	note := Note{Labels: map[string]string{Contained: "true"}}
	if at := earliest(u.records); at != nil {
		note.Annotations = map[string]string{ReleaseAt: moment(*at)}
	}
	return note
}

// difference is the merge patch from one set of labels to another.
func difference(from, to map[string]string) map[string]any {
	patch := map[string]any{}
	for key := range from {
		if _, stays := to[key]; !stays {
			patch[key] = nil
		}
	}
	for key, value := range to {
		if old, had := from[key]; !had || old != value {
			patch[key] = value
		}
	}
	return patch
}

// earliest is when the first of the records is due; nil is never.
func earliest(records map[string]Record) *time.Time {
	var first *time.Time
	for _, r := range records {
		if r.ReleaseAt != nil && (first == nil || r.ReleaseAt.Before(*first)) {
			first = r.ReleaseAt
		}
	}
	return first
}

// moment is a time as an annotation.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
