package function

import (
	"context"

	"github.com/riposte-dev/riposte/triggers"
)

// watch reads the Triggers again when their folder changes. A set with something wrong in it changes nothing but a
// metric, and the log says what is wrong.
func (e *engine) watch(ctx context.Context) error {
	changed := func(s triggers.State) { e.change(ctx, s) }
	for {
		live, err := triggers.Watch(ctx, e.settings.Triggers, e.log, triggers.WatchOptions{Changed: changed})
		if err == nil {
			changed(live.State())
			<-ctx.Done()
			return nil
		}
		// Changed for the worse since the router started.
		e.metrics.stale.Set(1)
		e.log.ErrorContext(ctx, "triggers cannot be read, those of the start stay in use", "error", err.Error())
		if sleep(ctx, triggers.DefaultInterval) != nil {
			return nil //nolint:nilerr // It is told to stop.
		}
	}
}

// change puts a newer generation into effect.
func (e *engine) change(ctx context.Context, s triggers.State) {
	e.changing.Lock()
	defer e.changing.Unlock()
	if s.Generation < e.generation { // Overtaken.
		return
	}
	err := s.Err
	if s.Generation > e.generation {
		e.generation = s.Generation
		if used := e.use(s.Set); used != nil {
			err = used
			e.log.ErrorContext(ctx, "triggers cannot be used, the older ones stay in use", "error", used.Error())
		}
	}
	e.metrics.generation.Set(float64(s.Generation))
	e.metrics.stale.Set(0)
	if err != nil {
		e.metrics.stale.Set(1)
	}
}
