package budget

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/store"
)

// account is one budget of one scope, as a process sees it.
type account struct {
	store          store.Store
	key            string
	scope, process string
	window         time.Duration
	now            func() time.Time
	// turn is held by whoever asks the store: processes compete there, not goroutines.
	turn chan struct{}

	// mu guards what is known, for those who ask without a turn. Who has the turn alone writes.
	mu sync.Mutex
	// known says that ledger was what the store had when it was last asked, as entry; that has no version if it had nothing.
	known  bool
	ledger ledger
	entry  store.Entry
	// blocks are what was drawn ahead; grants are what events were given.
	blocks []*block
	grants map[string]*grant
}

// block is what was drawn ahead.
type block struct {
	until time.Time
	left  int
}

// grant is what an event was given. It is given back when all who asked for it have.
type grant struct {
	until time.Time
	uses  int
	block *block // nil where the ledger lists it
}

func newAccount(s store.Store, scope, key, process string, window time.Duration, now func() time.Time) *account {
	return &account{
		store: s, key: key, scope: scope, process: process, window: window, now: now,
		turn: make(chan struct{}, 1), grants: map[string]*grant{},
	}
}

// hold gives an event what it was given before, or what was drawn ahead; nil is nothing.
func (a *account) hold(who string, now time.Time) *grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g := a.grants[who]; g != nil && now.Before(g.until) {
		g.uses++
		return g
	}
	b := a.left(now)
	if b == nil {
		return nil
	}
	b.left--
	g := &grant{until: now.Add(a.window), uses: 1, block: b}
	a.grants[who] = g
	return g
}

// release gives back within the process, and says whether there is something to give back beyond it. What counts no
// more is nothing, even if the same event has drawn again.
func (a *account) release(who string, g *grant) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grants[who] != g {
		return false
	}
	if g.uses--; g.uses > 0 {
		return false
	}
	delete(a.grants, who)
	if g.block != nil {
		g.block.left++ // Past its time it counts for nothing.
		return false
	}
	return true
}

// left is a block of which there is something left, or nil.
func (a *account) left(now time.Time) *block {
	for _, b := range a.blocks {
		if b.left > 0 && now.Before(b.until) {
			return b
		}
	}
	return nil
}

func (a *account) holds(who string, now time.Time) bool {
	g := a.grants[who]
	return g != nil && now.Before(g.until) || a.known && a.ledger.find(who, now, a.window) >= 0
}

// idle says that there is nothing to remember.
func (a *account) idle(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !now.Before(a.entry.Expires)
}

func (a *account) enter(ctx context.Context) (leave func(), err error) {
	select {
	case a.turn <- struct{}{}:
		return func() { <-a.turn }, nil
	case <-ctx.Done():
		return nil, a.failed("wait for", ctx.Err())
	}
}

func (a *account) failed(what string, err error) error {
	return fmt.Errorf("%s the budget of the %s: %w", what, a.scope, err)
}

const (
	// shortest and longest bound the pauses between two attempts.
	shortest, longest = 2 * time.Millisecond, 100 * time.Millisecond
)

// pause waits, a random time so that those who met once do not meet again.
func pause(ctx context.Context, n int) error {
	timer := time.NewTimer(shortest + rand.N(min(shortest<<n, longest))) //nolint:gosec // Nothing secret depends on it.
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
