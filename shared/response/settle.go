package response

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"

	"github.com/riposte-dev/riposte/shared/store"
)

// abandon leaves the claims to the next delivery.
func (a *attempt) abandon(ctx context.Context, cause error) {
	if final(cause) {
		a.giveBack(ctx)
		return
	}
	a.together(ctx, func() error {
		if a.lock == nil {
			return nil
		}
		return a.lock.Abandon(ctx)
	}, func() error {
		if a.note == nil {
			return nil
		}
		return a.note.Abandon(ctx, a.f.Repeats.Keep)
	})
}

// final says that nothing was done, and that there will be no redelivery.
func final(cause error) bool { return KindOf(cause) == Permanent || KindOf(cause) == Invalid }

func (a *attempt) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishing)
	defer cancel()
	a.together(ctx, func() error {
		if a.lock == nil {
			return nil
		}
		return a.lock.GiveBack(ctx)
	}, func() error {
		if a.note == nil {
			return nil
		}
		return a.note.GiveBack(ctx)
	}, func() error {
		a.unspend(ctx)
		return nil
	})
}

// largest is the largest outcome that a claim has room for. What a response quotes is cut; an alert is as large as it came.
const largest = store.MaxValue - 8<<10

// complete records the outcome and tells of it. What fails here is not the response's failure: what was done is done.
func (a *attempt) complete(ctx context.Context, record *Record) {
	r := a.f.Repeats
	original := *record
	encoded, err := json.Marshal(record)
	if err == nil {
		// The first answer is what a repeat will get: what a response put into it as it is after its way through JSON.
		*record = Record{}
		err = json.Unmarshal(encoded, record)
	}
	if err != nil {
		*record = original
		a.f.Log.ErrorContext(ctx, "outcome not recorded", "response", a.f.Name, "error", err.Error())
		encoded = nil
	}
	size := len(encoded)
	if size > largest {
		a.f.Log.ErrorContext(ctx, "outcome not recorded", "response", a.f.Name, "bytes", size, "most", largest)
		encoded = nil // The claim is complete all the same: what was done must not be done again.
	}
	if a.lock != nil {
		a.f.recent.put(a.eventKey, record, size, a.received.Add(r.Keep))
		if a.storm {
			a.f.recent.put(a.refKey(), record, size, a.f.Now().Add(r.lasts(record)))
		}
	}
	a.together(ctx, func() error {
		switch {
		case a.lock == nil:
			return nil
		case a.storm:
			return a.lock.Complete(ctx, encoded, r.lasts(record))
		}
		return a.lock.Complete(ctx, encoded, r.Keep)
	}, func() error {
		if a.note == nil {
			return nil
		}
		return a.note.Complete(ctx, encoded, r.Keep)
	}, func() error {
		a.announce(ctx, &original)
		return nil
	})
}

// together does several things at the same time, and logs what fails.
func (a *attempt) together(ctx context.Context, all ...func() error) {
	var wait sync.WaitGroup
	for _, one := range all {
		wait.Go(func() {
			defer func() { // Nobody else would catch it here.
				if p := recover(); p != nil {
					a.f.Log.ErrorContext(ctx, "response panicked", "panic", fmt.Sprint(p))
				}
			}()
			if err := one(); err != nil {
				a.f.Log.WarnContext(ctx, "claim not settled", "response", a.f.Name, "alert_id", a.eventID, "error", err.Error())
			}
		})
	}
	wait.Wait()
}

func (a *attempt) announce(ctx context.Context, record *Record) {
	announcer, ok := a.f.Responder.(Announcer)
	if !ok || record.Repeat {
		return
	}
	if err := announcer.Announce(ctx, *record); err != nil {
		a.f.Log.LogAttrs(ctx, slog.LevelWarn, "outcome not announced", slog.String("response", a.f.Name), slog.String("error", err.Error()))
	}
}
