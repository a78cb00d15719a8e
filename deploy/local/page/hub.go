package page

import (
	"encoding/json"
	"fmt"
	"sync"
)

// maxBehind is how many messages a page may be behind before it is cut off. Its
// browser connects again by itself and gets everything anew.
const maxBehind = 512

// Hub hands what happens to every page that is open. A page that comes later gets
// the last message of each topic and key first.
type Hub struct {
	mu     sync.Mutex
	order  []string // topic and key, oldest first
	last   map[string][]byte
	pages  map[chan []byte]struct{}
	closed bool
}

// NewHub returns a Hub without pages.
func NewHub() *Hub {
	return &Hub{last: map[string][]byte{}, pages: map[chan []byte]struct{}{}}
}

// Publish hands out the new state of something.
func (h *Hub) Publish(topic, key string, state any) error {
	data, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("publish %s: %w", topic, err)
	}
	h.hand(topic, key, fmt.Appendf(nil, "event: %s\ndata: %s\n\n", topic, data), false)
	return nil
}

// Drop takes something back: pages that come later do not hear of it.
func (h *Hub) Drop(topic, key string) {
	h.hand(topic, key, nil, true)
}

func (h *Hub) hand(topic, key string, message []byte, drop bool) {
	id := topic + "\x00" + key
	h.mu.Lock()
	defer h.mu.Unlock()
	if drop {
		delete(h.last, id)
		for i, other := range h.order {
			if other == id {
				h.order = append(h.order[:i:i], h.order[i+1:]...)
				break
			}
		}
		return
	}
	if _, known := h.last[id]; !known {
		h.order = append(h.order, id)
	}
	h.last[id] = message
	for page := range h.pages {
		select {
		case page <- message:
		default:
			delete(h.pages, page)
			close(page)
		}
	}
}

// join returns what there is now and a channel of what comes. The channel is closed
// when the page is too slow or the Hub is closed.
func (h *Hub) join() (snapshot [][]byte, page chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range h.order {
		snapshot = append(snapshot, h.last[id])
	}
	page = make(chan []byte, maxBehind)
	if h.closed {
		close(page)
		return snapshot, page
	}
	h.pages[page] = struct{}{}
	return snapshot, page
}

func (h *Hub) leave(page chan []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, joined := h.pages[page]; joined {
		delete(h.pages, page)
		close(page)
	}
}

// Close cuts off every page.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for page := range h.pages {
		delete(h.pages, page)
		close(page)
	}
}
