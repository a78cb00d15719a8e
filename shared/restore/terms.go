package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/store"
)

// Terms are the settings of every response that can be undone.
type Terms struct {
	TTL time.Duration `env:"TTL" envDefault:"0s" help:"How long the containment lasts; 0 is until it is released on request, or by hand."`
	Max time.Duration `env:"TTL_MAX" envDefault:"24h" help:"TTL doubles each time the same object is contained again, up to this; a release is remembered as long."`
	Key config.Secret `env:"RESTORE_KEY" help:"Key that signs restore records, the same as that of release; several, one on a line, while it is changed."`
}

// Validate checks what the times mean together.
func (t Terms) Validate() error {
	switch {
	case t.TTL < 0 || (t.TTL > 0 && t.TTL < time.Second):
		return fmt.Errorf("TTL is %q: want 0 or 1s or more", t.TTL)
	case t.Max < 0 || t.Max > longestMemory:
		return fmt.Errorf("TTL_MAX is %q: want 0s to %s", t.Max, longestMemory)
	case t.Max < t.TTL:
		return fmt.Errorf("TTL_MAX is %q and TTL is %q: want TTL_MAX to be as long as TTL or longer", t.Max, t.TTL)
	}
	_, err := ReadKeys(t.Key)
	return err
}

// lasts is how long the containment lasts that is the object's nth.
func (t Terms) lasts(times int) time.Duration {
	d := t.TTL
	for n := 1; n < times && d < t.Max; n++ {
		d *= 2
	}
	return min(d, t.Max)
}

// count is what the store knows of an object that was released. It is kept there, and not on the object, so that a
// release leaves nothing behind.
type count struct {
	Times int `json:"times"`
}

func countKey(name, uid string) string { return "released/" + name + "/" + uid }

// recall is how often the response has contained the object before, as far as it is remembered.
func recall(ctx context.Context, s store.Store, name, uid string) (int, error) {
	if s == nil {
		return 0, nil
	}
	entry, err := s.Get(ctx, countKey(name, uid))
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask how often %s was released from %s: %w", uid, name, err)
	}
	var c count
	if err := json.Unmarshal(entry.Value, &c); err != nil || c.Times < 0 {
		return 0, nil //nolint:nilerr // Somebody has written into it: nothing is known.
	}
	return c.Times, nil
}

// Remember notes, before the record goes, how often its object was contained, for a later containment to last longer.
func Remember(ctx context.Context, s store.Store, r Record, now time.Time) error {
	if s == nil || r.Remember == 0 {
		return nil
	}
	value, err := json.Marshal(count{Times: r.Times})
	if err != nil {
		return fmt.Errorf("encode the count of %s: %w", r.Response, err)
	}
	key, until := countKey(r.Response, r.UID), now.Add(time.Duration(r.Remember)*time.Second)
	old, err := s.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		_, err = s.Create(ctx, key, value, until)
	} else if err == nil {
		_, err = s.Replace(ctx, key, old, value, until)
	}
	if errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrChanged) {
		return nil // another replica releases the same, and says the same
	}
	if err != nil {
		return fmt.Errorf("remember the release of %s from %s: %w", r.UID, r.Response, err)
	}
	return nil
}
