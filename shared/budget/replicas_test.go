package budget_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/riposte-dev/riposte/shared/budget"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/store/dynamo"
	"github.com/riposte-dev/riposte/shared/store/dynamo/dynamotest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// replicas are how many processes share a budget, and alerts how many events come to them at once.
const replicas, alerts = 4, 100

// opens gives each replica its own connection to the same records.
type opens func(t *testing.T) func() store.Store

func memory(*testing.T) func() store.Store {
	s := store.NewMemory(time.Now)
	return func() store.Store { return s }
}

func leases(t *testing.T) func() store.Store {
	t.Helper()
	env := testkit.Cluster(t)
	namespace, proxy := env.Namespace(t), env.NewProxy(t, env.AdminAccount(t))
	config, err := clientcmd.BuildConfigFromFlags("", proxy.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return func() store.Store {
		client, err := kube.NewClient(config, false, "riposte-test")
		if err != nil {
			t.Fatal(err)
		}
		return kube.NewLeases(client, namespace)
	}
}

func table(t *testing.T) func() store.Store {
	t.Helper()
	server := dynamotest.Start(t)
	server.NewTable(t, "records")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_DYNAMODB": server.URL, "AWS_REGION": dynamotest.Region, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
	} {
		t.Setenv(name, value)
	}
	return func() store.Store {
		s, err := dynamo.New(t.Context(), "records")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func TestReplicasRace(t *testing.T) {
	for where, open := range map[string]opens{"in memory": memory, "in Leases": leases, "in DynamoDB": table} {
		for name, test := range map[string]struct {
			settings budget.Settings
			// rows says that what is drawn and given back may end a row of refusals, and another begin.
			rows bool
		}{
			"one scope":           {settings(t, "5/1m", "off", "off"), false},
			"the defaults":        {settings(t, "5/1m", "10%/1m", "20/1h"), false},
			"three equal limits":  {settings(t, "5/1m", "5%/1m", "5/1m"), true},
			"the last is tighter": {settings(t, "7/1m", "6/1m", "5/1m"), true},
		} {
			t.Run(name+" "+where, func(t *testing.T) { race(t, open(t), test.settings, test.rows) })
		}
	}
}

// race lets replicas take at once for many alerts about the pods of one workload.
func race(t *testing.T, open func() store.Store, s budget.Settings, rows bool) {
	t.Helper()
	var (
		mu      sync.Mutex
		granted int
		first   = map[string]int{}
		start   = make(chan struct{})
		wait    sync.WaitGroup
	)
	var all []*budget.Budget
	for range replicas {
		all = append(all, budget.New(open(), "delete-pod", s, time.Now))
	}
	for i := range alerts {
		b := all[i%replicas]
		wait.Go(func() {
			<-start
			token, x, err := b.Take(t.Context(), fmt.Sprint("delete-pod/event/", i), "Deployment/shop/cart", 100)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				t.Errorf("alert %d: %v", i, err)
			case token != nil:
				granted++
			case !x.Repeat:
				first[x.Scope]++
			}
		})
	}
	close(start)
	wait.Wait()
	if granted != 5 {
		t.Errorf("%d of %d were granted: want 5", granted, alerts)
	}
	if len(first) == 0 {
		t.Error("no refusal was the first of its row")
	}
	for scope, n := range first {
		if n != 1 && !rows {
			t.Errorf("%d refusals of the %s were the first of their row: want 1", n, scope)
		}
	}
}

// schedule is one made-up run: replicas that come and go, and events that come to any of them and may give back.
type schedule struct {
	rand    *rand.Rand
	limit   budget.Limit
	store   store.Store
	all     []*budget.Budget
	granted []time.Time
}

func (s *schedule) replica(t *testing.T) *budget.Budget {
	t.Helper()
	return budget.New(s.store, "delete-pod", budget.Settings{Function: s.limit}, time.Now)
}

// step is what may happen next.
func (s *schedule) step(t *testing.T, i int) {
	t.Helper()
	window := s.limit.Window
	switch n := s.rand.IntN(100); {
	case n < 3: // somebody dies, and is replaced
		s.all[s.rand.IntN(len(s.all))] = s.replica(t)
	case n < 5:
		<-time.After(s.duration(2 * window))
	case n < 40:
		<-time.After(s.duration(window / 20))
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for j := range 1 + s.rand.IntN(8+s.limit.Count/8) { // at once
		b, back := s.all[s.rand.IntN(len(s.all))], s.rand.IntN(5) == 0
		wait.Go(func() {
			token, x, err := b.Take(t.Context(), fmt.Sprint(i, "/", j), "", 0)
			if err != nil || (token == nil) == (x == nil) {
				t.Errorf("step %d: token %v, refusal %v, error %v: want one of the first two", i, token, x, err)
				return
			}
			if token == nil {
				return
			}
			if back {
				token.Return(t.Context())
				return
			}
			mu.Lock()
			defer mu.Unlock()
			s.granted = append(s.granted, time.Now())
		})
	}
	wait.Wait()
}

// fullest is how much was granted in the window that has most.
func (s *schedule) fullest() int {
	slices.SortFunc(s.granted, time.Time.Compare)
	most, from := 0, 0
	for i, t := range s.granted {
		for ; t.Sub(s.granted[from]) >= s.limit.Window; from++ {
		}
		most = max(most, i-from+1)
	}
	return most
}

// No window of the length, wherever it begins, sees more than the limit, whatever happens; and over a long time as much is
// granted as the limit allows, but for what may be lost.
func TestNoWindowSeesMoreThanTheLimit(t *testing.T) {
	for _, text := range []string{"1/1m", "5/1m", "19/10s", "39/1m", "40/1m", "60/10s", "100/1m", "997/1m"} {
		for seed := range uint64(6) {
			t.Run(fmt.Sprintf("%s, seed %d", text, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &schedule{rand: rand.New(rand.NewPCG(seed, 1)), limit: limit(t, text), store: store.NewMemory(time.Now)}
					for range replicas {
						s.all = append(s.all, s.replica(t))
					}
					begin := time.Now()
					for i := range 300 {
						s.step(t, i)
					}
					windows := int(time.Since(begin)/s.limit.Window) + 1
					t.Logf("%d granted in %d windows, %d in the fullest", len(s.granted), windows, s.fullest())
					if got := s.fullest(); got > s.limit.Count {
						t.Errorf("a window saw %d: want %d at most", got, s.limit.Count)
					}
					if len(s.granted) < s.limit.Count/2 {
						t.Errorf("%d were granted in %d windows of %s: want more", len(s.granted), windows, text)
					}
				})
			})
		}
	}
}

func (s *schedule) duration(most time.Duration) time.Duration {
	return time.Duration(s.rand.Int64N(int64(most)))
}
