package response

import (
	"container/list"
	"sync"
	"time"
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
}

func (r *recent) get(key string, now time.Time) *Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byKey[key]
	if e == nil {
		return nil
	}
	m, ok := e.Value.(remembered)
	if !ok || !now.Before(m.until) {
		r.remove(e)
		return nil
	}
	return m.record
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
	r.byKey[key] = r.order.PushBack(remembered{key, record, size, until})
	r.bytes += size
	for r.order.Len() > recentRecords || (r.bytes > recentBytes && r.order.Len() > 1) {
		r.remove(r.order.Front())
	}
}

func (r *recent) remove(e *list.Element) {
	if m, ok := r.order.Remove(e).(remembered); ok {
		delete(r.byKey, m.key)
		r.bytes -= m.size
	}
}
