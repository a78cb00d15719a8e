// Package claim makes repeats harmless: a short-lived record that says who is handling something, and once it was
// handled, with what outcome.
//
// A claim is made by one caller of many, whichever process they are in (Claims.Wait, Turn.Make). The others wait for its outcome. A
// claim whose holder died, or gave up, is taken over by one of those that come after. A note (Claims.Note) is a record
// beside a claim, under another key by which the claim can be found: it is written by whoever holds the claim, and excludes
// nobody.
//
// Holders compare deadlines with their own clocks: these must agree within a few seconds, as those of a cluster's nodes do.
package claim

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/store"
)

const (
	// patience is how long a caller waits for the outcome of another one.
	patience = 3 * time.Second
	// waiters is how many callers of a process wait at once. The others are told to come back: a storm of copies of one event,
	// while its response takes long, must not take the places of other events.
	waiters = 8
	// comeBack is when those may come back at the earliest.
	comeBack = time.Second
	// shortest and longest are the times between two looks at a claim that another process holds.
	shortest, longest = 10 * time.Millisecond, 200 * time.Millisecond
)

// Claims makes claims in a store. It is safe for concurrent use.
type Claims struct {
	store  store.Store
	hold   time.Duration
	now    func() time.Time
	holder string

	mu      sync.Mutex
	flights map[string]chan struct{}
	waiting chan struct{}
}

// New keeps claims in s. A holder that has not completed its claim after hold counts as dead.
func New(s store.Store, hold time.Duration, now func() time.Time) *Claims {
	return &Claims{store: s, hold: hold, now: now, holder: rand.Text(), flights: map[string]chan struct{}{}, waiting: make(chan struct{}, waiters)}
}

// State is what is known of a claim.
type State struct {
	// Event is the event it was made for.
	Event string `json:"event"`
	// About is what its holder wanted to be known if it dies.
	About json.RawMessage `json:"about,omitempty"`
	// Holder is the process, and Until the time after which somebody else may take over.
	Holder string    `json:"holder"`
	Until  time.Time `json:"until"`
	// Done is when it was completed, with Outcome; zero until then.
	Done    time.Time       `json:"done,omitzero"`
	Outcome json.RawMessage `json:"outcome,omitempty"`
}

// Complete says that there is an outcome.
func (s *State) Complete() bool { return s != nil && !s.Done.IsZero() }

// BusyError says that somebody else is at it.
type BusyError struct {
	// Until is when it may be tried again at the latest.
	Until time.Time
}

// Error says until when.
func (e *BusyError) Error() string {
	return "another process is handling this, until " + e.Until.UTC().Format(time.RFC3339) + " at the latest"
}

// Claim is a claim in hand.
type Claim struct {
	claims *Claims
	key    string
	entry  store.Entry
	state  State
	// Before is what an earlier holder left that died or gave up; nil for a new claim.
	Before *State
	leave  func()
}

// Turn is the turn of one caller of this process, of several that want the same claim.
type Turn struct {
	claims *Claims
	key    string
	giveUp time.Time
	leave  func()
}

// Wait waits until no other caller of this process makes or holds the claim: one of many asks the store, and the others may
// know the outcome by then. It is a *BusyError after a few seconds, and at once where many wait already.
func (c *Claims) Wait(ctx context.Context, key string) (*Turn, error) {
	giveUp := c.now().Add(patience)
	leave, err := c.enter(ctx, key, giveUp)
	if err != nil {
		return nil, err
	}
	return &Turn{c, key, giveUp, leave}, nil
}

// Leave gives the turn to the next. It may be called again.
func (t *Turn) Leave() { t.leave() }

// Make makes a claim for an event, kept for keep. Where it was completed already it gives its state instead, and a
// *BusyError where somebody else still holds it after a few seconds. The turn ends with the claim, or here without one.
func (t *Turn) Make(ctx context.Context, event string, about json.RawMessage, keep time.Duration) (*Claim, *State, error) {
	claim, done, err := t.claims.make(ctx, t.key, State{Event: event, About: about, Holder: t.claims.holder}, keep, t.giveUp)
	if claim == nil {
		t.leave()
		return nil, done, err
	}
	claim.leave = t.leave
	return claim, nil, nil
}

// enter lets one caller of this process after the other ask the store.
func (c *Claims) enter(ctx context.Context, key string, giveUp time.Time) (leave func(), err error) {
	timer := time.NewTimer(giveUp.Sub(c.now()))
	defer timer.Stop()
	waiting := false
	defer func() {
		if waiting {
			<-c.waiting
		}
	}()
	for {
		c.mu.Lock()
		flight, taken := c.flights[key]
		if !taken {
			flight = make(chan struct{})
			c.flights[key] = flight
		}
		c.mu.Unlock()
		if !taken {
			return sync.OnceFunc(func() {
				c.mu.Lock()
				delete(c.flights, key)
				c.mu.Unlock()
				close(flight)
			}), nil
		}
		if !waiting {
			select {
			case c.waiting <- struct{}{}:
				waiting = true
			default:
				return nil, &BusyError{Until: c.now().Add(comeBack)}
			}
		}
		select {
		case <-flight:
		case <-timer.C:
			return nil, &BusyError{Until: c.now().Add(c.hold)}
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the same event's outcome: %w", ctx.Err())
		}
	}
}

func (c *Claims) make(ctx context.Context, key string, state State, keep time.Duration, giveUp time.Time) (*Claim, *State, error) {
	for pause := shortest; ; pause = min(2*pause, longest) {
		now := c.now()
		state.Until = now.Add(c.hold)
		value, err := json.Marshal(state)
		if err != nil {
			return nil, nil, fmt.Errorf("encode a claim: %w", err)
		}
		expires := now.Add(max(keep, c.hold))
		claim := &Claim{claims: c, key: key, state: state}
		if claim.entry, err = c.store.Create(ctx, key, value, expires); !errors.Is(err, store.ErrExists) {
			return orNil(claim, err)
		}
		before, old, err := c.read(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound): // given back in between
			continue
		case err != nil:
			return nil, nil, err
		case before.Complete():
			return nil, before, nil
		case !now.Before(before.Until):
			claim.Before = before
			if claim.entry, err = c.store.Replace(ctx, key, old, value, expires); !errors.Is(err, store.ErrChanged) {
				return orNil(claim, err)
			}
		case !now.Before(giveUp):
			return nil, nil, &BusyError{before.Until}
		}
		if err := wait(ctx, pause); err != nil {
			return nil, nil, err
		}
	}
}

func orNil(claim *Claim, err error) (*Claim, *State, error) {
	if err != nil {
		return nil, nil, fmt.Errorf("make a claim: %w", err)
	}
	return claim, nil, nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the same event's outcome: %w", ctx.Err())
	}
}

// read reads a state. One that cannot be read was not written by us, and keeps nobody away.
func (c *Claims) read(ctx context.Context, key string) (*State, store.Entry, error) {
	entry, err := c.store.Get(ctx, key)
	if err != nil {
		return nil, entry, fmt.Errorf("read a claim: %w", err)
	}
	var s State
	if json.Unmarshal(entry.Value, &s) != nil {
		s = State{}
	}
	return &s, entry, nil
}

// Await reads the claim or note of key. It is nil where there is none. One that is neither complete nor left behind is
// waited for; after a few seconds it is a *BusyError.
func (c *Claims) Await(ctx context.Context, key string) (*State, error) {
	giveUp := c.now().Add(patience)
	for pause := shortest; ; pause = min(2*pause, longest) {
		state, _, err := c.read(ctx, key)
		now := c.now()
		switch {
		case errors.Is(err, store.ErrNotFound):
			return nil, nil //nolint:nilnil // There is none, and nothing is wrong: said so above.
		case err != nil:
			return nil, err
		case state.Complete() || !now.Before(state.Until):
			return state, nil
		case !now.Before(giveUp):
			return nil, &BusyError{state.Until}
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// Look reads the state of a claim as it is now; nil where there is none.
func (c *Claims) Look(ctx context.Context, key string) (*State, error) {
	state, _, err := c.read(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // There is none, and nothing is wrong: said so above.
	}
	return state, err
}

// Leave gives the turn to the next caller of this process, whatever became of the claim. It may be called again.
func (cl *Claim) Leave() { cl.leave() }

// Complete records the outcome and keeps it for keep. It fails with store.ErrChanged where the claim was taken over.
func (cl *Claim) Complete(ctx context.Context, outcome json.RawMessage, keep time.Duration) error {
	defer cl.leave()
	state := cl.state
	state.Done, state.Outcome, state.About = cl.claims.now(), outcome, nil
	return cl.replace(ctx, state, keep, "complete a claim")
}

// Abandon leaves the claim to whoever comes next, who learns of it in Before.
func (cl *Claim) Abandon(ctx context.Context) error {
	defer cl.leave()
	state := cl.state
	state.Until = cl.claims.now()
	return cl.replace(ctx, state, cl.entry.Expires.Sub(state.Until), "leave a claim")
}

func (cl *Claim) replace(ctx context.Context, state State, keep time.Duration, what string) error {
	value, err := json.Marshal(state)
	if err == nil {
		_, err = cl.claims.store.Replace(ctx, cl.key, cl.entry, value, cl.claims.now().Add(keep))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// GiveBack removes the claim, as if it had never been made.
func (cl *Claim) GiveBack(ctx context.Context) error {
	defer cl.leave()
	if err := cl.claims.store.Delete(ctx, cl.key, cl.entry); err != nil {
		return fmt.Errorf("give a claim back: %w", err)
	}
	return nil
}
