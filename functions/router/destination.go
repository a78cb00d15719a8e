package function

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// destination is one address that is called, with limits of its own, so that a slow or failing function delays
// nobody but itself.
type destination struct {
	calls  *semaphore.Weighted
	places int

	mu    sync.Mutex
	taken int
	// held is until when the destination asked to be left alone.
	held time.Time
}

func newDestination(concurrency, queue int) *destination {
	return &destination{calls: semaphore.NewWeighted(int64(concurrency)), places: concurrency + queue}
}

// enter takes a place for a delivery from its first attempt to its last, if there is one.
func (d *destination) enter() bool { return d.enterIf(d.places) }

// enterIfRoomy takes a place if half of them are free: who can come later leaves the rest to who cannot.
func (d *destination) enterIfRoomy() bool { return d.enterIf((d.places + 1) / 2) }

func (d *destination) enterIf(fewerThan int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken >= fewerThan {
		return false
	}
	d.taken++
	return true
}

func (d *destination) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken--
}

// acquire waits for leave to call. Who has it must release it.
func (d *destination) acquire(ctx context.Context) error {
	for {
		if err := sleep(ctx, time.Until(d.heldUntil())); err != nil {
			return err
		}
		if err := d.calls.Acquire(ctx, 1); err != nil {
			return err
		}
		if !d.heldUntil().After(time.Now()) {
			return nil
		}
		d.calls.Release(1) // Held back while this one waited.
	}
}

func (d *destination) release() { d.calls.Release(1) }

// hold lets no call begin for a while.
func (d *destination) hold(pause time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if until := time.Now().Add(pause); until.After(d.held) {
		d.held = until
	}
}

func (d *destination) heldUntil() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.held
}

// sleep waits, or returns the context's error if that ends first.
func sleep(ctx context.Context, pause time.Duration) error {
	if pause <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
