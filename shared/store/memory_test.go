package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return store.NewMemory(time.Now) })
}

func TestMemoryGoesByItsClock(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := store.NewMemory(func() time.Time { return now })
	if _, err := m.Create(t.Context(), "key", []byte("value"), now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute - 1)
	if _, err := m.Get(t.Context(), "key"); err != nil {
		t.Errorf("a moment before it expires: %v", err)
	}
	now = now.Add(1)
	if _, err := m.Get(t.Context(), "key"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("when it expires: got error %v, want %v", err, store.ErrNotFound)
	}
}

// Whoever changes what it gave or got changes no record.
func TestMemoryKeepsCopies(t *testing.T) {
	m := store.NewMemory(time.Now)
	value := []byte("value")
	e, err := m.Create(t.Context(), "key", value, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.Get(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	value[0], e.Value[0], got.Value[0] = 'X', 'Y', 'Z'
	if got, err := m.Get(t.Context(), "key"); err != nil || string(got.Value) != "value" {
		t.Errorf("got %q, %v: want value", got.Value, err)
	}
}

// Nobody has to sweep for a process to run for a year.
func TestMemoryDoesNotGrow(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m := store.NewMemory(func() time.Time { return now })
	for i := range 20_000 {
		now = now.Add(time.Second)
		if _, err := m.Create(t.Context(), fmt.Sprint(i), nil, now.Add(10*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour)
	if n, err := m.Sweep(t.Context()); err != nil || n > 1100 {
		t.Errorf("%d records were kept, %v: want 1100 at most", n, err)
	}
}
