package function

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errStopped ends what a router that is told to stop cannot finish.
var errStopped = errors.New("the router is stopping")

// errSuperseded ends a delivery whose earlier attempt turned out to have succeeded.
var errSuperseded = errors.New("an earlier attempt succeeded")

// task is one delivery that goes on, whether its sender waits or not.
type task struct {
	key string
	// safe is closed when nobody needs to wait: the journal has the delivery, or it is over. done, when it is over.
	safe, done chan struct{}
	// calls is the context of what is in flight; waits, which ends first, that of what only waits.
	calls, waits context.Context
	cancel       context.CancelCauseFunc
	stopWaiting  context.CancelCauseFunc
	began        time.Time
	// record is the copy in the journal; nil without one.
	record *record

	// queued says that the journal has it. result is what came of it otherwise. Both are to be read after safe.
	queued bool
	result result
}

// tasks are all that go on. There is one for an event and a function, so that a repeat joins the first.
type tasks struct {
	mu      sync.Mutex
	active  map[string]*task
	stopped bool
	aborted bool
	idle    chan struct{}
}

func newTasks() *tasks { return &tasks{active: map[string]*task{}, idle: make(chan struct{})} }

// begin makes a task, or finds the one that goes on with this key.
func (s *tasks) begin(ctx context.Context, key string) (t *task, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.active[key]; t != nil {
		return t, false
	}
	t = &task{key: key, safe: make(chan struct{}), done: make(chan struct{}), began: time.Now()}
	t.calls, t.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	t.waits, t.stopWaiting = context.WithCancelCause(t.calls)
	if s.aborted {
		t.cancel(errStopped)
	}
	s.active[key] = t
	return t, true
}

// keep says that the journal has the task: the sender need not wait, nor a router that stops.
func (s *tasks) keep(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.queued = true
	if s.stopped {
		t.stopWaiting(errStopped)
	}
	close(t.safe)
}

// end takes a task that is over off the list.
func (s *tasks) end(t *task, r result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.active, t.key)
	t.cancel(nil)
	if !t.queued {
		t.result = r
		close(t.safe)
	}
	close(t.done)
	s.rest()
}

// rest closes idle if the last task is over after the stop.
func (s *tasks) rest() {
	if s.stopped && len(s.active) == 0 {
		select {
		case <-s.idle:
		default:
			close(s.idle)
		}
	}
}

// get is the task with this key, or nil.
func (s *tasks) get(key string) *task {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.active[key]
}

// kept are the tasks that the journal has.
func (s *tasks) kept() []*task {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*task
	for _, t := range s.active {
		if t.queued {
			out = append(out, t)
		}
	}
	return out
}

// drain lets the tasks finish, those that the journal has without any more waiting, and ends them after grace.
func (s *tasks) drain(grace time.Duration) {
	s.mu.Lock()
	s.stopped = true
	for _, t := range s.active {
		if t.queued {
			t.stopWaiting(errStopped)
		}
	}
	s.rest()
	s.mu.Unlock()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-s.idle:
		return
	case <-timer.C:
	}
	s.mu.Lock()
	s.aborted = true
	for _, t := range s.active {
		t.cancel(errStopped)
	}
	s.mu.Unlock()
	<-s.idle
}

func (s *tasks) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}
