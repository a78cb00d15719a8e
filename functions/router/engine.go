package function

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/triggers"
)

// engine delivers events.
type engine struct {
	settings output
	log      *slog.Logger
	metrics  *metrics
	tracer   trace.Tracer
	caller   caller
	table    atomic.Pointer[table]
	tasks    *tasks
	// graveyard is what DEAD_LETTER_URL names; nil without it.
	graveyard graveyard
	// journal is nil without JOURNAL_URL.
	journal *journal
	// boundToken is the path of a SinkBinding's token for K_SINK; empty where there is none.
	boundToken string
	// held is the size of the deliveries that go on, in bytes.
	held atomic.Int64

	mu           sync.Mutex
	destinations map[string]*destination

	changing   sync.Mutex
	generation int
}

func newEngine(settings output, host serve.Host) (*engine, error) {
	e := &engine{
		settings: settings, log: host.Log, metrics: newMetrics(host.Metrics), tracer: host.Tracer, caller: newCaller(),
		tasks: newTasks(), destinations: map[string]*destination{},
	}
	var err error
	if e.graveyard, err = e.newGraveyard(); err != nil {
		return nil, err
	}
	if settings.JournalURL != "" {
		if e.journal, err = newJournal(settings.journaling); err != nil {
			return nil, err
		}
	}
	if settings.Sink != "" {
		if e.boundToken, err = boundToken(sinkBindingToken); err != nil {
			return nil, err
		}
		t, err := e.sinkRoute()
		e.table.Store(t)
		return e, err
	}
	set, err := triggers.LoadDir(settings.Triggers)
	if err != nil {
		return nil, err
	}
	return e, e.use(set)
}

// use puts a generation of Triggers into effect. Deliveries that have begun end by the one they began with.
func (e *engine) use(set *triggers.Set) error {
	t, err := e.newTable(set)
	if err != nil {
		return err
	}
	e.table.Store(t)
	e.metrics.triggers.Set(float64(len(set.Triggers())))
	return nil
}

// run works until ctx ends, and then lets what has begun finish.
func (e *engine) run(ctx context.Context) error {
	group, beside := errgroup.WithContext(ctx)
	if e.settings.Triggers != "" {
		group.Go(func() error { return e.watch(beside) })
	}
	if e.journal != nil {
		group.Go(func() error { return e.lookAfter(beside) })
		group.Go(func() error { return e.stayAlive(beside) })
	}
	group.Go(func() error { <-beside.Done(); return nil })
	err := group.Wait()
	e.tasks.drain(e.patience())
	return err
}

// ready is nil until the router is told to stop.
func (e *engine) ready() error {
	if e.tasks.stopping() {
		return errors.New("the router is stopping")
	}
	return nil
}

func (e *engine) patience() time.Duration { return e.settings.Timeout }
