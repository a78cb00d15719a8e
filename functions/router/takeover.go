package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"
)

// lookAfter touches the copies of what goes on, and takes up those that nobody touches, until ctx ends.
func (e *engine) lookAfter(ctx context.Context) error {
	ticker := time.NewTicker(e.journal.takeover / 3)
	defer ticker.Stop()
	for {
		if err := e.takeUp(ctx); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "journal cannot be looked through", "error", err.Error())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		e.touchAll(ctx)
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
	list := e.journal.bucket.List(&blob.ListOptions{Prefix: "journal/"})
	for {
		object, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("list the journal: %w", err)
		}
		if !entryName.MatchString(object.Key) {
			e.journal.sweep(ctx, object)
			continue
		}
		entries++
		if due, err := e.consider(ctx, object); err != nil {
			e.log.WarnContext(ctx, "journal copy cannot be taken up", "name", object.Key, "error", err.Error())
		} else if !due.IsZero() {
			seen[object.Key] = due
		}
	}
	e.journal.due, e.journal.begun = seen, true
	e.metrics.entries.Set(float64(entries))
	return nil
}

// sweep removes what a writer that was killed left half written.
func (j *journal) sweep(ctx context.Context, object *blob.ListObject) {
	if strings.HasSuffix(object.Key, ".tmp") && time.Since(object.ModTime) > time.Hour {
		_ = j.remove(ctx, object.Key) // The next time, then.
	}
}

// consider takes up a copy that nobody works on. It gives back until when a queue has the call, if one has.
func (e *engine) consider(ctx context.Context, object *blob.ListObject) (due time.Time, err error) {
	key := keyOf(object.Key)
	if e.tasks.get(key) != nil {
		return time.Time{}, nil
	}
	if known := e.journal.due[object.Key]; time.Now().Before(known) {
		return known, nil
	}
	// A folder belongs to one router: what it finds when it starts was its own.
	left := e.journal.folder != "" && !e.journal.begun
	if !left && time.Since(object.ModTime) < e.journal.takeover {
		return time.Time{}, nil
	}
	body, err := e.journal.read(ctx, object.Key)
	if errors.Is(err, errNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	in, err := decodeEntry(body)
	if err != nil { // Written whole or not at all, so somebody else wrote it.
		return time.Time{}, errors.Join(err, e.discardEntry(ctx, object.Key, body, err))
	}
	if time.Now().Before(in.Due) {
		return in.Due, nil
	}
	e.resume(ctx, key, in, func(d *delivery) {
		if !in.Due.IsZero() {
			d.last.fail(http.StatusGatewayTimeout, fmt.Sprintf("no call back within %s", e.settings.CallbackTimeout))
		}
	})
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
func (e *engine) resume(ctx context.Context, key string, in entry, change func(*delivery)) {
	d := in.delivery(e.table.Load())
	d.due = time.Time{}
	change(d)
	if d.placed = d.route.enterIfRoomy(); !d.placed {
		return
	}
	t, fresh := e.tasks.begin(ctx, key)
	if !fresh {
		d.route.leave()
		return
	}
	go func() {
		r := &record{key: key}
		if err := e.journal.save(t.calls, r, d); err != nil {
			e.log.WarnContext(t.calls, "journal copy cannot be touched", "error", err.Error())
		}
		e.carryOut(t, d, r)
	}()
}
