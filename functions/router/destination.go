package function

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// destination is one address that is called, with limits of its own, so that a slow or failing function delays
// nobody but itself.
type destination struct {
	calls  *semaphore.Weighted
	places int
	// total is the size of all deliveries of the router.
	total *atomic.Int64

	mu sync.Mutex
	// taken are the deliveries that have a place, bytes their size.
	taken int
	bytes int64
	// held is until when the destination asked to be left alone.
	held time.Time
}

func newDestination(concurrency, queue int, total *atomic.Int64) *destination {
	return &destination{calls: semaphore.NewWeighted(int64(concurrency)), places: concurrency + queue, total: total}
}

// enter takes a place for a delivery from its first attempt to its last. The error says why there is none. A
// destination may fill as much memory as it leaves free: half of it where it alone is slow, a third where two are. What
// is left never gets nothing, so that another destination can still be reached.
func (d *destination) enter(size int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.taken >= d.places:
		return fmt.Errorf("%d deliveries to it are under way already (FUNCTION_CONCURRENCY and FUNCTION_QUEUE)", d.taken)
	case d.taken > 0 && d.bytes+size > maxHeld-d.total.Load():
		return fmt.Errorf("%d deliveries to it are under way already and have their share of the memory, %d KiB", d.taken, d.bytes>>10)
	}
	d.taken, d.bytes = d.taken+1, d.bytes+size
	return nil
}

// enterIfRoomy takes a place if half of them are free: who can come later leaves the rest to who cannot.
func (d *destination) enterIfRoomy(size int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.taken >= (d.places+1)/2 || (d.taken > 0 && 2*(d.bytes+size) > maxHeld-d.total.Load()) {
		return false
	}
	d.taken, d.bytes = d.taken+1, d.bytes+size
	return true
}

func (d *destination) leave(size int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.taken, d.bytes = d.taken-1, d.bytes-size
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
