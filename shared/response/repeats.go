package response

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/riposte-dev/riposte/shared/claim"
)

// brief is how long other alerts are duplicates of one that was declined: things may be otherwise soon, but a flood of
// alerts about a pod that is not to be touched must not make a flood of claims.
const brief = 10 * time.Second

// lasts is how long other alerts of the same rule and target are duplicates of the one with this outcome.
func (r Repeats) lasts(record *Record) time.Duration {
	if record.Outcome == Refused || record.Outcome == Skipped {
		return min(brief, r.Window)
	}
	return r.Window
}

// answer is what a repeat gets: the outcome of the same event as it was, or that it is another event's duplicate.
func (h *handling) answer(state *claim.State) (*Record, error) {
	record, err := DecodeRecord(state.Outcome)
	if err != nil { // Somebody has written into it. What was done must not be done again for that.
		return nil, PermanentError(fmt.Errorf("the claim of alert %s is complete and its outcome cannot be read: %w", state.Event, err))
	}
	if state.Event == h.eventID {
		h.f.recent.put(h.eventKey, &record, len(state.Outcome), state.Done.Add(h.f.Repeats.Keep))
		return &record, nil
	}
	h.f.recent.put(h.refKey(), &record, len(state.Outcome), state.Done.Add(h.f.Repeats.lasts(&record)))
	return h.duplicate(&record), nil
}

// duplicate says which alert was answered in place of this one.
func (h *handling) duplicate(first *Record) *Record {
	o := Skip(Duplicate, "%s answered alert %s of this rule on this target less than %s ago", h.f.Name, first.AlertID, h.f.Repeats.lasts(first))
	o.Details = map[string]any{"first": map[string]any{"id": first.ID, "alert_id": first.AlertID, "outcome": first.Outcome}}
	if first.Target != nil {
		o.Target = *first.Target
	}
	return h.record(o)
}

// recalled answers a repeat from memory alone. An alert that is older than the one it may be a duplicate of may have been
// answered before that, and by another process: that one is given then.
func (h *handling) recalled() (answer, before *Record) {
	if h.f.Repeats.Claims == nil {
		return nil, nil
	}
	now := h.f.Now()
	if h.again = h.f.recent.get(h.eventKey, now); h.again != nil {
		return h.again.record, nil
	}
	switch first := h.f.recent.get(h.refKey(), now); {
	case first == nil:
		return nil, nil
	case h.alert.Time.After(first.record.Alert.Time):
		return h.duplicate(first.record), nil
	default:
		return nil, first.record
	}
}

// remembered answers a repeat from memory, or from the store where that is not enough.
func (h *handling) remembered(ctx context.Context) (*Record, error) {
	answer, before := h.recalled()
	if before == nil {
		return answer, nil
	}
	state, err := h.f.Repeats.Claims.Look(ctx, h.eventKey)
	if err != nil {
		return nil, err
	}
	if state.Complete() {
		return h.answer(state)
	}
	return h.duplicate(before), nil
}

// deferred answers an alert that is to wait, unless it was answered meanwhile by what it waits for.
func (h *handling) deferred(ctx context.Context, wait error) (*Record, error) {
	if h.f.Repeats.Claims == nil {
		return nil, wait
	}
	state, err := h.f.Repeats.Claims.Look(ctx, h.eventKey)
	switch {
	case err != nil:
		return nil, err
	case state.Complete():
		return h.answer(state)
	}
	return nil, wait
}

// missing answers where the target is not there any more, perhaps because this very alert was answered.
func (h *handling) missing(ctx context.Context, declined Outcome, target Target) (*Record, error) {
	plain := h.record(h.declined("protected", declined, target))
	if h.f.Repeats.Claims == nil || declined.Reason != Gone && declined.Reason != Replaced {
		return plain, nil
	}
	if record, err := h.remembered(ctx); record != nil || err != nil { // Told of while the target was looked for.
		return record, err
	}
	state, err := h.f.Repeats.Claims.Await(ctx, h.eventKey)
	switch {
	case err != nil:
		return nil, busy(err, h.f.Now())
	case state == nil:
		return plain, nil
	case state.Complete():
		return h.answer(state)
	}
	var was Target
	if err := json.Unmarshal(state.About, &was); err != nil || was.UID == "" {
		return plain, nil
	}
	if !done(declined, h.f.Activity) {
		return plain, nil
	}
	o := recovered(declined, h.f.Activity, state.Event)
	o.Target = was
	record := h.record(o)
	a := &attempt{handling: h, target: was, storm: true}
	if a.note, _, err = h.f.Repeats.Claims.Note(ctx, h.eventKey, h.eventID, nil, h.f.Repeats.Keep); err == nil && a.note != nil {
		finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
		defer cancel()
		a.complete(finish, record)
	}
	return record, nil
}
