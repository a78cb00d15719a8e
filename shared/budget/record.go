package budget

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/riposte-dev/riposte/shared/store"
)

// load reads the record, unless it is known.
func (a *account) load(ctx context.Context) error {
	if a.known {
		return nil
	}
	var g ledger
	e, err := a.store.Get(ctx, a.key)
	if err == nil {
		g, err = decode(e.Value)
	} else if errors.Is(err, store.ErrNotFound) {
		e, err = store.Entry{}, nil
	}
	if err != nil {
		return a.failed("read", err)
	}
	a.know(g, e)
	return nil
}

// save stores a ledger in place of the one that is known. It is not saved where somebody else was first; then, and after
// an error, none is known.
func (a *account) save(ctx context.Context, next ledger, now time.Time) (saved bool, err error) {
	value, err := json.Marshal(next)
	if err != nil {
		return false, a.failed("encode", err)
	}
	var e store.Entry
	if a.entry.Version == "" {
		e, err = a.store.Create(ctx, a.key, value, next.expires(now))
	} else {
		e, err = a.store.Replace(ctx, a.key, a.entry, value, next.expires(now))
	}
	switch {
	case err == nil:
		a.know(next, e)
		return true, nil
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrChanged):
		a.forget()
		return false, nil
	}
	a.forget()
	return false, a.failed("write", err)
}

func (a *account) know(g ledger, e store.Entry) {
	e.Value = nil // It is the ledger.
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.ledger, a.entry = true, g, e
}

func (a *account) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = false
}
