package functions

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// maxLine bounds how much of one line is kept.
const maxLine = 64 << 10

// lineWriter passes on what a function says and picks out its address.
type lineWriter struct {
	log     io.Writer
	address chan string

	mu      sync.Mutex
	partial []byte
	newest  string
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.log != nil {
		_, _ = w.log.Write(b) // A full disk must not stop the function.
	}
	w.partial = append(w.partial, b...)
	for {
		line, rest, found := bytes.Cut(w.partial, []byte("\n"))
		if !found {
			w.partial = w.partial[:min(len(w.partial), maxLine)]
			return len(b), nil
		}
		w.line(string(line))
		w.partial = rest
	}
}

func (w *lineWriter) line(line string) {
	var entry struct {
		Message string `json:"msg"`
		Address string `json:"address"`
	}
	if err := json.Unmarshal([]byte(line), &entry); err == nil && entry.Message == "listening" && entry.Address != "" {
		select {
		case w.address <- entry.Address:
		default:
		}
	}
	if strings.TrimSpace(line) != "" {
		w.newest = line
	}
}

// last returns the last line.
func (w *lineWriter) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}
