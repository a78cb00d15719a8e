package function

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// lookAfter takes up the copies that nobody touches, until ctx ends.
func (e *engine) lookAfter(ctx context.Context) error {
	return e.journal.often(ctx, func() {
		if err := e.takeUp(ctx); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "journal cannot be looked through", "error", err.Error())
		}
	})
}

// stayAlive touches the copies of what goes on, until ctx ends. It waits for nothing else: a journal with many copies
// is not looked through in time.
func (e *engine) stayAlive(ctx context.Context) error {
	return e.journal.often(ctx, func() { e.touchAll(ctx) })
}

// often does something at once, and three times in JOURNAL_TAKEOVER, until ctx ends.
func (j *journal) often(ctx context.Context, do func()) error {
	ticker := time.NewTicker(j.takeover / 3)
	defer ticker.Stop()
	for {
		do()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (e *engine) touchAll(ctx context.Context) {
	group := errgroup.Group{}
	group.SetLimit(16)
	for _, t := range e.tasks.kept() {
		if time.Since(t.began) < e.journal.takeover/3 {
			continue // Written just now.
		}
		group.Go(func() error {
			if err := e.journal.touch(ctx, t.record); err != nil && ctx.Err() == nil {
				e.log.WarnContext(ctx, "journal copy cannot be touched", "error", err.Error())
			}
			return nil
		})
	}
	_ = group.Wait() // Its errors are logged.
}

// takeUp goes through the journal once.
func (e *engine) takeUp(ctx context.Context) error {
	entries, seen := 0, map[string]time.Time{}
	err := e.journal.list(ctx, "journal", func(o object) {
		if !entryName.MatchString(o.name) {
			e.journal.sweep(ctx, o)
			return
		}
		entries++
		if due, err := e.consider(ctx, o); err != nil {
			e.log.WarnContext(ctx, "journal copy cannot be taken up", "name", o.name, "error", err.Error())
		} else if !due.IsZero() {
			seen[o.name] = due
		}
	})
	if err != nil {
		return err
	}
	e.journal.due, e.journal.begun = seen, true
	e.metrics.entries.Set(float64(entries))
	return nil
}

// sweep removes what a writer that was killed left half written.
func (j *journal) sweep(ctx context.Context, o object) {
	if strings.HasSuffix(o.name, ".tmp") && time.Since(o.modified) > time.Hour {
		_ = j.remove(ctx, o.name) // The next time, then.
	}
}

// consider takes up a copy that nobody works on. It gives back until when a queue has the call, if one has.
func (e *engine) consider(ctx context.Context, o object) (due time.Time, err error) {
	defer e.survive(ctx, &err)
	key := keyOf(o.name)
	if e.tasks.get(key) != nil {
		return time.Time{}, nil
	}
	if known := e.journal.due[o.name]; time.Now().Before(known) {
		return known, nil
	}
	// A folder belongs to one router: what it finds when it starts was its own.
	left := e.journal.Folder() != "" && !e.journal.begun
	if !left && time.Since(o.modified) < e.journal.takeover {
		return time.Time{}, nil
	}
	body, err := e.journal.read(ctx, o.name)
	if errors.Is(err, errNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	in, err := decodeEntry(body)
	if err != nil { // Written whole or not at all, so somebody else wrote it.
		return time.Time{}, errors.Join(err, e.discardEntry(ctx, o.name, body, err))
	}
	if time.Now().Before(in.Due) {
		return in.Due, nil
	}
	if !in.Due.IsZero() {
		var a answer
		a.fail(http.StatusGatewayTimeout, fmt.Sprintf("no call back within %s", e.settings.CallbackTimeout))
		in.Failed = &failure{a.status, a.body, a.err.Error()}
	}
	e.resume(ctx, key, in)
	return time.Time{}, nil
}

// discardEntry keeps what cannot be read where people look.
func (e *engine) discardEntry(ctx context.Context, name string, body []byte, why error) error {
	if err := e.discard(ctx, body, why); err != nil {
		return err
	}
	return e.journal.remove(ctx, name)
}

// resume goes on with a delivery. A destination that has enough to do gets it later.
func (e *engine) resume(ctx context.Context, key string, in entry) {
	d := in.delivery(e.table.Load())
	d.due = time.Time{}
	if d.placed = d.route.enterIfRoomy(d.size()); !d.placed {
		return
	}
	t, fresh := e.tasks.begin(ctx, key)
	if !fresh {
		d.route.leave(d.size())
		return
	}
	go e.carryOut(t, d, &record{key: key})
}
