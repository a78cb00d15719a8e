package function

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// journaling are the settings of the journal.
type journaling struct {
	JournalURL string        `env:"JOURNAL_URL" help:"Where a copy of each delivery is kept until it is made, so that senders need not wait: s3://BUCKET/PREFIX?region=REGION, which several routers can share, or file:///FOLDER, which belongs to one. Answers are then 202."`
	Takeover   time.Duration `env:"JOURNAL_TAKEOVER" envDefault:"1m" help:"A copy in the journal that nobody has touched for so long is taken up; a router that works on one touches it three times in that time."`
}

// Validate checks what the settings mean together.
func (j journaling) Validate() error {
	if j.Takeover < 100*time.Millisecond || j.Takeover > time.Hour {
		return fmt.Errorf("JOURNAL_TAKEOVER is %q: want 100ms to 1h", j.Takeover)
	}
	if j.JournalURL != "" && !isStoreURL(j.JournalURL) {
		return fmt.Errorf("JOURNAL_URL is %q: want file:///FOLDER or s3://BUCKET/PREFIX?region=REGION", shown(j.JournalURL))
	}
	return checkStoreURL("JOURNAL_URL", j.JournalURL)
}

// journal holds a copy of each delivery that somebody was promised.
type journal struct {
	*store
	takeover time.Duration
	// due are the copies that wait for a queue to call back, so that they need not be read each time, and begun says that
	// the journal was looked through once. Both belong to the loop that does so.
	due   map[string]time.Time
	begun bool
}

func newJournal(settings journaling) (*journal, error) {
	s, err := newStore(settings.JournalURL)
	if err != nil {
		return nil, fmt.Errorf("JOURNAL_URL: %w", err)
	}
	return &journal{store: s, takeover: settings.Takeover, due: map[string]time.Time{}}, nil
}

var entryName = regexp.MustCompile(`^journal/[0-9a-f]{32}\.json$`)

func nameOf(key string) string { return "journal/" + key + ".json" }

func keyOf(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "journal/"), ".json")
}

// record is one copy, as this router wrote it last. Its lock keeps a touch from bringing back what was removed.
type record struct {
	key string

	mu   sync.Mutex
	body []byte
	gone bool
}

// add writes the first copy of a delivery.
func (j *journal) add(ctx context.Context, key string, d *delivery) (*record, error) {
	r := &record{key: key}
	if err := j.save(ctx, r, d); err != nil {
		return nil, err
	}
	return r, nil
}

// save writes what was tried so far.
func (j *journal) save(ctx context.Context, r *record, d *delivery) error {
	body, err := encodeEntry(d)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return nil
	}
	r.body = body
	return j.write(ctx, nameOf(r.key), body)
}

// touch says to other routers that somebody works on the delivery.
func (j *journal) touch(ctx context.Context, r *record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone {
		return nil
	}
	return j.write(ctx, nameOf(r.key), r.body)
}

// close lets this router write the copy no more: whoever goes on with the delivery has a record of its own.
func (r *record) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
}

// drop removes a copy for good, even if the router is stopped meanwhile: what it is of is done.
func (j *journal) drop(ctx context.Context, r *record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = true
	return j.remove(context.WithoutCancel(ctx), nameOf(r.key))
}

// enterJournal writes the copy of a delivery, or says to other routers that this one works on it now. Who sent the
// event, and a router that stops, need not wait from then on.
func (e *engine) enterJournal(t *task, d *delivery) {
	if e.journal == nil {
		return
	}
	var err error
	if t.record == nil {
		t.record, err = e.journal.add(t.calls, t.key, d)
	} else {
		err = e.journal.save(t.calls, t.record, d)
	}
	if err != nil {
		e.log.ErrorContext(t.calls, "journal does not take a delivery, so its sender waits", "function", d.route.function, "event_id", d.event.ID(), "error", err.Error())
	}
	if t.record != nil {
		e.tasks.keep(t)
	}
}

// save writes what was tried so far, if there is a journal. Without this copy a router that takes the delivery up
// only tries more often.
func (e *engine) save(t *task, d *delivery, last answer) {
	if t.record == nil {
		return
	}
	d.last = last
	if err := e.journal.save(t.calls, t.record, d); err != nil {
		e.log.WarnContext(t.calls, "journal does not take what was tried", "function", d.route.function, "event_id", d.event.ID(), "error", err.Error())
	}
}

// forget removes the copy of what is done. If that fails the delivery is made again some time: functions are made for
// it.
func (e *engine) forget(t *task, d *delivery) {
	if t.record == nil {
		return
	}
	if err := e.journal.drop(t.calls, t.record); err != nil {
		e.log.WarnContext(t.calls, "journal keeps what is done", "function", d.route.function, "event_id", d.event.ID(), "error", err.Error())
	}
}
