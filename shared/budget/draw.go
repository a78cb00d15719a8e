package budget

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// demand is what somebody wants of an account.
type demand struct {
	account *account
	who     string
	limit   Limit
	allowed int
}

// answer is what became of a demand: granted, refused, or refused for what others have drawn just now and may yet give
// back, because another scope refused them.
type answer struct {
	grant     *grant
	refused   *Exhausted
	tentative bool
	err       error
}

// manner is how a refusal is taken.
type manner int

const (
	// patient takes a refusal for tentative that rests on what others have drawn just now.
	patient manner = iota
	// firm takes every refusal for final.
	firm
	// quiet takes every refusal for tentative: it is noted by who asks in another manner.
	quiet
)

// attempts bounds how often other processes may get in first.
const attempts = 24

// draw takes one for an event.
func (d demand) draw(ctx context.Context, how manner) answer {
	a := d.account
	leave, err := a.enter(ctx)
	if err != nil {
		return answer{err: err}
	}
	defer leave()
	for n := range attempts {
		if g := a.hold(d.who, a.now()); g != nil {
			return answer{grant: g}
		}
		if err := a.load(ctx); err != nil {
			return answer{err: err}
		}
		now := a.now()
		next := a.ledger.at(now, a.window)
		result, settle := a.plan(&next, d, now, how)
		if settle == nil {
			return result
		}
		switch saved, err := a.save(ctx, next, now); {
		case err != nil:
			return answer{err: err}
		case saved:
			a.mu.Lock()
			settle()
			a.mu.Unlock()
			return result
		}
		if err := pause(ctx, n); err != nil {
			return answer{err: a.failed("draw from", err)}
		}
	}
	return answer{err: a.failed("draw from", fmt.Errorf("other processes got in first %d times: %w", attempts, context.DeadlineExceeded))}
}

// plan changes the ledger as the demand wants it. settle is nil where there is nothing to store; else it is what holds once
// that was stored.
func (a *account) plan(next *ledger, d demand, now time.Time, how manner) (result answer, settle func()) {
	if i := next.find(d.who, now, a.window); i >= 0 {
		found := &next.Drawn[i]
		g := &grant{until: found.counts(a.window), uses: 1}
		if slices.Contains(found.By, a.process) { // An attempt to give it back failed.
			a.mu.Lock()
			defer a.mu.Unlock()
			a.grants[d.who] = g
			return answer{grant: g}, nil
		}
		found.By = append(found.By, a.process)
		return answer{grant: g}, func() { a.grants[d.who] = g }
	}
	total := next.total(now, a.window, every)
	if total >= d.allowed {
		return a.refuse(next, d, now, how)
	}
	n := min(max(d.allowed/blocks, 1), d.allowed-total)
	entry := draw{N: n}
	if n == 1 {
		entry.Who, entry.By = d.who, []string{a.process}
	}
	entry = next.add(now, entry)
	g := &grant{until: entry.At.Add(a.window), uses: 1}
	return answer{grant: g}, func() {
		if n > 1 {
			g.block = &block{until: entry.At.Add(ahead(a.window)), left: n - 1}
			a.blocks = append(a.blocks, g.block)
		}
		a.blocks = slices.DeleteFunc(a.blocks, func(b *block) bool { return !now.Before(b.until) })
		maps.DeleteFunc(a.grants, func(_ string, g *grant) bool { return !now.Before(g.until) })
		a.grants[d.who] = g
	}
}

// settling is how long another process may need to give back what it has drawn where another scope refuses.
const settling = time.Second

// settled says that what was drawn will not be given back for that reason.
func (a *account) settled(now time.Time) func(draw) bool {
	return func(d draw) bool {
		return d.N > 1 || slices.Contains(d.By, a.process) || d.At.Before(now.Add(-settling))
	}
}

// unsettled reads the record again and says whether a refusal would still rest on what others may give back.
func (d demand) unsettled(ctx context.Context) (bool, error) {
	a := d.account
	leave, err := a.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	a.forget()
	if err := a.load(ctx); err != nil {
		return false, err
	}
	now := a.now()
	current := a.ledger.at(now, a.window)
	return current.total(now, a.window, every) >= d.allowed && current.total(now, a.window, a.settled(now)) < d.allowed, nil
}

// refuse says that there is nothing left. The first of a row to say so notes it.
func (a *account) refuse(next *ledger, d demand, now time.Time, how manner) (answer, func()) {
	settled := a.settled(now)
	result := answer{refused: &Exhausted{
		Scope: a.scope, Limit: d.limit.String(), Until: next.free(now, a.window, d.allowed), Repeat: next.Told,
	}}
	switch {
	case how == quiet, how == patient && next.total(now, a.window, settled) < d.allowed:
		result.tentative = true
		a.forget()
		return result, nil
	case next.Told:
		return result, nil
	case slices.ContainsFunc(next.Drawn, func(e draw) bool { return e.Ended && !settled(e) }):
		// The row that was told of may go on. Somebody will be told in a moment, if it does not.
		result.refused.Repeat = true
		a.forget()
		return result, nil
	}
	next.Told = true
	return result, func() {}
}

// exhausted says, from memory, that there is nothing to be had, and that somebody was told of it.
func (d demand) exhausted(now time.Time) *Exhausted {
	a := d.account
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.known || !a.ledger.Told || a.left(now) != nil || a.holds(d.who, now) {
		return nil
	}
	current := a.ledger.at(now, a.window)
	if current.total(now, a.window, every) < d.allowed {
		return nil
	}
	return &Exhausted{Scope: a.scope, Limit: d.limit.String(), Until: current.free(now, a.window, d.allowed), Repeat: true}
}

// giveBack undoes a draw, unless somebody else in this process still needs it.
func (a *account) giveBack(ctx context.Context, who string, g *grant) error {
	leave, err := a.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if !a.release(who, g) {
		return nil
	}
	for n := range attempts {
		if err := a.load(ctx); err != nil {
			return err
		}
		now := a.now()
		next := a.ledger.at(now, a.window)
		i := next.find(who, now, a.window)
		if i < 0 {
			return nil
		}
		next.drop(i, a.process)
		if saved, err := a.save(ctx, next, now); saved || err != nil {
			return err
		}
		if err := pause(ctx, n); err != nil {
			return a.failed("give back to", err)
		}
	}
	return a.failed("give back to", fmt.Errorf("other processes got in first %d times: %w", attempts, context.DeadlineExceeded))
}
