// Package storetest is what every store.Store owes to those who build on it, as tests. A store's own test is
//
//	func TestStore(t *testing.T) { storetest.Run(t, func(t *testing.T) store.Store { ... }) }
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/store"
)

// Run tests a store. open gives one that holds nothing; several that share their records are what replicas have, so two
// calls within one test may as well give the same records: the tests use keys of their own.
func Run(t *testing.T, open func(*testing.T) store.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, store.Store){
		"a record is read as it was written":             readAsWritten,
		"a record that exists is not created":            exists,
		"an expired record is absent":                    expired,
		"a record is replaced by who knows its version":  replaced,
		"a record is deleted by who knows its version":   deleted,
		"one of many creates":                            oneCreates,
		"one of many creates anew what has expired":      oneCreatesAnew,
		"one of many replaces":                           oneReplaces,
		"one of many replaces or deletes":                oneReplacesOrDeletes,
		"the sweep takes what has expired":               sweeps,
		"keys and values that are too large are refused": limits,
		"a cancelled context is an error":                cancelled,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

const key = "delete-pod/event/0123456789abcdef"

// later and before are far enough from now that no clock matters.
func later() time.Time  { return time.Now().Add(time.Hour) }
func before() time.Time { return time.Now().Add(-time.Hour) }

// is checks that an error is the one wanted.
func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

// other checks that an error is none that says something about a record.
func other(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, store.ErrExists) || errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrChanged) {
		t.Errorf("%s: got error %v, want one that says it could not be done", what, err)
	}
}

func create(t *testing.T, s store.Store, key, value string, expires time.Time) store.Entry {
	t.Helper()
	e, err := s.Create(t.Context(), key, []byte(value), expires)
	if err != nil {
		t.Fatalf("create %q: %v", key, err)
	}
	return e
}

// holds checks what is read.
func holds(t *testing.T, s store.Store, key string, want store.Entry) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if err != nil {
		t.Errorf("get %q: %v", key, err)
		return
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Sub(b).Abs() < time.Millisecond })); diff != "" {
		t.Errorf("record %q differs from what was written (-want +got):\n%s", key, diff)
	}
}

func readAsWritten(t *testing.T, s store.Store) {
	t.Helper()
	_, err := s.Get(t.Context(), key)
	is(t, "get nothing", err, store.ErrNotFound)
	values := map[string]string{
		"delete-pod/budget": `{"text":"<&> \" \\ 日本"}`,
		"Odd/ÄÖ 日本 \"'`%00%2f../..\\?#&=+:*|~^$é": "plain",
		"a":                      "",
		"binary":                 "\x00\xff\xfe\x80 not text",
		"nul":                    "a\x00b",
		strings.Repeat("k", 200): strings.Repeat("v", store.MaxValue),
		"most/binary":            strings.Repeat("\xff\x00\x01", store.MaxValue/3),
		"case":                   "lower",
		"CASE":                   "upper",
		" case ":                 "blanks",
	}
	written := map[string]store.Entry{}
	for key, value := range values {
		e := create(t, s, key, value, later())
		if string(e.Value) != value || e.Version == "" || e.Expires.Sub(later()).Abs() > time.Minute {
			t.Errorf("create %q gave version %q, expiry %s and %d bytes: want what was written, and a version", key, e.Version, e.Expires, len(e.Value))
		}
		written[key] = e
	}
	for key, e := range written {
		holds(t, s, key, e)
	}
}

func exists(t *testing.T, s store.Store) {
	t.Helper()
	first := create(t, s, key, "first", later())
	_, err := s.Create(t.Context(), key, []byte("second"), later())
	is(t, "create again", err, store.ErrExists)
	holds(t, s, key, first)
}

func expired(t *testing.T, s store.Store) {
	t.Helper()
	first := create(t, s, key, "first", before())
	_, err := s.Get(t.Context(), key)
	is(t, "get what has expired", err, store.ErrNotFound)
	second := create(t, s, key, "second", later())
	holds(t, s, key, second)
	_, err = s.Replace(t.Context(), key, first, []byte("third"), later())
	is(t, "replace what was created anew", err, store.ErrChanged)
	is(t, "delete what was created anew", s.Delete(t.Context(), key, first), store.ErrChanged)
	holds(t, s, key, second)
}

func replaced(t *testing.T, s store.Store) {
	t.Helper()
	first := create(t, s, key, "first", later())
	second, err := s.Replace(t.Context(), key, first, []byte("second"), later().Add(time.Hour))
	if err != nil {
		t.Fatalf("replace: %v", err)
	}
	if second.Version == first.Version || string(second.Value) != "second" {
		t.Errorf("replace gave version %q after %q and value %q: want another version, and what was written", second.Version, first.Version, second.Value)
	}
	holds(t, s, key, second)
	_, err = s.Replace(t.Context(), key, first, []byte("third"), later())
	is(t, "replace an old version", err, store.ErrChanged)
	holds(t, s, key, second)
	if err := s.Delete(t.Context(), key, second); err != nil {
		t.Fatalf("delete: %v", err)
	}
	_, err = s.Replace(t.Context(), key, second, []byte("fourth"), later())
	is(t, "replace what is gone", err, store.ErrChanged)
	_, err = s.Get(t.Context(), key)
	is(t, "get what is gone", err, store.ErrNotFound)
}

func deleted(t *testing.T, s store.Store) {
	t.Helper()
	first := create(t, s, key, "first", later())
	second, err := s.Replace(t.Context(), key, first, []byte("second"), later())
	if err != nil {
		t.Fatalf("replace: %v", err)
	}
	is(t, "delete an old version", s.Delete(t.Context(), key, first), store.ErrChanged)
	holds(t, s, key, second)
	is(t, "delete", s.Delete(t.Context(), key, second), nil)
	_, err = s.Get(t.Context(), key)
	is(t, "get what is gone", err, store.ErrNotFound)
	is(t, "delete what is gone", s.Delete(t.Context(), key, second), nil)
	third := create(t, s, key, "third", later())
	is(t, "delete an earlier record of the same key", s.Delete(t.Context(), key, second), store.ErrChanged)
	holds(t, s, key, third)
}

// racers is how many callers try the same thing at once.
const racers = 64

// race gives the entry of the one caller that succeeds; all others must get the error want.
func race(t *testing.T, want error, try func(i int) (store.Entry, error)) store.Entry {
	t.Helper()
	var (
		mu      sync.Mutex
		entries []store.Entry
		start   = make(chan struct{})
		wait    sync.WaitGroup
	)
	for i := range racers {
		wait.Go(func() {
			<-start
			e, err := try(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				entries = append(entries, e)
				return
			}
			is(t, fmt.Sprintf("caller %d of %d", i, racers), err, want)
		})
	}
	close(start)
	wait.Wait()
	if len(entries) != 1 {
		t.Fatalf("%d of %d callers succeeded: want 1", len(entries), racers)
	}
	return entries[0]
}

func oneCreates(t *testing.T, s store.Store) {
	t.Helper()
	won := race(t, store.ErrExists, func(i int) (store.Entry, error) {
		return s.Create(t.Context(), key, fmt.Appendf(nil, "caller %d", i), later())
	})
	holds(t, s, key, won)
}

func oneCreatesAnew(t *testing.T, s store.Store) {
	t.Helper()
	create(t, s, key, "expired", before())
	oneCreates(t, s)
}

func oneReplaces(t *testing.T, s store.Store) {
	t.Helper()
	old := create(t, s, key, "first", later())
	won := race(t, store.ErrChanged, func(i int) (store.Entry, error) {
		return s.Replace(t.Context(), key, old, fmt.Appendf(nil, "caller %d", i), later())
	})
	holds(t, s, key, won)
}

// oneReplacesOrDeletes: of those that delete, all may succeed, because what is gone is no error; but then none replaces.
func oneReplacesOrDeletes(t *testing.T, s store.Store) {
	t.Helper()
	for round := range 8 {
		key := fmt.Sprintf("%s/%d", key, round)
		old := create(t, s, key, "first", later())
		var replaced, deleted error
		var wait sync.WaitGroup
		wait.Go(func() { _, replaced = s.Replace(t.Context(), key, old, []byte("second"), later()) })
		wait.Go(func() { deleted = s.Delete(t.Context(), key, old) })
		wait.Wait()
		switch {
		case replaced == nil:
			is(t, "delete what was replaced", deleted, store.ErrChanged)
		case deleted == nil:
			is(t, "replace what was deleted", replaced, store.ErrChanged)
		default:
			t.Errorf("neither succeeded: replace %v, delete %v", replaced, deleted)
		}
	}
}

func sweeps(t *testing.T, s store.Store) {
	t.Helper()
	for i := range 5 {
		create(t, s, fmt.Sprintf("expired/%d", i), "old", before())
	}
	kept := map[string]store.Entry{}
	for i := range 5 {
		key := fmt.Sprintf("kept/%d", i)
		kept[key] = create(t, s, key, "new", later())
	}
	swept := 0
	for range 3 { // A sweep may do only part of it.
		n, err := s.Sweep(t.Context())
		if err != nil {
			t.Fatalf("sweep: %v", err)
		}
		swept += n
	}
	if swept != 5 {
		t.Errorf("%d records swept, want 5", swept)
	}
	for key, e := range kept {
		holds(t, s, key, e)
	}
}

func limits(t *testing.T, s store.Store) {
	t.Helper()
	large := []byte(strings.Repeat("x", store.MaxValue+1))
	_, err := s.Create(t.Context(), key, large, later())
	other(t, "create a value that is too large", err)
	e := create(t, s, key, "small", later())
	_, err = s.Replace(t.Context(), key, e, large, later())
	other(t, "replace by a value that is too large", err)
	holds(t, s, key, e)
	for what, key := range map[string]string{
		"empty": "", "too long": strings.Repeat("k", 201), "not text": "\xff", "not printable": "a\nb", "a bell": "\a",
	} {
		_, err := s.Create(t.Context(), key, nil, later())
		other(t, "create a key that is "+what, err)
		_, err = s.Get(t.Context(), key)
		other(t, "get a key that is "+what, err)
		_, err = s.Replace(t.Context(), key, e, nil, later())
		other(t, "replace a key that is "+what, err)
		other(t, "delete a key that is "+what, s.Delete(t.Context(), key, e))
	}
}

func cancelled(t *testing.T, s store.Store) {
	t.Helper()
	e := create(t, s, key, "first", later())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Get(ctx, key)
	is(t, "get", err, context.Canceled)
	_, err = s.Create(ctx, key+"/other", nil, later())
	is(t, "create", err, context.Canceled)
	_, err = s.Replace(ctx, key, e, nil, later())
	is(t, "replace", err, context.Canceled)
	is(t, "delete", s.Delete(ctx, key, e), context.Canceled)
	_, err = s.Sweep(ctx)
	is(t, "sweep", err, context.Canceled)
	holds(t, s, key, e)
}
