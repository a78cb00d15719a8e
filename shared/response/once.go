package response

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/budget"
	"github.com/riposte-dev/riposte/shared/claim"
)

// Repeats says how repeats are made harmless; docs/safety.md tells the whole of it.
type Repeats struct {
	// Scope tells deployments of one function apart: each answers an alert for itself.
	Scope string
	// Claims is nil with CLAIMS=none.
	Claims *claim.Claims
	// Window is how long another alert of the same rule on the same target is a duplicate; 0 is not at all.
	Window time.Duration
	// Keep is how long the outcome of an event is kept.
	Keep time.Duration
	// Budget is nil where none is kept.
	Budget *budget.Budget
}

// finishing bounds what is left to do after the response: it goes on where the caller has given up.
const finishing = 5 * time.Second

// act is the response itself.
type act func(ctx context.Context) (Outcome, error)

// attempt is one handling that has come as far as the claims.
type attempt struct {
	*handling
	target Target
	act    act
	// lock is the claim that lets one of many act: that of the rule and the target, or of the event alone.
	lock *claim.Claim
	// note is how a redelivery finds it; nil where the claim is the event's.
	note *claim.Note
	// storm says that lock is that of the rule and the target.
	storm bool
	// token is what was drawn from the budget; nil is nothing yet.
	token *budget.Token
}

// once lets one of many repeats act.
func (h *handling) once(ctx context.Context, target Target, act act) (*Record, error) {
	a := &attempt{handling: h, target: target, act: act}
	if h.f.Repeats.Claims == nil {
		return a.spend(ctx)
	}
	again, err := a.begin(ctx)
	if again != nil || err != nil {
		return again, err
	}
	if a.lock != nil {
		defer a.lock.Leave() // however it ends
	}
	return a.spend(ctx)
}

// who draws from the budget: the event, about this target. An event's ID alone could be made up, to draw once for many.
func (a *attempt) who() string { return a.f.key("event", a.eventID, a.target.UID) }

// begin makes the claims. Where there is nothing left to do it gives the record to answer with.
func (a *attempt) begin(ctx context.Context) (*Record, error) {
	r := a.f.Repeats
	key := a.eventKey
	if a.storm = a.target.UID != "" && r.Window > 0; a.storm {
		key = a.f.key("storm", a.alert.Rule, a.target.UID)
	}
	if r.Budget != nil {
		if x := r.Budget.Exhausted(a.f.Now()); x != nil && !r.Budget.Holds(a.who(), a.f.Now()) {
			return a.exhausted(ctx, key, x)
		}
	}
	about, err := json.Marshal(a.target)
	if err != nil {
		return nil, fmt.Errorf("encode the target: %w", err)
	}
	turn, err := r.Claims.Wait(ctx, key)
	if err != nil {
		return nil, busy(err, a.f.Now())
	}
	if record, err := a.remembered(ctx); record != nil || err != nil { // The one before has just been told.
		turn.Leave()
		return record, err
	}
	// All that has to be written before the response is written at the same time. Who does not get the claim gives back the rest.
	var noted *claim.State
	var noteErr error
	var beside sync.WaitGroup
	if a.storm {
		beside.Go(func() { a.note, noted, noteErr = r.Claims.Note(ctx, a.eventKey, a.eventID, about, r.Keep) })
	}
	if r.Budget != nil {
		beside.Go(func() { a.token = r.Budget.Try(ctx, a.who(), a.target.Workload.Key, a.target.Workload.Ready) })
	}
	lock, done, err := turn.Make(ctx, a.eventID, about, max(r.Keep, r.Window))
	a.lock = lock
	beside.Wait()
	switch {
	case noted != nil:
		a.giveBack(ctx)
		return a.answer(noted)
	case done != nil:
		a.giveBack(ctx)
		return a.answer(done)
	case err != nil || noteErr != nil:
		a.giveBack(ctx)
		return nil, busy(errors.Join(err, noteErr), a.f.Now())
	}
	return nil, nil //nolint:nilnil // Nothing to answer yet, and nothing wrong: said so above.
}

// exhausted refuses without a write: what the budget does not allow needs no claim.
func (a *attempt) exhausted(ctx context.Context, key string, x *budget.Exhausted) (*Record, error) {
	for _, key := range slices.Compact([]string{a.eventKey, key}) {
		state, err := a.f.Repeats.Claims.Look(ctx, key)
		if err != nil {
			return nil, err
		}
		if state.Complete() {
			return a.answer(state)
		}
	}
	return a.overBudget(x), nil
}

// spend draws from the budget, if that is not done, acts, and completes the claims.
func (a *attempt) spend(ctx context.Context) (*Record, error) {
	if b := a.f.Repeats.Budget; b != nil && a.token == nil {
		var x *budget.Exhausted
		var err error
		a.token, x, err = b.Take(ctx, a.who(), a.target.Workload.Key, a.target.Workload.Ready)
		if err != nil || x != nil {
			a.giveBack(ctx)
			if err != nil {
				return nil, err
			}
			record := a.overBudget(x)
			a.announce(ctx, record)
			return record, nil
		}
	}
	o, err := a.safely(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
	defer cancel()
	if err != nil {
		a.abandon(ctx, err)
		return nil, err
	}
	if a.lock != nil && a.lock.Before != nil {
		o = recovered(o, a.f.Activity, a.lock.Before.Event)
	}
	if o.Verdict != Applied {
		a.unspend(ctx)
	}
	record := a.record(a.declined("response", o, a.target))
	a.complete(ctx, record)
	return record, nil
}

// unspend gives back what was drawn, because nothing was done.
func (a *attempt) unspend(ctx context.Context) {
	if a.token != nil {
		a.token.Return(ctx)
	}
}

// safely acts. A panic gives the claims free like any other error, and goes on.
func (a *attempt) safely(ctx context.Context) (Outcome, error) {
	done := false
	defer func() {
		if !done {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
			defer cancel()
			a.abandon(ctx, errors.New("the response panicked"))
		}
	}()
	o, err := a.act(WithTarget(ctx, a.target))
	done = true
	if err == nil && o.Verdict == "" {
		err = errors.New("the response gave neither an outcome nor an error")
	}
	return o, err
}

// done says whether there is nothing left to do for a response that was about to act. A target that is gone shows that only
// where the response is to remove it.
func done(o Outcome, activity Activity) bool {
	return o.Verdict == Unchanged && o.Reason == AlreadySo ||
		activity == Evict && o.Verdict == Skipped && (o.Reason == Gone || o.Reason == Replaced)
}

// recovered turns the outcome of a response that found its own change made, by an attempt that could not say so.
func recovered(o Outcome, activity Activity, event string) Outcome {
	if !done(o, activity) {
		return o
	}
	o.Message = fmt.Sprintf("an earlier attempt, at alert %s, was cut off before it could say what it did; now %s", event, o.Message)
	o.Verdict, o.Reason = Applied, Recovered
	return o
}

// overBudget is the refusal.
func (a *attempt) overBudget(x *budget.Exhausted) *Record {
	o := Refuse(OverBudget, "the budget of %s for the %s is used up until %s", x.Limit, x.Scope, x.Until.UTC().Format(time.RFC3339))
	o.Details = map[string]any{"budget": map[string]any{"scope": x.Scope, "limit": x.Limit, "until": x.Until.UTC()}}
	o.Repeat = x.Repeat
	a.guardrail = ""
	return a.record(a.declined("budget", o, a.target))
}

// busy makes the time at which a claim is free the time to come back.
func busy(err error, now time.Time) error {
	if b := (*claim.BusyError)(nil); errors.As(err, &b) {
		return DeferredError(err, b.Until.Sub(now))
	}
	return err
}

// key names a record of this function in the store.
func (f *Function) key(kind string, parts ...string) string {
	if scope := f.Repeats.Scope; scope != "" {
		parts = append([]string{scope, ""}, parts...)
	}
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return f.Name + "/" + kind + "/" + hex.EncodeToString(sum[:16])
}

// refKey names the target as the alert does. It is known before the target is.
func (h *handling) refKey() string {
	ref := h.alert.Pod()
	return h.f.key("ref", append(append([]string{h.alert.Rule, ref.Namespace, ref.Name}, ref.UIDs...), ref.ContainerIDs...)...)
}
