package triggers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// DefaultInterval is how often a watched folder is looked at.
const DefaultInterval = time.Second

// maxUnsettled bounds how many looks in a row may find the folder changed before it
// is loaded as it is.
const maxUnsettled = 10

// WatchOptions are settings of [Watch]. Their zero value is fine.
type WatchOptions struct {
	// Interval is how often the folder is looked at; 0 means DefaultInterval. A change
	// is in use after one to two intervals.
	Interval time.Duration
	// Changed is called after every change of the State, one call at a time.
	Changed func(State)
}

// State is what a [Live] holds at one time.
type State struct {
	// Set is the triggers in use.
	Set *Set
	// Generation counts the sets that were in use, from 1.
	Generation int
	// Loaded is the time since which the set is in use.
	Loaded time.Time
	// Err says why the newest manifests are not in use: a [*LoadError], or what went
	// wrong with reading them. It is nil if they are.
	Err error
}

// Live is the triggers of a folder that is being watched. It is safe for use by many
// at the same time.
type Live struct {
	dir      string
	log      *slog.Logger
	interval time.Duration
	changed  func(State)
	state    atomic.Pointer[State]

	// What follows belongs to the goroutine that looks at the folder.

	seen      []file   // the folder as it was when last looked at
	loaded    bool     // whether what was seen has been loaded
	unsettled int      // how many looks in a row have found a change
	digest    [32]byte // of the manifests loaded last, good or bad
	verdict   error    // what was wrong with them
	good      *Set     // the last set without problems
}

// Set returns the triggers in use. It costs next to nothing: ask for each event.
func (l *Live) Set() *Set { return l.state.Load().Set }

// State returns the triggers in use and whether they are the newest.
func (l *Live) State() State { return *l.state.Load() }

// Watch loads the manifests in a folder and keeps them up to date until ctx ends.
// It fails if they cannot be used now, with a [*LoadError] if they are wrong; later,
// wrong manifests leave the triggers in use as they are, and one line for each
// problem is logged. A folder without any Trigger is wrong too: so looks a volume
// that is not mounted.
//
// It notices edited, added and removed files, and the renamed link by which the
// kubelet updates a mounted ConfigMap. It looks for them in intervals: the kernel's
// notices (inotify) say nothing of what others change on a network filesystem, stay
// with the folder that a link pointed to before, and miss what a mount hides; and
// nobody would notice that they do. What has changed is loaded when two looks in a
// row find it the same, so a file that is being written is not read half.
func Watch(ctx context.Context, dir string, log *slog.Logger, options WatchOptions) (*Live, error) {
	l, err := newLive(dir, log, options)
	if err != nil {
		return nil, err
	}
	go l.run(ctx)
	return l, nil
}

func newLive(dir string, log *slog.Logger, options WatchOptions) (*Live, error) {
	l := &Live{dir: dir, log: log, interval: options.Interval, changed: options.Changed}
	if l.interval <= 0 {
		l.interval = DefaultInterval
	}
	if l.changed == nil {
		l.changed = func(State) {}
	}
	fsys, seen, err := l.look()
	if err != nil {
		return nil, err
	}
	sources, err := read(fsys, seen)
	if err != nil {
		return nil, err
	}
	// What was seen now may have been changed while it was read, so it does not count
	// as loaded: the next look reads it again, and compares.
	l.seen = seen
	if l.load(sources); l.verdict != nil {
		return nil, l.verdict
	}
	l.state.Store(&State{Set: l.good, Generation: 1, Loaded: time.Now()})
	return l, nil
}

func (l *Live) run(ctx context.Context) {
	ticker := time.NewTicker(l.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.poll(ctx)
		}
	}
}

// poll looks at the folder once, and loads it if it has changed and settled.
func (l *Live) poll(ctx context.Context) {
	fsys, now, err := l.look()
	if err != nil {
		l.unreadable(ctx, err)
		return
	}
	if !sameFiles(now, l.seen) {
		l.seen, l.loaded = now, false
		if l.unsettled++; l.unsettled < maxUnsettled {
			return
		}
	}
	if l.loaded {
		l.unsettled = 0
		return
	}
	sources, err := read(fsys, now)
	if err != nil {
		l.unreadable(ctx, err)
		return
	}
	if _, after, err := l.look(); l.unsettled < maxUnsettled && (err != nil || !sameFiles(after, now)) {
		return // Changed while it was read; the next look sees that too.
	}
	l.loaded, l.unsettled = true, 0
	l.load(sources)
	l.publish(ctx)
}

// look says which manifests the folder has and what their files are like.
func (l *Live) look() (fs.FS, []file, error) {
	fsys, err := openDir(l.dir)
	if err != nil {
		return nil, nil, err
	}
	files, err := list(fsys)
	return fsys, files, err
}

// sameFiles compares what is cheap to ask for: names, sizes, times, and whether the
// files are the same ones. Links are followed first, so a file that a link points to
// from now on is another one.
func sameFiles(a, b []file) bool {
	return slices.EqualFunc(a, b, func(a, b file) bool {
		return a.name == b.name && a.info.Size() == b.info.Size() && a.info.ModTime().Equal(b.info.ModTime()) &&
			a.info.Mode() == b.info.Mode() && os.SameFile(a.info, b.info)
	})
}

// load reads the manifests unless they are those it read last.
func (l *Live) load(sources []source) {
	digest := digestOf(sources)
	if digest == l.digest {
		return
	}
	set, err := parseSafely(sources)
	if err == nil && len(set.Triggers()) == 0 {
		err = &LoadError{Problems: []Problem{{
			File: l.dir, Message: "there is no Trigger in the folder",
			Cure: "name the folder that has the manifests, and see that it is mounted",
		}}}
	}
	if l.digest, l.verdict = digest, err; err == nil {
		l.good = set
	}
}

// parseSafely makes an error of a panic of Knative's code, which reads what may have
// been written by anybody who may change a ConfigMap.
func parseSafely(sources []source) (set *Set, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			set, err = nil, fmt.Errorf("read trigger manifests: knative's code failed on them: %v", recovered)
		}
	}()
	return parse(sources)
}

func digestOf(sources []source) [32]byte {
	h := sha256.New()
	for _, s := range sources {
		h.Write([]byte(strconv.Quote(s.name) + " " + strconv.Itoa(len(s.content)) + "\n"))
		h.Write(s.content)
	}
	return [32]byte(h.Sum(nil))
}

// unreadable keeps the triggers in use. The folder is read again at the next look.
func (l *Live) unreadable(ctx context.Context, err error) {
	l.loaded = false
	state := l.State()
	if state.Err != nil && state.Err.Error() == err.Error() {
		return // It has been said.
	}
	l.log.ErrorContext(ctx, "trigger manifests cannot be read", "folder", l.dir, "error", err.Error(), "generation", state.Generation)
	state.Err = err
	l.store(state)
}

// publish puts what was loaded into use, or says why not.
func (l *Live) publish(ctx context.Context) {
	state := l.State()
	switch {
	case l.verdict != nil:
		if state.Err != nil && state.Err.Error() == l.verdict.Error() {
			return
		}
		l.refuse(ctx, state.Generation)
		state.Err = l.verdict
	case state.Set != l.good:
		state = State{Set: l.good, Generation: state.Generation + 1, Loaded: time.Now()}
		l.log.InfoContext(ctx, "trigger manifests loaded", "folder", l.dir, "triggers", len(l.good.Triggers()), "generation", state.Generation)
	case state.Err != nil:
		state.Err = nil
		l.log.InfoContext(ctx, "trigger manifests can be read again", "folder", l.dir, "generation", state.Generation)
	default:
		return
	}
	l.store(state)
}

func (l *Live) refuse(ctx context.Context, generation int) {
	var failure *LoadError
	if !errors.As(l.verdict, &failure) {
		l.log.ErrorContext(ctx, "trigger manifests refused", "folder", l.dir, "error", l.verdict.Error(), "generation", generation)
		return
	}
	for _, p := range failure.Problems {
		l.log.ErrorContext(ctx, "trigger manifest refused", "folder", l.dir, "file", p.File, "line", p.Line,
			"object", p.Object, "field", p.Field, "problem", p.Message, "cure", p.Cure, "generation", generation)
	}
}

func (l *Live) store(state State) {
	l.state.Store(&state)
	l.changed(state)
}
