package response

import (
	"container/list"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

const (
	// recentRecords and recentBytes bound what a process remembers. What it forgets stands in the store.
	recentRecords = 4096
	recentBytes   = 8 << 20
)

// recent are the outcomes a process gave lately. It only saves asking the store; the zero value is ready.
type recent struct {
	mu    sync.Mutex
	byKey map[string]*list.Element
	// order has the oldest first.
	order list.List
	bytes int
}

type remembered struct {
	key    string
	record *Record
	size   int
	until  time.Time
	// published is the record as an event, since somebody asked for it.
	published *published
}

// published is a record as the answer to an event of so many hops. Nobody writes to it.
type published struct {
	hops  int
	event event.Event
}

func (r *recent) get(key string, now time.Time) *remembered {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byKey[key]
	if e == nil {
		return nil
	}
	m, ok := e.Value.(*remembered)
	if !ok || !now.Before(m.until) {
		r.remove(e)
		return nil
	}
	return m
}

// publish is what is remembered as an event, encoded once for all that ask for it in a row. What it takes counts as the
// record does.
func (r *recent) publish(m *remembered, record *Record) (event.Event, error) {
	r.mu.Lock()
	known := m.published
	r.mu.Unlock()
	if known != nil && known.hops == record.Hops {
		return known.event, nil
	}
	e, err := record.Event()
	if err != nil {
		return event.Event{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := r.byKey[m.key]; at != nil && at.Value == any(m) {
		more := len(e.Data())
		if m.published != nil {
			more -= len(m.published.event.Data())
		}
		m.published = &published{record.Hops, e}
		m.size += more
		r.grow(more)
	}
	return e, nil
}

func (r *recent) put(key string, record *Record, size int, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = map[string]*list.Element{}
	}
	if e := r.byKey[key]; e != nil {
		r.remove(e)
	}
	r.byKey[key] = r.order.PushBack(&remembered{key: key, record: record, size: size, until: until})
	r.grow(size)
}

// grow notes that there is more of it, and forgets the oldest.
func (r *recent) grow(bytes int) {
	r.bytes += bytes
	for r.order.Len() > recentRecords || (r.bytes > recentBytes && r.order.Len() > 1) {
		r.remove(r.order.Front())
	}
}

func (r *recent) remove(e *list.Element) {
	if m, ok := r.order.Remove(e).(*remembered); ok {
		delete(r.byKey, m.key)
		r.bytes -= m.size
	}
}
