package budget

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// ledger is the record of a budget: what was drawn, by whom, and when. It is written as JSON, for people to read.
type ledger struct {
	Drawn []draw `json:"drawn"`
	// Told says that a refusal was told of since something was last drawn.
	Told bool `json:"told,omitempty"`
	// Keep is the longest window, in seconds, that any function counts with: functions may be set differently.
	Keep int64 `json:"keep"`
}

// draw is one entry.
type draw struct {
	At time.Time `json:"at"`
	N  int       `json:"n"`
	// Who is the event that a single one was drawn for, and By the processes that handle it. It can be given back when none
	// of them needs it.
	Who string   `json:"who,omitempty"`
	By  []string `json:"by,omitempty"`
	// Ended says that a row of refusals had been told of when it was drawn. The row goes on if it is given back.
	Ended bool `json:"ended,omitempty"`
}

// blocks is how many draws make up a limit, at least.
const blocks = 20

// ahead is how long a process may use what it has drawn in a block.
func ahead(window time.Duration) time.Duration { return window / 10 }

// counts is until when a draw counts. One is used when it is drawn; the last one of a block may be used at the end of the
// block's time, so that the block counts for as much longer.
func (d draw) counts(window time.Duration) time.Time {
	if d.N > 1 {
		window += ahead(window)
	}
	return d.At.Add(window)
}

func decode(value []byte) (ledger, error) {
	var g ledger
	if err := json.Unmarshal(value, &g); err != nil {
		return ledger{}, fmt.Errorf("the record is not Riposte's: %w", err)
	}
	for _, d := range g.Drawn {
		if d.N < 1 || d.At.IsZero() {
			return ledger{}, fmt.Errorf("the record is not Riposte's: it says that %d were drawn at %s", d.N, d.At)
		}
	}
	return g, nil
}

// at is a copy of the ledger as it stands now, to be changed, for somebody who counts with this window.
func (g ledger) at(now time.Time, window time.Duration) ledger {
	keep := max(window, time.Duration(g.Keep)*time.Second)
	fresh := ledger{Told: g.Told, Keep: int64((keep + time.Second - 1) / time.Second)}
	for _, d := range g.Drawn {
		if d.At.After(now.Add(window)) {
			d.At = now // By a clock that is wrong altogether. It counts from when it was seen.
		}
		if now.Before(d.counts(keep)) {
			d.By = slices.Clone(d.By)
			fresh.Drawn = append(fresh.Drawn, d)
		}
	}
	return fresh
}

// total is how much of it counts.
func (g ledger) total(now time.Time, window time.Duration, which func(draw) bool) int {
	n := 0
	for _, d := range g.Drawn {
		if now.Before(d.counts(window)) && which(d) {
			n += d.N
		}
	}
	return n
}

func every(draw) bool { return true }

// free is when less than allowed will count.
func (g ledger) free(now time.Time, window time.Duration, allowed int) time.Time {
	drawn := slices.Clone(g.Drawn)
	slices.SortFunc(drawn, func(a, b draw) int { return a.counts(window).Compare(b.counts(window)) })
	left, until := g.total(now, window, every), now
	for _, d := range drawn {
		if left < allowed {
			break
		}
		if now.Before(d.counts(window)) {
			left, until = left-d.N, d.counts(window)
		}
	}
	return until
}

// find is where the draw for an event is, if it still counts, or -1.
func (g ledger) find(who string, now time.Time, window time.Duration) int {
	return slices.IndexFunc(g.Drawn, func(d draw) bool { return d.N == 1 && d.Who == who && now.Before(d.counts(window)) })
}

// most bounds the list where functions count with very different windows: what is longest ago is left out first.
const most = 512

// add appends a draw. Its time is not before that of the others, so that a process whose clock is behind draws nothing that
// counts for less long than it should.
func (g *ledger) add(now time.Time, d draw) draw {
	d.At, d.Ended, g.Told = now, g.Told, false
	for _, other := range g.Drawn {
		if other.At.After(d.At) {
			d.At = other.At
		}
	}
	g.Drawn = append(g.Drawn, d)
	if len(g.Drawn) > most {
		g.Drawn = g.Drawn[len(g.Drawn)-most:]
	}
	return d
}

// drop takes a process from a draw, and the draw away if nobody else needs it.
func (g *ledger) drop(i int, process string) {
	d := &g.Drawn[i]
	d.By = slices.DeleteFunc(d.By, func(s string) bool { return s == process })
	if len(d.By) > 0 {
		return
	}
	ended := d.Ended
	g.Drawn = slices.Delete(g.Drawn, i, i+1)
	switch {
	case !ended:
	case i < len(g.Drawn):
		g.Drawn[i].Ended = true
	default:
		g.Told = true
	}
}

// expires is when nothing in it counts for anybody.
func (g ledger) expires(now time.Time) time.Time {
	until := now.Add(time.Second)
	for _, d := range g.Drawn {
		if t := d.counts(time.Duration(g.Keep) * time.Second); t.After(until) {
			until = t
		}
	}
	return until
}
