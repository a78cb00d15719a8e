package store

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// Memory keeps records for one process: for one replica, for a dry run, for tests. The zero value is not usable: NewMemory.
type Memory struct {
	now func() time.Time

	mu      sync.Mutex
	records map[string]Entry
	writes  uint64
	// full is how many records there are when the expired ones are next looked for.
	full int
	// bytes is how large they are, and most how large they may become; 0 is without a bound.
	bytes, most int
}

// leastFull is how many records are kept before anybody looks for expired ones.
const leastFull = 1024

// NewMemory makes an empty store. It looks at now to tell which records have expired.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, records: map[string]Entry{}, full: leastFull}
}

// newForgetful makes a store that forgets a record where there would be more than most bytes of them.
func newForgetful(now func() time.Time, most int) *Memory {
	m := NewMemory(now)
	m.most = most
	return m
}

// Get implements Store.
func (m *Memory) Get(ctx context.Context, key string) (Entry, error) {
	if err := ready(ctx, "get", key, nil); err != nil {
		return Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.records[key]
	if !ok || m.expired(e) {
		return Entry{}, fmt.Errorf("get record %q: %w", key, ErrNotFound)
	}
	e.Value = bytes.Clone(e.Value)
	return e, nil
}

// Create implements Store.
func (m *Memory) Create(ctx context.Context, key string, value []byte, expires time.Time) (Entry, error) {
	if err := ready(ctx, "create", key, value); err != nil {
		return Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.records[key]; ok && !m.expired(e) {
		return Entry{}, fmt.Errorf("create record %q: %w", key, ErrExists)
	}
	if len(m.records) >= m.full {
		m.sweep()
		m.full = max(leastFull, 2*len(m.records))
	}
	return m.put(key, value, expires), nil
}

// Replace implements Store.
func (m *Memory) Replace(ctx context.Context, key string, old Entry, value []byte, expires time.Time) (Entry, error) {
	if err := ready(ctx, "replace", key, value); err != nil {
		return Entry{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.records[key]; !ok || e.Version != old.Version {
		return Entry{}, fmt.Errorf("replace record %q: %w", key, ErrChanged)
	}
	return m.put(key, value, expires), nil
}

// Delete implements Store.
func (m *Memory) Delete(ctx context.Context, key string, old Entry) error {
	if err := ready(ctx, "delete", key, nil); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.records[key]; ok && e.Version != old.Version {
		return fmt.Errorf("delete record %q: %w", key, ErrChanged)
	}
	m.drop(key)
	return nil
}

// Sweep implements Store.
func (m *Memory) Sweep(ctx context.Context) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("sweep records: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sweep(), nil
}

func (m *Memory) sweep() int {
	before := len(m.records)
	for key, e := range m.records {
		if m.expired(e) {
			m.drop(key)
		}
	}
	return before - len(m.records)
}

func (m *Memory) put(key string, value []byte, expires time.Time) Entry {
	m.writes++
	e := Entry{Value: bytes.Clone(value), Expires: expires, Version: strconv.FormatUint(m.writes, 10)}
	m.drop(key)
	for other := range m.records { // Any will do.
		if m.most == 0 || m.bytes+weight(key, e) <= m.most {
			break
		}
		m.drop(other)
	}
	m.records[key] = e
	m.bytes += weight(key, e)
	e.Value = bytes.Clone(value)
	return e
}

func (m *Memory) drop(key string) {
	if e, ok := m.records[key]; ok {
		m.bytes -= weight(key, e)
		delete(m.records, key)
	}
}

// overhead is about what a record costs beside its key and value.
const overhead = 256

func weight(key string, e Entry) int { return len(key) + len(e.Value) + overhead }

func (m *Memory) expired(e Entry) bool { return !m.now().Before(e.Expires) }

// ready refuses what no store takes.
func ready(ctx context.Context, verb, key string, value []byte) error {
	err := Check(key, value)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s record: %w", verb, err)
	}
	return nil
}
