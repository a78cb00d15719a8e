package budget_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riposte-dev/riposte/shared/budget"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.Main(m)) }

// clock is one that a test moves, in a bubble of testing/synctest: it stands still while anything is done.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func newClock() *clock { return &clock{} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

func limit(t *testing.T, text string) budget.Limit {
	t.Helper()
	var l budget.Limit
	if err := l.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return l
}

func settings(t *testing.T, function, workload, cluster string) budget.Settings {
	t.Helper()
	return budget.Settings{Function: limit(t, function), Workload: limit(t, workload), Cluster: limit(t, cluster)}
}

// counted counts the requests to a store, and can make them fail.
type counted struct {
	store.Store
	mu       sync.Mutex
	requests []string
	fail     func(verb string) error
}

func (c *counted) note(verb string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests = append(c.requests, verb)
	if c.fail != nil {
		return c.fail(verb)
	}
	return nil
}

func (c *counted) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := c.note("get"); err != nil {
		return store.Entry{}, err
	}
	return c.Store.Get(ctx, key)
}

func (c *counted) Create(ctx context.Context, key string, value []byte, expires time.Time) (store.Entry, error) {
	if err := c.note("create"); err != nil {
		return store.Entry{}, err
	}
	return c.Store.Create(ctx, key, value, expires)
}

func (c *counted) Replace(ctx context.Context, key string, old store.Entry, value []byte, expires time.Time) (store.Entry, error) {
	if err := c.note("replace"); err != nil {
		return store.Entry{}, err
	}
	return c.Store.Replace(ctx, key, old, value, expires)
}

func (c *counted) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	requests := c.requests
	c.requests = nil
	return requests
}

// drawn takes one and wants to get it.
func drawn(t *testing.T, b *budget.Budget, who string) *budget.Token {
	t.Helper()
	return drawnFor(t, b, who, "", 0)
}

func drawnFor(t *testing.T, b *budget.Budget, who, workload string, ready int) *budget.Token {
	t.Helper()
	token, x, err := b.Take(t.Context(), who, workload, ready)
	if err != nil || x != nil || token == nil {
		t.Fatalf("%s: refused with %+v, error %v: want it granted", who, x, err)
	}
	return token
}

// refused takes one and wants to be refused.
func refused(t *testing.T, b *budget.Budget, who string) *budget.Exhausted {
	t.Helper()
	return refusedFor(t, b, who, "", 0)
}

func refusedFor(t *testing.T, b *budget.Budget, who, workload string, ready int) *budget.Exhausted {
	t.Helper()
	token, x, err := b.Take(t.Context(), who, workload, ready)
	if err != nil || x == nil || token != nil {
		t.Fatalf("%s: granted, or error %v: want it refused", who, err)
	}
	return x
}

func TestWindowSlides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		b := budget.New(store.NewMemory(c.Now), "delete-pod", settings(t, "3/1m", "off", "off"), c.Now)
		start := c.Now()
		for i := range 3 { // at 0, 10 and 20 seconds
			drawn(t, b, fmt.Sprint("first ", i))
			c.Add(10 * time.Second)
		}
		x := refused(t, b, "too many")
		if x.Scope != "function" || x.Limit != "3/1m" || !x.Until.Equal(start.Add(time.Minute)) || x.Repeat {
			t.Errorf("refused with %+v: want the function's 3/1m until a minute after the first, for the first time", x)
		}
		c.Add(30*time.Second - 1) // a moment before
		if x := refused(t, b, "too early"); !x.Repeat {
			t.Errorf("refused with %+v: want a repeat", x)
		}
		c.Add(1)
		drawn(t, b, "second 0")
		if x := refused(t, b, "too many again"); x.Repeat || !x.Until.Equal(start.Add(70*time.Second)) {
			t.Errorf("refused with %+v: want it until a minute after the second, for the first time since something was drawn", x)
		}
		c.Add(time.Hour)
		for i := range 3 {
			drawn(t, b, fmt.Sprint("third ", i))
		}
		refused(t, b, "too many once more")
	})
}

func TestScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		b := budget.New(s, "delete-pod", settings(t, "4/1m", "10%/1m", "6/1h"), c.Now)
		other := budget.New(s, "isolate", settings(t, "4/1m", "10%/1m", "6/1h"), c.Now)

		drawnFor(t, b, "1", "Deployment/shop/cart", 5) // 10 % of 5 is less than one, which is the least
		if x := refusedFor(t, b, "2", "Deployment/shop/cart", 5); x.Scope != "workload" || x.Limit != "10%/1m" || x.Repeat {
			t.Errorf("refused with %+v: want the workload's, for the first time", x)
		}
		if x := refusedFor(t, b, "3", "Deployment/shop/cart", 19); x.Scope != "workload" || !x.Repeat {
			t.Errorf("refused with %+v: want the workload's, again", x)
		}
		drawnFor(t, b, "4", "Deployment/shop/cart", 20)
		drawnFor(t, b, "5", "Deployment/shop/web", 1)
		drawnFor(t, other, "6", "Deployment/shop/cart", 5)
		drawn(t, b, "7")
		if x := refused(t, b, "8"); x.Scope != "function" {
			t.Errorf("refused with %+v: want the function's", x)
		}
		drawn(t, other, "9")
		if x := refused(t, other, "10"); x.Scope != "cluster" || x.Limit != "6/1h" {
			t.Errorf("refused with %+v: want the cluster's", x)
		}
		if x := other.Exhausted(c.Now()); x == nil || x.Scope != "cluster" || !x.Repeat {
			t.Errorf("from memory it is %+v: want the cluster's, again", x)
		}
		c.Add(time.Minute)
		// Both functions' own windows are over, the cluster's is not.
		if x := refused(t, b, "11"); x.Scope != "cluster" {
			t.Errorf("refused with %+v: want the cluster's", x)
		}
	})
}

func TestOff(t *testing.T) {
	s := &counted{Store: store.NewMemory(time.Now)}
	b := budget.New(s, "delete-pod", settings(t, "off", "off", "off"), time.Now)
	for i := range 100 {
		drawnFor(t, b, fmt.Sprint(i), "Deployment/shop/cart", 1).Return(t.Context())
	}
	if n := len(s.take()); n != 0 || b.Exhausted(time.Now()) != nil {
		t.Errorf("%d requests, want none, and no budget exhausted", n)
	}
}

// What one scope refuses costs the others nothing.
func TestRefusalGivesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		b := budget.New(s, "delete-pod", settings(t, "2/1m", "1/1m", "3/1h"), c.Now)
		drawnFor(t, b, "1", "Deployment/shop/cart", 5)
		another := budget.New(s, "delete-pod", settings(t, "2/1m", "1/1m", "3/1h"), c.Now)
		for i := range 5 {
			refusedFor(t, another, fmt.Sprint("refused ", i), "Deployment/shop/cart", 5)
		}
		drawnFor(t, another, "2", "Deployment/shop/web", 5)
		if x := refusedFor(t, b, "3", "Deployment/shop/api", 5); x.Scope != "function" {
			t.Errorf("refused with %+v: want the function's, of which two are drawn", x)
		}
	})
}

// What is tried beside something else draws like any other, and is refused without a trace: whoever is refused in earnest is
// still the first, and nothing of any scope is lost.
func TestTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		replica := func() *budget.Budget {
			return budget.New(s, "delete-pod", settings(t, "2/1m", "1/1m", "3/1h"), c.Now)
		}
		try := func(b *budget.Budget, who, workload string) *budget.Token {
			return b.Try(t.Context(), who, workload, 5)
		}
		a, b := replica(), replica()
		first := try(a, "1", "Deployment/shop/cart")
		if first == nil {
			t.Fatal("nothing is in the way, and nothing was drawn")
		}
		for i := range 3 {
			if try(b, fmt.Sprint("refused ", i), "Deployment/shop/cart") != nil {
				t.Error("the workload's budget is used up, and one was drawn")
			}
		}
		if x := refusedFor(t, b, "3", "Deployment/shop/cart", 5); x.Repeat || x.Scope != "workload" {
			t.Errorf("refused with %+v: want the first refusal, of the workload", x)
		}
		drawnFor(t, b, "4", "Deployment/shop/web", 5) // The function's second: the tries have cost it nothing.
		if try(b, "5", "Deployment/shop/api") != nil {
			t.Error("the function's budget is used up, and one was drawn")
		}
		first.Return(t.Context())
		if try(a, "6", "Deployment/shop/cart") == nil {
			t.Error("it was given back, and nothing is drawn")
		}
	})
}

// Where the store does not answer nothing is drawn, and Take says why.
func TestTryWithoutAStore(t *testing.T) {
	s := &counted{Store: store.NewMemory(time.Now), fail: func(string) error { return errors.New("no store") }}
	b := budget.New(s, "delete-pod", settings(t, "2/1m", "off", "off"), time.Now)
	if b.Try(t.Context(), "1", "", 0) != nil {
		t.Error("something was drawn")
	}
	if _, _, err := b.Take(t.Context(), "1", "", 0); err == nil {
		t.Error("want an error")
	}
}

func TestReturn(t *testing.T) {
	for name, of := range map[string]struct {
		limit string
		count int
	}{
		"one at a time": {"5/1m", 5},
		"in blocks":     {"100/1m", 100},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClock()
				s := store.NewMemory(c.Now)
				b := budget.New(s, "delete-pod", settings(t, of.limit, "off", of.limit), c.Now)
				tokens := map[string]*budget.Token{}
				for i := range of.count {
					who := fmt.Sprint(i)
					tokens[who] = drawn(t, b, who)
				}
				refused(t, b, "too many")
				if b.Exhausted(c.Now()) == nil {
					t.Error("memory does not know that it is exhausted")
				}
				tokens["1"].Return(t.Context())
				tokens["1"].Return(t.Context()) // does nothing
				if x := b.Exhausted(c.Now()); x != nil {
					t.Errorf("something was given back, and memory says %+v", x)
				}
				drawn(t, b, "instead")
				// What is given back to a block does not reach the record, where the first refusal is noted.
				if x := refused(t, b, "too many again"); x.Repeat == (of.count < 40) {
					t.Errorf("refused with %+v: want the first since something was drawn from the record", x)
				}
			})
		})
	}
}

func TestReturnHelpsOtherReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		a, b := budget.New(s, "delete-pod", settings(t, "1/1m", "off", "1/1m"), c.Now), budget.New(s, "delete-pod", settings(t, "1/1m", "off", "1/1m"), c.Now)
		drawn(t, a, "1").Return(t.Context())
		drawn(t, b, "2")
		refused(t, a, "3")
	})
}

func TestSameEventDrawsOnce(t *testing.T) {
	for name, text := range map[string]string{"one at a time": "5/1m", "in blocks": "40/1m"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClock()
				s := store.NewMemory(c.Now)
				l := limit(t, text)
				b := budget.New(s, "delete-pod", settings(t, text, text, text), c.Now)
				for i := range l.Count {
					drawnFor(t, b, fmt.Sprint(i), "Deployment/shop/cart", 1)
				}
				refusedFor(t, b, "too many", "Deployment/shop/cart", 1)
				for i := range l.Count {
					if !b.Holds(fmt.Sprint(i), c.Now()) {
						t.Errorf("memory does not know of event %d", i)
					}
					drawnFor(t, b, fmt.Sprint(i), "Deployment/shop/cart", 1)
				}
				if b.Holds("too many", c.Now()) {
					t.Error("memory says that the refused event has drawn")
				}
				c.Add(2 * time.Minute)
				if b.Holds("1", c.Now()) {
					t.Error("memory says that what counts no more is still held")
				}
			})
		})
	}
}

// A redelivery may come to another replica, even while the first is still at it. What that one has done must stay counted
// when the other gives back.
func TestSameEventOnTwoReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		replica := func() *budget.Budget { return budget.New(s, "delete-pod", settings(t, "1/1m", "off", "off"), c.Now) }
		a, b := replica(), replica()
		first, second := drawn(t, a, "event"), drawn(t, b, "event")
		first.Return(t.Context())
		refused(t, replica(), "other")
		third := drawn(t, a, "event")
		fourth := drawn(t, a, "event")
		second.Return(t.Context())
		third.Return(t.Context())
		third.Return(t.Context())
		refused(t, replica(), "other")
		fourth.Return(t.Context())
		drawn(t, replica(), "other")
	})
}

// A response that ends long after its window gives nothing back of what the same event has drawn since.
func TestLateReturn(t *testing.T) {
	for name, text := range map[string]string{"one at a time": "1/1s", "in blocks": "40/1s"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClock()
				s := store.NewMemory(c.Now)
				b := budget.New(s, "delete-pod", settings(t, text, "off", "off"), c.Now)
				late := drawn(t, b, "event")
				c.Add(2 * time.Second)
				for i := range limit(t, text).Count - 1 {
					drawn(t, b, fmt.Sprint(i))
				}
				drawn(t, b, "event")
				late.Return(t.Context())
				refused(t, b, "too many")
			})
		})
	}
}

// Two functions answer the same event, and each draws from the budget of all.
func TestSameEventOfTwoFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		drawn(t, budget.New(s, "isolate", settings(t, "5/1m", "off", "2/1h"), c.Now), "event")
		drawn(t, budget.New(s, "delete-pod", settings(t, "5/1m", "off", "2/1h"), c.Now), "event")
		refused(t, budget.New(s, "label", settings(t, "5/1m", "off", "2/1h"), c.Now), "event")
	})
}

func TestDeadReplicaLosesItsBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		replica := func() *budget.Budget { return budget.New(s, "delete-pod", settings(t, "100/1m", "off", "off"), c.Now) }
		drawn(t, replica(), "the last that it did") // of a block of 5
		b, n := replica(), 0
		for ; n < 200; n++ {
			if _, x, err := b.Take(t.Context(), fmt.Sprint(n), "", 0); err != nil || x != nil {
				break
			}
		}
		if n != 95 {
			t.Errorf("%d were left of 100: want 95, all but the dead replica's block", n)
		}
		c.Add(66 * time.Second)
		for i := range 100 {
			drawn(t, b, fmt.Sprint("again ", i))
		}
	})
}

// Functions with different windows share the cluster's budget, and each gets its own.
func TestDifferentWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		brisk := budget.New(s, "brisk", settings(t, "off", "off", "2/1s"), c.Now)
		slow := budget.New(s, "slow", settings(t, "off", "off", "3/1h"), c.Now)
		drawn(t, slow, "0")
		for i := range 2 {
			c.Add(time.Minute)
			drawn(t, brisk, fmt.Sprint(i))
		}
		refused(t, slow, "too many in an hour")
		drawn(t, brisk, "not too many in a second")
	})
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := &counted{Store: store.NewMemory(c.Now)}
		b := budget.New(s, "delete-pod", settings(t, "5/1m", "off", "off"), c.Now)
		drawn(t, b, "0")
		if got := fmt.Sprint(s.take()); got != "[get create]" {
			t.Errorf("the first draw made the requests %s", got)
		}
		for i := 1; i < 5; i++ {
			drawn(t, b, fmt.Sprint(i))
			if got := fmt.Sprint(s.take()); got != "[replace]" {
				t.Errorf("draw %d made the requests %s: want one", i, got)
			}
		}
		refused(t, b, "first")
		if got := fmt.Sprint(s.take()); got != "[replace]" {
			t.Errorf("the first refusal made the requests %s: want one", got)
		}
		for i := range 1000 {
			refused(t, b, fmt.Sprint("flood ", i))
		}
		if x := b.Exhausted(c.Now()); x == nil || !x.Repeat {
			t.Errorf("memory says %+v: want that it is exhausted", x)
		}
		if got := s.take(); len(got) != 0 {
			t.Errorf("the flood made the requests %s: want none", got)
		}
	})
}

func TestBlocksSaveRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := &counted{Store: store.NewMemory(c.Now)}
		b := budget.New(s, "delete-pod", settings(t, "1000/1m", "off", "off"), c.Now)
		for i := range 1000 {
			drawn(t, b, fmt.Sprint(i))
		}
		if got := len(s.take()); got > 21 {
			t.Errorf("1000 draws made %d requests: want 21 at most", got)
		}
	})
}

var errStore = response.PermanentError(errors.New("denied"))

func TestStoreErrors(t *testing.T) {
	for name, test := range map[string]struct {
		fail func(verb string) error
		want response.Kind
	}{
		"the store refuses to read":     {func(verb string) error { return only(verb == "get", errStore) }, response.Permanent},
		"the store refuses to write":    {func(verb string) error { return only(verb == "create", errStore) }, response.Permanent},
		"others always get in first":    {func(verb string) error { return only(verb == "create", store.ErrExists) }, response.Transient},
		"the context has ended by then": {func(string) error { return context.Canceled }, response.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			s := &counted{Store: store.NewMemory(time.Now), fail: test.fail}
			b := budget.New(s, "delete-pod", settings(t, "5/1m", "off", "off"), time.Now)
			token, x, err := b.Take(t.Context(), "1", "", 0)
			if token != nil || x != nil || err == nil || response.KindOf(err) != test.want {
				t.Errorf("got token %v, refusal %v, kind %s of error %v: want an error of kind %s", token, x, response.KindOf(err), err, test.want)
			}
			s.fail = nil
			drawn(t, b, "1")
		})
	}
}

func only(is bool, err error) error {
	if is {
		return err
	}
	return nil
}

// A write whose answer was lost may have taken place: the event that comes again finds that it has drawn.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		memory := store.NewMemory(c.Now)
		lost := &losing{Store: memory, lose: true}
		s := &counted{Store: lost}
		b := budget.New(s, "delete-pod", settings(t, "2/1m", "off", "off"), c.Now)
		if _, _, err := b.Take(t.Context(), "event", "", 0); err == nil {
			t.Fatal("the answer was lost, and there was no error")
		}
		lost.lose = false
		s.take()
		drawn(t, b, "event")
		if got := fmt.Sprint(s.take()); got != "[get]" {
			t.Errorf("to find out made the requests %s: want one", got)
		}
		drawn(t, b, "other")
		refused(t, b, "too many")
	})
}

// losing writes, and loses the answer.
type losing struct {
	store.Store
	lose bool
}

func (l *losing) Create(ctx context.Context, key string, value []byte, expires time.Time) (store.Entry, error) {
	e, err := l.Store.Create(ctx, key, value, expires)
	if l.lose {
		return store.Entry{}, response.TransientError(errors.New("the answer was lost"), 0)
	}
	return e, err
}

// What cannot be read does not let everything pass, and is gone with the window.
func TestUnreadableRecord(t *testing.T) {
	for name, value := range map[string]string{
		"no JSON": "?", "no time": `{"drawn":[{"n":1}]}`, "less than none": `{"drawn":[{"at":"2026-01-01T00:00:00Z","n":-5}]}`, "another form": `{"drawn":5}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newClock()
				s := store.NewMemory(c.Now)
				if _, err := s.Create(t.Context(), "budget/function/delete-pod", []byte(value), c.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				b := budget.New(s, "delete-pod", settings(t, "5/1m", "off", "off"), c.Now)
				if _, _, err := b.Take(t.Context(), "1", "", 0); err == nil {
					t.Error("it was granted")
				}
				c.Add(time.Minute)
				drawn(t, b, "1")
			})
		})
	}
}

// A replica whose clock is a year ahead keeps the others out for a window at most.
func TestClockFarAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ahead := newClock(), newClock()
		ahead.Add(365 * 24 * time.Hour)
		s := store.NewMemory(c.Now)
		drawn(t, budget.New(s, "delete-pod", settings(t, "1/1m", "off", "off"), ahead.Now), "1")
		b := budget.New(s, "delete-pod", settings(t, "1/1m", "off", "off"), c.Now)
		refused(t, b, "2")
		c.Add(time.Minute)
		drawn(t, b, "3")
	})
}

// What a replica draws whose clock is behind counts from the last that others drew.
func TestClockBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, behind := newClock(), newClock()
		behind.Add(-30 * time.Second)
		s := store.NewMemory(c.Now)
		b := budget.New(s, "delete-pod", settings(t, "2/1m", "off", "off"), c.Now)
		drawn(t, b, "1")
		drawn(t, budget.New(s, "delete-pod", settings(t, "2/1m", "off", "off"), behind.Now), "2")
		c.Add(40 * time.Second)
		refused(t, b, "3")
		c.Add(20 * time.Second)
		drawn(t, b, "4")
	})
}

// Names of any length and kind can be budgeted.
func TestOddNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		s := store.NewMemory(c.Now)
		long := "Deployment/" + fmt.Sprintf("%0300d", 1)
		b := budget.New(s, "delete-pod", settings(t, "off", "1/1m", "5/1m"), c.Now)
		drawnFor(t, b, "1\n\xff", long, 1)
		drawnFor(t, b, "1\n\xff", long, 1)
		refusedFor(t, b, "2", long, 1)
		drawnFor(t, b, fmt.Sprintf("%0300d", 2), long+"0", 1)
	})
}

// A process that meets many workloads does not remember them all.
func TestManyWorkloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		b := budget.New(store.NewMemory(c.Now), "delete-pod", settings(t, "off", "1/1s", "off"), c.Now)
		for i := range 2000 {
			c.Add(100 * time.Millisecond)
			workload := fmt.Sprint("Deployment/shop/", i)
			drawnFor(t, b, "1", workload, 1)
			refusedFor(t, b, "2", workload, 1)
		}
	})
}
