package store_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riposte-dev/riposte/shared/store"
)

func TestAFloodStaysInMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most, flood = 10, 100
		shared := store.NewMemory(time.Now)
		one, two := store.NewLimited(shared, most, time.Now), store.NewLimited(shared, most, time.Now)
		later := time.Now().Add(time.Hour)
		for n := range flood {
			if _, err := one.Create(t.Context(), fmt.Sprint(n), []byte("x"), later); err != nil {
				t.Fatal(err)
			}
		}
		written := 0
		for n := range flood {
			key := fmt.Sprint(n)
			if _, err := shared.Get(t.Context(), key); err == nil {
				written++
				if _, err := two.Create(t.Context(), key, []byte("y"), later); !errors.Is(err, store.ErrExists) {
					t.Errorf("another process made %s again: %v", key, err)
				}
			}
			if _, err := one.Create(t.Context(), key, []byte("y"), later); !errors.Is(err, store.ErrExists) {
				t.Errorf("the same process made %s again: %v", key, err)
			}
			e, err := one.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if e, err = one.Replace(t.Context(), key, e, []byte("z"), later); err != nil || string(e.Value) != "z" {
				t.Errorf("replace %s: %v", key, err)
			}
			if err := one.Delete(t.Context(), key, e); err != nil {
				t.Errorf("delete %s: %v", key, err)
			}
			if _, err := one.Get(t.Context(), key); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s is still there: %v", key, err)
			}
		}
		if written != most {
			t.Errorf("%d of a flood were written down, want %d", written, most)
		}
		time.Sleep(time.Minute)
		if _, err := one.Create(t.Context(), "after the flood", nil, later); err != nil {
			t.Fatal(err)
		}
		if _, err := shared.Get(t.Context(), "after the flood"); err != nil {
			t.Errorf("after the flood nothing is written down: %v", err)
		}
	})
}

func TestWhatWasRememberedInAFloodCountsAfterIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := store.NewLimited(store.NewMemory(time.Now), 1, time.Now)
		later := time.Now().Add(time.Hour)
		for _, key := range []string{"written down", "remembered"} {
			if _, err := s.Create(t.Context(), key, []byte("x"), later); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if _, err := s.Create(t.Context(), "remembered", []byte("y"), later); !errors.Is(err, store.ErrExists) {
			t.Errorf("what was remembered is made again: %v", err)
		}
		if e, err := s.Get(t.Context(), "remembered"); err != nil || string(e.Value) != "x" {
			t.Errorf("it is %q, error %v: want it as it was", e.Value, err)
		}
	})
}

func TestAFloodFillsNoMemory(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shared := store.NewMemory(time.Now)
		s := store.NewLimited(shared, 1, time.Now)
		later := time.Now().Add(time.Hour)
		const flood, size = 400, 100 << 10
		for n := range flood {
			if _, err := s.Create(t.Context(), fmt.Sprint(n), make([]byte, size), later); err != nil {
				t.Fatal(err)
			}
		}
		kept := 0
		for n := range flood {
			if _, err := s.Get(t.Context(), fmt.Sprint(n)); err == nil {
				kept++
			}
		}
		if bytes := kept * size; kept < 10 || bytes > 9<<20 {
			t.Errorf("%d records of a flood are kept, %d bytes: want some, and no more than a few megabytes", kept, bytes)
		}
		if _, err := s.Get(t.Context(), fmt.Sprint(flood-1)); err != nil {
			t.Errorf("the last one is forgotten: %v", err)
		}
	})
}
