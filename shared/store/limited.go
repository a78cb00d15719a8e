package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"
)

// Limited bounds how many records a process makes in a store that others depend on as well. What is beyond that is
// remembered by the process alone: it knows its own repeats then, and those that another process has written down, but
// not all of another's.
//
// It is for claims. A function that only tells people is called for every alert, and one that acts may have to look at many
// before it declines them: a flood must not fill the cluster's etcd, nor the memory of the process.
type Limited struct {
	Store

	memory *Memory
	bucket *rate.Limiter
}

// mostRemembered bounds what a process remembers for itself, in bytes. A claim that is forgotten while it is held is not lost
// for its own process, where one caller after the other may make it.
const mostRemembered = 8 << 20

// NewLimited lets most records a minute through to s.
func NewLimited(s Store, most int, now func() time.Time) *Limited {
	return &Limited{Store: s, memory: newForgetful(now, mostRemembered), bucket: rate.NewLimiter(rate.Every(time.Minute/time.Duration(most)), most)}
}

// Get implements Store.
func (l *Limited) Get(ctx context.Context, key string) (Entry, error) {
	if e, err := l.memory.Get(ctx, key); !errors.Is(err, ErrNotFound) {
		return e, err
	}
	return l.Store.Get(ctx, key)
}

// Create implements Store.
func (l *Limited) Create(ctx context.Context, key string, value []byte, expires time.Time) (Entry, error) {
	switch _, err := l.memory.Get(ctx, key); { // What was remembered in a flood counts after it, too.
	case err == nil:
		return Entry{}, fmt.Errorf("create record %q: %w", key, ErrExists)
	case !errors.Is(err, ErrNotFound):
		return Entry{}, err
	}
	if l.bucket.Allow() {
		return l.Store.Create(ctx, key, value, expires)
	}
	switch e, err := l.Store.Get(ctx, key); {
	case err == nil:
		return e, ErrExists
	case !errors.Is(err, ErrNotFound):
		return Entry{}, err
	}
	return l.memory.Create(ctx, key, value, expires)
}

// Replace implements Store.
func (l *Limited) Replace(ctx context.Context, key string, old Entry, value []byte, expires time.Time) (Entry, error) {
	return l.home(ctx, key).Replace(ctx, key, old, value, expires)
}

// Delete implements Store.
func (l *Limited) Delete(ctx context.Context, key string, old Entry) error {
	return l.home(ctx, key).Delete(ctx, key, old)
}

// home is where the record of a key is.
func (l *Limited) home(ctx context.Context, key string) Store {
	if _, err := l.memory.Get(ctx, key); err == nil {
		return l.memory
	}
	return l.Store
}
