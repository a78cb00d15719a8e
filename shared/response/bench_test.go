package response_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// storm makes alerts of one rule in one pod, each with an identity of its own.
type storm struct {
	body []byte
	at   []byte
	n    int
}

func newStorm(b *testing.B) *storm {
	b.Helper()
	s := &storm{body: bytes.Clone(testkit.Find(b, "02").Alert)}
	at := bytes.Index(s.body, []byte(`"time":"2026-01-01T00:00:00.123456789Z"`))
	if at < 0 {
		b.Fatal("the capture has no time")
	}
	s.at = s.body[at+len(`"time":"2026-01-01T00:00:00.`):][:9]
	return s
}

// next is the event of another alert, in the same bytes.
func (s *storm) next() response.Event {
	s.n++
	copy(s.at, fmt.Sprintf("%09d", 123456789+s.n))
	return response.Event{ID: "e-1", Type: falco.TypeFalcosidekick, Data: s.body}
}

// quiet is a function that remembers, and has answered the storm's first alert. Its log goes nowhere.
func quiet(b *testing.B, s *storm) *observed {
	b.Helper()
	f := replica(store.NewMemory(time.Now), &world{})
	f.Log = slog.New(slog.NewJSONHandler(io.Discard, nil)) //nolint:sloglint // Its lines cost what they cost.
	f.Observe = func(response.Observation) {}
	f.Alerts = []response.AlertGuard{guard.Sane{MinPriority: falco.Debug}}
	f.Repeats.Window = time.Hour
	answered(b, f, s.next(), response.Applied)
	return f
}

func answered(b *testing.B, f *observed, e response.Event, want response.Verdict) *response.Record {
	b.Helper()
	record, err := f.Handle(b.Context(), e)
	if err != nil || record.Outcome != want {
		b.Fatalf("handled to %v, %v: want %s", record, err, want)
	}
	return record
}

// BenchmarkRepeat is an alert that was answered before, from its bytes to its log line and its record.
func BenchmarkRepeat(b *testing.B) {
	s := newStorm(b)
	f := quiet(b, s)
	e := response.Event{ID: "e-1", Type: falco.TypeFalcosidekick, Data: s.body}
	b.ReportAllocs()
	for b.Loop() {
		answered(b, f, e, response.Applied)
	}
}

// BenchmarkDuplicate is another alert of the same rule and pod each time.
func BenchmarkDuplicate(b *testing.B) {
	s := newStorm(b)
	f := quiet(b, s)
	b.ReportAllocs()
	for b.Loop() {
		answered(b, f, s.next(), response.Skipped)
	}
}

// BenchmarkEvent is the way from a record to the outcome event.
func BenchmarkEvent(b *testing.B) {
	s := newStorm(b)
	f := quiet(b, s)
	for name, record := range map[string]*response.Record{
		"applied":   answered(b, f, response.Event{ID: "e-1", Type: falco.TypeFalcosidekick, Data: s.body}, response.Applied),
		"duplicate": answered(b, f, s.next(), response.Skipped),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := record.Event(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
