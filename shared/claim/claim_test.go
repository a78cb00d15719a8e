package claim_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riposte-dev/riposte/shared/claim"
	"github.com/riposte-dev/riposte/shared/store"
)

const (
	hold = 30 * time.Second
	keep = 15 * time.Minute
)

var done = json.RawMessage(`{"outcome":"applied"}`)

// replica is the claims of one process.
func replica(s store.Store) *claim.Claims { return claim.New(s, hold, time.Now) }

// attempt waits for its turn and makes a claim.
func attempt(ctx context.Context, c *claim.Claims, event string) (*claim.Claim, *claim.State, error) {
	turn, err := c.Wait(ctx, "k")
	if err != nil {
		return nil, nil, err
	}
	return turn.Make(ctx, event, nil, keep)
}

// patiently comes back as long as it is told to.
func patiently(ctx context.Context, c *claim.Claims, event string) (*claim.Claim, *claim.State, error) {
	for {
		got, state, err := attempt(ctx, c, event)
		if busy := (*claim.BusyError)(nil); !errors.As(err, &busy) {
			return got, state, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// made is a claim that must be there to be had.
func made(t *testing.T, c *claim.Claims, event string) *claim.Claim {
	t.Helper()
	got, state, err := attempt(t.Context(), c, event)
	if err != nil || state != nil || got == nil {
		t.Fatalf("claim %v, state %v, error %v: want the claim", got, state, err)
	}
	return got
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func TestOneOfManyGetsTheClaimAndTheOthersItsOutcome(t *testing.T) {
	t.Parallel()
	s := store.NewMemory(time.Now)
	replicas := []*claim.Claims{replica(s), replica(s), replica(s), replica(s)}
	var mu sync.Mutex
	holders, told := 0, 0
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			got, state, err := patiently(t.Context(), replicas[i%4], "event")
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if got != nil {
				holders++
				check(t, got.Complete(t.Context(), done, keep))
			} else if state.Complete() && string(state.Outcome) == string(done) {
				told++
			}
		})
	}
	all.Wait()
	if holders != 1 || told != 199 {
		t.Errorf("%d made the claim and %d were told its outcome: want 1 and 199", holders, told)
	}
}

func TestWhoWaitsTooLongIsToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]bool{"in the same process": false, "in another": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := store.NewMemory(time.Now)
				one := replica(s)
				two := one
				if other {
					two = replica(s)
				}
				made(t, one, "event")
				began := time.Now()
				_, _, err := attempt(t.Context(), two, "event")
				var busy *claim.BusyError
				if !errors.As(err, &busy) || busy.Until.Before(began.Add(hold)) || busy.Until.After(began.Add(2*hold)) {
					t.Errorf("error %v: want that the claim is held, and until when", err)
				}
				if waited := time.Since(began); waited < time.Second || waited > 5*time.Second {
					t.Errorf("it waited %s: want some seconds", waited)
				}
			})
		})
	}
}

func TestWhoGivesUpWaitingIsLetGo(t *testing.T) {
	t.Parallel()
	s := store.NewMemory(time.Now)
	one, two := replica(s), replica(s)
	made(t, one, "event")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]*claim.Claims{"the same": one, "another": two} {
		if _, _, err := attempt(ctx, c, "event"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s process: error %v, want that of the context", name, err)
		}
	}
}

func TestAClaimLeftBehindIsTakenOverByOne(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(t *testing.T, c *claim.Claim){
		"by a holder that died":    func(_ *testing.T, _ *claim.Claim) { time.Sleep(hold) },
		"by a holder that gave up": func(t *testing.T, c *claim.Claim) { t.Helper(); check(t, c.Abandon(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := store.NewMemory(time.Now)
				first := made(t, replica(s), "first")
				leave(t, first)
				var mu sync.Mutex
				var holders []*claim.Claim
				var all sync.WaitGroup
				for range 8 {
					next := replica(s)
					all.Go(func() {
						got, state, err := attempt(t.Context(), next, "second")
						if err != nil {
							t.Error(err)
						}
						mu.Lock()
						defer mu.Unlock()
						if got == nil {
							if state.Event != "second" {
								t.Errorf("one was told the outcome of %q", state.Event)
							}
							return
						}
						holders = append(holders, got)
						check(t, got.Complete(t.Context(), done, keep))
					})
				}
				all.Wait()
				if len(holders) != 1 || holders[0].Before == nil || holders[0].Before.Event != "first" {
					t.Fatalf("%d took it over: want one, who knows of the first", len(holders))
				}
				if err := first.Complete(t.Context(), done, keep); err == nil {
					t.Error("the first holder completed a claim that it had lost")
				}
			})
		})
	}
}

func TestAClaimGivenBackNeverWas(t *testing.T) {
	t.Parallel()
	s := store.NewMemory(time.Now)
	check(t, made(t, replica(s), "first").GiveBack(t.Context()))
	if again := made(t, replica(s), "second"); again.Before != nil {
		t.Errorf("the next holder knows of %v", again.Before)
	}
}

func TestAClaimIsKeptForItsTimeOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory(time.Now)
		c := replica(s)
		check(t, made(t, c, "first").Complete(t.Context(), done, time.Minute))
		time.Sleep(time.Minute - time.Second)
		if _, state, err := attempt(t.Context(), c, "second"); err != nil || !state.Complete() {
			t.Errorf("state %v, error %v: want the first's", state, err)
		}
		time.Sleep(time.Second)
		made(t, c, "second")
	})
}

func TestANoteTellsWhoComesLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory(time.Now)
		one, two := replica(s), replica(s)
		if state, err := two.Await(t.Context(), "n"); state != nil || err != nil {
			t.Fatalf("state %v, error %v: want none", state, err)
		}
		about := json.RawMessage(`{"name":"cart-0"}`)
		note, state, err := one.Note(t.Context(), "n", "event", about, keep)
		if err != nil || state != nil {
			t.Fatalf("state %v, error %v: want a note", state, err)
		}
		var busy *claim.BusyError
		if _, err := two.Await(t.Context(), "n"); !errors.As(err, &busy) {
			t.Errorf("while it is being handled the error is %v", err)
		}
		// A second note, of one who lost the claim in the end, excludes nobody and is written over.
		if other, state, err := two.Note(t.Context(), "n", "event", about, keep); other == nil || state != nil || err != nil {
			t.Errorf("second note %v, state %v, error %v", other, state, err)
		}
		time.Sleep(hold)
		if state, err := two.Await(t.Context(), "n"); err != nil || state.Complete() || string(state.About) != string(about) {
			t.Errorf("left behind: state %v, error %v", state, err)
		}
		check(t, note.Complete(t.Context(), done, keep))
		if state, err := two.Await(t.Context(), "n"); err != nil || !state.Complete() || string(state.Outcome) != string(done) {
			t.Errorf("complete: state %v, error %v", state, err)
		}
		if _, state, err := two.Note(t.Context(), "n", "event", nil, keep); err != nil || !state.Complete() {
			t.Errorf("a note on what is complete: state %v, error %v", state, err)
		}
	})
}

func TestOnlyOnesOwnNoteIsGivenBack(t *testing.T) {
	t.Parallel()
	s := store.NewMemory(time.Now)
	one, two := replica(s), replica(s)
	mine, _, err := one.Note(t.Context(), "n", "event", nil, keep)
	check(t, err)
	others, _, err := two.Note(t.Context(), "n", "event", nil, keep)
	check(t, err)
	check(t, others.GiveBack(t.Context()))
	if state, err := one.Look(t.Context(), "n"); state == nil || err != nil {
		t.Errorf("state %v, error %v: want the note still there", state, err)
	}
	check(t, others.Complete(t.Context(), done, keep)) // the holder of the claim writes over it
	check(t, mine.GiveBack(t.Context()))
	if state, err := one.Look(t.Context(), "n"); !state.Complete() || err != nil {
		t.Errorf("state %v, error %v: want the outcome still there", state, err)
	}
}

// broken is a store that cannot be asked.
type broken struct{ store.Store }

var errBroken = errors.New("broken")

func (broken) Get(context.Context, string) (store.Entry, error) { return store.Entry{}, errBroken }

func (broken) Create(context.Context, string, []byte, time.Time) (store.Entry, error) {
	return store.Entry{}, errBroken
}

func TestAStoreThatCannotBeAskedGivesNoClaim(t *testing.T) {
	t.Parallel()
	c := replica(broken{})
	if got, state, err := attempt(t.Context(), c, "event"); got != nil || state != nil || !errors.Is(err, errBroken) {
		t.Errorf("claim %v, state %v, error %v", got, state, err)
	}
	if got, state, err := c.Note(t.Context(), "k", "event", nil, keep); got != nil || state != nil || !errors.Is(err, errBroken) {
		t.Errorf("note %v, state %v, error %v", got, state, err)
	}
	if state, err := c.Await(t.Context(), "k"); state != nil || !errors.Is(err, errBroken) {
		t.Errorf("state %v, error %v", state, err)
	}
}

func TestARecordThatNobodyCanReadKeepsNobodyAway(t *testing.T) {
	t.Parallel()
	s := store.NewMemory(time.Now)
	if _, err := s.Create(t.Context(), "k", []byte("x"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	check(t, made(t, replica(s), "event").Complete(t.Context(), done, keep))
}

func TestAFewWaitAndTheOthersAreToldToComeBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory(time.Now)
		c := replica(s)
		first := made(t, c, "event")
		began := time.Now()
		var mu sync.Mutex
		told, sent := 0, 0
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				_, state, err := attempt(t.Context(), c, "event")
				mu.Lock()
				defer mu.Unlock()
				var busy *claim.BusyError
				switch {
				case err == nil && state.Complete():
					told++
				case errors.As(err, &busy) && time.Since(began) == 0 && !busy.Until.Before(began.Add(time.Second)):
					sent++
				default:
					t.Errorf("state %v, error %v after %s", state, err, time.Since(began))
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Second)
		check(t, first.Complete(t.Context(), done, keep))
		all.Wait()
		if told == 0 || told > 20 || told+sent != 100 {
			t.Errorf("%d waited and were told, %d were sent away: want a few, and the rest", told, sent)
		}
		// Their places are free again.
		if _, state, err := attempt(t.Context(), c, "event"); err != nil || !state.Complete() {
			t.Errorf("afterwards: state %v, error %v", state, err)
		}
	})
}
