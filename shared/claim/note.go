package claim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riposte-dev/riposte/shared/store"
)

// Note is a record beside a claim.
type Note struct {
	claims *Claims
	key    string
	state  State
	// entry is what was written; its version is empty where somebody else's note stands.
	entry store.Entry
}

// Note writes that the handling of an event begins. Where the event was handled already it gives the state of that
// instead. A note of somebody else who has not finished stays: who holds the claim writes over it in the end.
func (c *Claims) Note(ctx context.Context, key, event string, about json.RawMessage, keep time.Duration) (*Note, *State, error) {
	n := &Note{claims: c, key: key, state: State{Event: event, About: about, Holder: c.holder, Until: c.now().Add(c.hold)}}
	value, err := json.Marshal(n.state)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a note: %w", err)
	}
	n.entry, err = c.store.Create(ctx, key, value, c.now().Add(max(keep, c.hold)))
	switch {
	case err == nil:
		return n, nil, nil
	case !errors.Is(err, store.ErrExists):
		return nil, nil, fmt.Errorf("write a note: %w", err)
	}
	before, _, err := c.read(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return n, nil, nil
	case err != nil:
		return nil, nil, err
	case before.Complete():
		return nil, before, nil
	}
	return n, nil, nil
}

// Complete records the outcome and keeps it for keep. Only the holder of the claim may call it: it writes over the notes
// of those who did not get the claim. An outcome that stands there already stays: the claim was taken over meanwhile.
func (n *Note) Complete(ctx context.Context, outcome json.RawMessage, keep time.Duration) error {
	state := n.state
	state.Done, state.Outcome, state.About = n.claims.now(), outcome, nil
	value, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode a note: %w", err)
	}
	expires, entry := n.claims.now().Add(keep), n.entry
	for pause := shortest; ; pause = min(2*pause, longest) {
		if err = n.write(ctx, entry, value, expires); !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrChanged) {
			return err
		}
		var now *State
		now, entry, err = n.claims.read(ctx, n.key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			entry = store.Entry{}
		case err != nil:
			return err
		case now.Complete():
			return nil
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// Abandon says that the handling was given up, for Await. Somebody else's note stays.
func (n *Note) Abandon(ctx context.Context, keep time.Duration) error {
	if n.entry.Version == "" {
		return nil
	}
	state := n.state
	state.Until = n.claims.now()
	value, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encode a note: %w", err)
	}
	if err := n.write(ctx, n.entry, value, state.Until.Add(keep)); !errors.Is(err, store.ErrChanged) {
		return err
	}
	return nil
}

func (n *Note) write(ctx context.Context, old store.Entry, value []byte, expires time.Time) error {
	var err error
	if old.Version == "" {
		_, err = n.claims.store.Create(ctx, n.key, value, expires)
	} else {
		_, err = n.claims.store.Replace(ctx, n.key, old, value, expires)
	}
	if err != nil {
		return fmt.Errorf("write a note: %w", err)
	}
	return nil
}

// GiveBack removes the note if it is our own.
func (n *Note) GiveBack(ctx context.Context) error {
	if n.entry.Version == "" {
		return nil
	}
	if err := n.claims.store.Delete(ctx, n.key, n.entry); err != nil && !errors.Is(err, store.ErrChanged) {
		return fmt.Errorf("give a note back: %w", err)
	}
	return nil
}
