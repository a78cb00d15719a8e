// Package budget bounds how much a function does: in itself, to one workload, and together with all other functions.
//
// A budget is a limit of so many responses in a window of time (Limit), which slides: no window of that length, wherever it
// begins, sees more. What was drawn, and when, is a record in the store that the replicas share, written by compare-and-swap;
// each process does so once at a time and remembers what it wrote, so that a draw is one write and the refusals after the
// first are no request at all. What counts is the time of the draw, after which a response begins, by the clock of the process:
// windows are as exact as these clocks agree.
//
// A limit of 40 or more is drawn from in blocks of a twentieth. What a process has not used of a block within a tenth of the
// window is lost, and the block counts for a tenth of the window longer.
//
// The three scopes are asked at the same time. What was drawn from one where another refuses is given back; a refusal that
// rests on what others may be about to give back in this way is looked at again before it is final.
package budget

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/shared/store"
)

// Budget is what a function may do. It is safe for concurrent use.
type Budget struct {
	store    store.Store
	name     string
	process  string
	settings Settings
	now      func() time.Time
	// turn lets one event after the other draw, so that those of one process do not refuse each other.
	turn chan struct{}

	function, cluster *account

	mu        sync.Mutex
	workloads map[string]*account
}

// Exhausted says which budget is used up.
type Exhausted struct {
	// Scope is function, workload or cluster.
	Scope string
	// Limit is that scope's, as it is set: 5/1m.
	Limit string
	// Until is when it may be tried again: then the first of what was drawn does not count any more.
	Until time.Time
	// Repeat is false for the first refusal, over all replicas, since something was last drawn.
	Repeat bool
}

// New makes the budget of a function that the replicas with the same store share.
func New(s store.Store, function string, settings Settings, now func() time.Time) *Budget {
	b := &Budget{
		store: s, name: function, process: rand.Text()[:12], settings: settings, now: now,
		turn: make(chan struct{}, 1), workloads: map[string]*account{},
	}
	b.function = newAccount(s, "function", keyOf("function", function), b.process, settings.Function.Window, now)
	b.cluster = newAccount(s, "cluster", keyOf("cluster"), b.process, settings.Cluster.Window, now)
	return b
}

// longestPart bounds what of a name stands in a key, which may have 200 bytes.
const longestPart = 40

// keyOf is the key of a record.
func keyOf(parts ...string) string {
	key := "budget/" + strings.Join(parts, "/")
	if len(key) <= 4*longestPart && store.Check(key, nil) == nil {
		return key
	}
	return "budget/" + parts[0] + "/" + digest(key)
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// looks is how often an event looks whether others give back what it is refused for, before that is final.
const looks = 32

// Take draws one for an event from all budgets, or says which is used up. who identifies the event: as long as what was
// drawn for it counts, the same event does not draw again. workload is what the target is one replica of, and ready how many
// replicas are; an empty one has no budget.
//
// What is refused may be tried again after Until. An error says that the store could not be asked, or that too many others
// ask it: response.KindOf tells.
func (b *Budget) Take(ctx context.Context, who, workload string, ready int) (*Token, *Exhausted, error) {
	demands := b.demands(who, workload, ready)
	if x := known(demands, b.now()); x != nil {
		return nil, x, nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, nil, b.function.failed("wait for", ctx.Err())
	}
	if x := known(demands, b.now()); x != nil { // while this one waited
		return nil, x, nil
	}
	for n := 0; ; n++ {
		how := patient
		if n >= looks {
			how = firm
		}
		token, waits, x, err := take(ctx, demands, how)
		if len(waits) == 0 {
			return token, x, err
		}
		if n, err = settle(ctx, waits, n); err != nil {
			return nil, nil, err
		}
	}
}

// Try is Take for an event that may not need it after all, such as one whose claim is made at the same time: what is drawn is
// as good as by Take, and has to be given back where it is not needed. It is nil where something is in the way. Nobody is told
// of that, nothing is noted of it, and Take says what it is.
func (b *Budget) Try(ctx context.Context, who, workload string, ready int) *Token {
	demands := b.demands(who, workload, ready)
	if known(demands, b.now()) != nil {
		return nil
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil
	}
	token, _, _, err := take(ctx, demands, quiet)
	if err != nil {
		return nil
	}
	return token
}

// settle waits until what others have drawn just now is given back, or is not going to be.
func settle(ctx context.Context, waits []demand, n int) (int, error) {
	for ; n < looks; n++ {
		if err := pause(ctx, n+2); err != nil {
			return n, waits[0].account.failed("wait for", err)
		}
		for len(waits) > 0 {
			unsettled, err := waits[0].unsettled(ctx)
			if err != nil {
				return n, err
			}
			if unsettled {
				break
			}
			waits = waits[1:]
		}
		if len(waits) == 0 {
			break
		}
	}
	return n, nil
}

// take asks all scopes once. Where the refusal rests on what others may give back it says of which: then it is none yet.
func take(ctx context.Context, demands []demand, how manner) (token *Token, waits []demand, x *Exhausted, err error) {
	answers := make([]answer, len(demands))
	var wait sync.WaitGroup
	for i, d := range demands {
		wait.Go(func() { answers[i] = d.draw(ctx, how) })
	}
	wait.Wait()
	token = &Token{}
	for i, a := range answers {
		switch {
		case a.err != nil:
			err = a.err
		case a.tentative:
			waits = append(waits, demands[i])
		case a.refused != nil:
			x = worse(x, a.refused)
		default:
			token.drawn = append(token.drawn, drawn{demands[i], a.grant})
		}
	}
	if x == nil && err == nil && len(waits) == 0 {
		return token, nil, nil, nil
	}
	token.Return(ctx)
	switch {
	case x != nil:
		return nil, nil, x, nil
	case err != nil:
		return nil, nil, nil, err
	}
	return nil, waits, nil, nil
}

// worse is the refusal to tell of: the first in its row, or the one that lasts longer.
func worse(a, b *Exhausted) *Exhausted {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.Repeat != b.Repeat:
		if a.Repeat {
			return b
		}
		return a
	case b.Until.After(a.Until):
		return b
	}
	return a
}

// known is the refusal that memory alone can give.
func known(demands []demand, now time.Time) *Exhausted {
	var x *Exhausted
	for _, d := range demands {
		x = worse(x, d.exhausted(now))
	}
	return x
}

// demands are what an event needs.
func (b *Budget) demands(who, workload string, ready int) []demand {
	if len(who) > 2*longestPart || store.Check(who, nil) != nil {
		who = "sha256/" + digest(who)
	}
	var demands []demand
	if l := b.settings.Function; !l.Off() {
		demands = append(demands, demand{b.function, who, l, l.of(0)})
	}
	if l := b.settings.Workload; !l.Off() && workload != "" {
		demands = append(demands, demand{b.account(workload), who, l, l.of(ready)})
	}
	if l := b.settings.Cluster; !l.Off() {
		// Other functions answer the same event, and draw for themselves.
		demands = append(demands, demand{b.cluster, b.name + "/" + strings.TrimPrefix(who, b.name+"/"), l, l.of(0)})
	}
	return demands
}

// manyWorkloads is how many are remembered before those that need not be are forgotten.
const manyWorkloads = 256

// account is that of a workload.
func (b *Budget) account(workload string) *account {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.workloads[workload]
	if a == nil {
		if len(b.workloads) >= manyWorkloads {
			now := b.now()
			maps.DeleteFunc(b.workloads, func(_ string, a *account) bool { return a.idle(now) })
		}
		a = newAccount(b.store, "workload", keyOf("workload", b.name, workload), b.process, b.settings.Workload.Window, b.now)
		b.workloads[workload] = a
	}
	return a
}

// Exhausted says, from memory and without a request, that the budget of the function or of the cluster is used up, and
// that somebody was told of it. It does not know of an event that has drawn already: Holds.
func (b *Budget) Exhausted(now time.Time) *Exhausted {
	return known(b.demands("", "", 0), now)
}

// Holds says, from memory, that something was drawn for this event and still counts: what comes again because it failed is
// not to be refused for being over budget.
func (b *Budget) Holds(who string, now time.Time) bool {
	for _, d := range b.demands(who, "", 0) {
		d.account.mu.Lock()
		holds := d.account.holds(d.who, now)
		d.account.mu.Unlock()
		if holds {
			return true
		}
	}
	return false
}
