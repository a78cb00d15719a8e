package kube_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/store/storetest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// leases are the records of one namespace, seen by a replica.
type leases struct {
	store.Store
	client    *kube.Client
	proxy     *testkit.Proxy
	namespace string
}

func newLeases(t *testing.T, env *testkit.Env, namespace string) *leases {
	t.Helper()
	client, proxy := newClient(t, env, false)
	return &leases{kube.NewLeases(client, namespace), client, proxy, namespace}
}

// all are the Leases of the namespace, by key.
func (l *leases) all(t *testing.T) map[string]coordinationv1.Lease {
	t.Helper()
	var list coordinationv1.LeaseList
	if err := l.client.List(t.Context(), kube.Leases, l.namespace, &list); err != nil {
		t.Fatal(err)
	}
	byKey := map[string]coordinationv1.Lease{}
	for _, lease := range list.Items {
		byKey[lease.Annotations["riposte.dev/key"]] = lease
	}
	return byKey
}

func (l *leases) create(t *testing.T, key string, expires time.Time) store.Entry {
	t.Helper()
	e, err := l.Create(t.Context(), key, []byte("value"), expires)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func inAnHour() time.Time  { return time.Now().Add(time.Hour) }
func anHourAgo() time.Time { return time.Now().Add(-time.Hour) }

func TestLeases(t *testing.T) {
	env := testkit.Cluster(t)
	storetest.Run(t, func(t *testing.T) store.Store {
		t.Helper()
		return newLeases(t, env, env.Namespace(t))
	})
}

func TestLeaseIsReadable(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	l := newLeases(t, env, env.Namespace(t))
	expires := time.Now().Add(time.Hour)
	if _, err := l.Create(t.Context(), "delete-pod/event/1", []byte(`{"event":"1"}`), expires); err != nil {
		t.Fatal(err)
	}
	lease := l.all(t)["delete-pod/event/1"]
	want := map[string]string{
		"riposte.dev/key": "delete-pod/event/1", "riposte.dev/record": `{"event":"1"}`,
		"riposte.dev/expires": expires.UTC().Format(time.RFC3339Nano),
	}
	if diff := cmp.Diff(want, lease.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	labels := map[string]string{"app.kubernetes.io/managed-by": "riposte", "app.kubernetes.io/name": "riposte-test"}
	if diff := cmp.Diff(labels, lease.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if holder := lease.Spec.HolderIdentity; holder == nil || !strings.HasPrefix(*holder, "riposte-test_") {
		t.Errorf("the holder is %v: want one that names the function", holder)
	}
}

func TestLeaseRequests(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	l := newLeases(t, env, env.Namespace(t))
	e := l.create(t, "key", inAnHour())
	e, err := l.Replace(t.Context(), "key", e, []byte("second"), inAnHour())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(t.Context(), "key", e); err != nil {
		t.Fatal(err)
	}
	var verbs []string
	for _, r := range l.proxy.Requests() {
		verbs = append(verbs, r.Verb)
	}
	if diff := cmp.Diff([]string{"create", "update", "delete"}, verbs); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// leaseCalls are all requests of the store. The record is there.
func leaseCalls(l *leases, e store.Entry) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"get":    func(ctx context.Context) error { _, err := l.Get(ctx, "key"); return err },
		"create": func(ctx context.Context) error { _, err := l.Create(ctx, "other", nil, inAnHour()); return err },
		"update": func(ctx context.Context) error { _, err := l.Replace(ctx, "key", e, nil, inAnHour()); return err },
		"delete": func(ctx context.Context) error { return l.Delete(ctx, "key", e) },
		"list":   func(ctx context.Context) error { _, err := l.Sweep(ctx); return err },
	}
}

func TestLeaseErrorsHaveTheirKind(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, test := range map[string]struct {
		effect testkit.Effect
		want   response.Kind
		// changed are the verbs for which it means that somebody else has changed the record.
		changed string
	}{
		"a conflict":                {testkit.Answers(http.StatusConflict, 0), response.Transient, "update delete"},
		"an internal error":         {testkit.Answers(http.StatusInternalServerError, 0), response.Transient, ""},
		"too many requests":         {testkit.Answers(http.StatusTooManyRequests, 0), response.Transient, ""},
		"unavailable":               {testkit.Answers(http.StatusServiceUnavailable, 0), response.Transient, ""},
		"forbidden":                 {testkit.Answers(http.StatusForbidden, 0), response.Permanent, ""},
		"unauthorized":              {testkit.Answers(http.StatusUnauthorized, 0), response.Permanent, ""},
		"no answer":                 {testkit.Hangs(), response.Transient, ""},
		"a broken connection":       {testkit.Resets(), response.Transient, ""},
		"an answer lost":            {testkit.ResetsAfterwards(), response.Transient, ""},
		"half an answer":            {testkit.Truncates(), response.Transient, ""},
		"a page of somebody else's": {testkit.Says("text/html", "<html>"), response.Transient, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLeases(t, env, env.Namespace(t))
			e := l.create(t, "key", inAnHour())
			for verb, do := range leaseCalls(l, e) {
				l.proxy.Inject(&testkit.Fault{Verb: verb, Resource: "leases", Effect: test.effect})
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				err := do(ctx)
				cancel()
				l.proxy.Heal()
				if strings.Contains(test.changed, verb) {
					if !errors.Is(err, store.ErrChanged) {
						t.Errorf("%s: got error %v, want %v", verb, err, store.ErrChanged)
					}
					continue
				}
				if got := response.KindOf(err); err == nil || got != test.want {
					t.Errorf("%s: got kind %s of error %v, want %s", verb, got, err, test.want)
				}
				for _, sentinel := range []error{store.ErrExists, store.ErrNotFound, store.ErrChanged} {
					if errors.Is(err, sentinel) {
						t.Errorf("%s: the error says %q, which nobody knows", verb, sentinel)
					}
				}
			}
		})
	}
}

// timesOut stores a change and says that it may not have been: what the API server answers when etcd is slow.
func timesOut(w http.ResponseWriter, r *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), r)
	testkit.Answers(http.StatusInternalServerError, 1)(w, r, next)
}

func TestLeaseWriteMeetsItself(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	l := newLeases(t, env, env.Namespace(t))
	for _, verb := range []string{"create", "update", "delete"} {
		l.proxy.Inject(&testkit.Fault{Verb: verb, Resource: "leases", Times: 1, Effect: timesOut})
	}
	e := l.create(t, "key", inAnHour())
	e, err := l.Replace(t.Context(), "key", e, []byte("second"), inAnHour())
	if err != nil {
		t.Fatalf("replace: %v", err)
	}
	if got, err := l.Get(t.Context(), "key"); err != nil || got.Version != e.Version {
		t.Errorf("get: version %q, error %v, want version %q", got.Version, err, e.Version)
	}
	if err := l.Delete(t.Context(), "key", e); err != nil {
		t.Errorf("delete: %v", err)
	}
}

// A request that is sent again and meets somebody else's write does not take it for its own.
func TestLeaseWriteSentAgainMeetsAnother(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	l, others := newLeases(t, env, namespace), newLeases(t, env, namespace)
	e := l.create(t, "key", inAnHour())
	l.proxy.Inject(&testkit.Fault{Verb: "update", Resource: "leases", Times: 1, Effect: func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, err := others.Replace(r.Context(), "key", e, nil, inAnHour()); err != nil {
			t.Errorf("the others: %v", err)
		}
		testkit.Answers(http.StatusInternalServerError, 1)(w, r, next)
	}})
	if _, err := l.Replace(t.Context(), "key", e, nil, inAnHour()); !errors.Is(err, store.ErrChanged) {
		t.Errorf("replace: got error %v, want %v", err, store.ErrChanged)
	}
}

func TestLeaseWriteMeetsAnother(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, test := range map[string]struct {
		// verb is the request before which the others act.
		verb string
		act  func(ctx context.Context, others *leases, e store.Entry) error
		do   func(ctx context.Context, l *leases, e store.Entry) error
		want error
	}{
		"an expired record is created anew by another": {"update", func(ctx context.Context, others *leases, _ store.Entry) error {
			_, err := others.Create(ctx, "expired", nil, inAnHour())
			return err
		}, func(ctx context.Context, l *leases, _ store.Entry) error {
			_, err := l.Create(ctx, "expired", nil, inAnHour())
			return err
		}, store.ErrExists},
		"an expired record is swept": {"get", func(ctx context.Context, others *leases, _ store.Entry) error {
			_, err := others.Sweep(ctx)
			return err
		}, func(ctx context.Context, l *leases, _ store.Entry) error {
			_, err := l.Create(ctx, "expired", nil, inAnHour())
			return err
		}, nil},
		"an expired record is swept at the last moment": {"update", func(ctx context.Context, others *leases, _ store.Entry) error {
			_, err := others.Sweep(ctx)
			return err
		}, func(ctx context.Context, l *leases, _ store.Entry) error {
			_, err := l.Create(ctx, "expired", nil, inAnHour())
			return err
		}, nil},
		"a record is replaced while it is replaced": {"update", func(ctx context.Context, others *leases, e store.Entry) error {
			_, err := others.Replace(ctx, "key", e, nil, inAnHour())
			return err
		}, func(ctx context.Context, l *leases, e store.Entry) error {
			_, err := l.Replace(ctx, "key", e, nil, inAnHour())
			return err
		}, store.ErrChanged},
		"a record is deleted while it is replaced": {"update", func(ctx context.Context, others *leases, e store.Entry) error {
			return others.Delete(ctx, "key", e)
		}, func(ctx context.Context, l *leases, e store.Entry) error {
			_, err := l.Replace(ctx, "key", e, nil, inAnHour())
			return err
		}, store.ErrChanged},
		"a record is deleted and made again while it is replaced": {"update", func(ctx context.Context, others *leases, e store.Entry) error {
			_, err := others.Create(ctx, "key", nil, inAnHour())
			return errors.Join(others.Delete(ctx, "key", e), notExists(err))
		}, func(ctx context.Context, l *leases, e store.Entry) error {
			_, err := l.Replace(ctx, "key", e, nil, inAnHour())
			return err
		}, store.ErrChanged},
		"a record is replaced while it is deleted": {"delete", func(ctx context.Context, others *leases, e store.Entry) error {
			_, err := others.Replace(ctx, "key", e, nil, inAnHour())
			return err
		}, func(ctx context.Context, l *leases, e store.Entry) error {
			return l.Delete(ctx, "key", e)
		}, store.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			l, others := newLeases(t, env, namespace), newLeases(t, env, namespace)
			e := l.create(t, "key", inAnHour())
			l.create(t, "expired", anHourAgo())
			fault := l.proxy.Inject(&testkit.Fault{Verb: test.verb, Resource: "leases", Times: 1, Effect: testkit.Meanwhile(func() {
				if err := test.act(t.Context(), others, e); err != nil {
					t.Errorf("the others: %v", err)
				}
			})})
			if err := test.do(t.Context(), l, e); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			select {
			case <-fault.Reached():
			default:
				t.Errorf("there was no %s to act before", test.verb)
			}
		})
	}
}

func notExists(err error) error {
	if errors.Is(err, store.ErrExists) {
		return nil
	}
	return fmt.Errorf("a record was created beside itself: %w", err)
}

func TestSweepOfLeases(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	l, others := newLeases(t, env, namespace), newLeases(t, env, namespace)
	l.create(t, "expired", anHourAgo())
	l.create(t, "valid", inAnHour())
	taken := l.create(t, "taken", anHourAgo())
	for _, lease := range []*coordinationv1.Lease{
		{ObjectMeta: metav1.ObjectMeta{Name: "foreign", Annotations: map[string]string{"riposte.dev/expires": "2020-01-01T00:00:00Z"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "unreadable", Labels: map[string]string{"app.kubernetes.io/managed-by": "riposte"}}},
	} {
		lease.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
		lease.Annotations = map[string]string{"riposte.dev/key": lease.Name, "riposte.dev/expires": lease.Annotations["riposte.dev/expires"]}
		if err := l.client.Create(t.Context(), kube.Leases, namespace, lease); err != nil {
			t.Fatal(err)
		}
	}
	l.proxy.Inject(&testkit.Fault{Verb: "delete", Resource: "leases", Times: 1, Effect: testkit.Meanwhile(func() {
		if _, err := others.Replace(t.Context(), "taken", taken, nil, inAnHour()); err != nil {
			t.Errorf("the others: %v", err)
		}
	})})
	n, err := l.Sweep(t.Context())
	if err != nil || n != 1 {
		t.Errorf("swept %d, %v: want 1", n, err)
	}
	got := map[string]bool{}
	for key := range l.all(t) {
		got[key] = true
	}
	if diff := cmp.Diff(map[string]bool{"valid": true, "taken": true, "foreign": true, "unreadable": true}, got); diff != "" {
		t.Errorf("Leases left (-want +got):\n%s", diff)
	}
}

// A sweep is bounded, and the next one goes on where it ended.
func TestLargeSweepOfLeases(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	l := newLeases(t, env, env.Namespace(t))
	const expired, valid = 520, 60
	for i := range expired + valid {
		expires := anHourAgo()
		if i%10 == 0 && i/10 < valid {
			expires = inAnHour()
		}
		l.create(t, fmt.Sprint(i), expires)
	}
	want := len(l.all(t)) - 58 // 0, 10, ... 570 are valid
	swept, calls := 0, 0
	for ; swept < want && calls < 4; calls++ {
		l.proxy.Forget()
		n, err := l.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if deleted := len(l.proxy.Requests()); n > 499 || deleted > 510 {
			t.Errorf("one sweep took %d records and %d requests: want 499 and their lists at most", n, deleted)
		}
		swept += n
	}
	if left := len(l.all(t)); swept != want || left != 58 || calls < 2 {
		t.Errorf("%d swept in %d calls, %d left: want %d in 2 or more, and 58", swept, calls, left, want)
	}
}

// A list that cannot be gone on with, because it began too long ago, begins anew.
func TestSweepBeginsAnew(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	l := newLeases(t, env, env.Namespace(t))
	l.create(t, "expired", anHourAgo())
	l.proxy.Inject(&testkit.Fault{Verb: "list", Resource: "leases", Times: 1, Effect: func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusGone)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}`))
	}})
	if n, err := l.Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("the first sweep took %d, %v: want none, and no error", n, err)
	}
	if n, err := l.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("the second sweep took %d, %v: want 1", n, err)
	}
}

// What somebody else has written into a Lease is an operator's to look at, and nothing to act on.
func TestForeignLease(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, annotations := range map[string]map[string]any{
		"another key":  {"riposte.dev/key": "other"},
		"no key":       {"riposte.dev/key": nil},
		"no expiry":    {"riposte.dev/expires": nil},
		"a bad expiry": {"riposte.dev/expires": "soon"},
		"bad bytes":    {"riposte.dev/record.ascii85": "~~~"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLeases(t, env, env.Namespace(t))
			l.create(t, "key", inAnHour())
			lease := l.all(t)["key"]
			patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
			if err := l.client.Merge(t.Context(), kube.Leases, l.namespace, lease.Name, patch, nil); err != nil {
				t.Fatal(err)
			}
			_, got := l.Get(t.Context(), "key")
			_, created := l.Create(t.Context(), "key", nil, inAnHour())
			for what, err := range map[string]error{"get": got, "create": created} {
				if response.KindOf(err) != response.Permanent {
					t.Errorf("%s: got kind %s of error %v, want permanent", what, response.KindOf(err), err)
				}
			}
		})
	}
}

// What is measured is what a claim and a draw from a budget cost.
func BenchmarkLeases(b *testing.B) {
	env := testkit.Cluster(b)
	client, err := kube.NewClient(env.Config, false, "riposte-test")
	if err != nil {
		b.Fatal(err)
	}
	value := []byte(strings.Repeat(`{"x":1}`, 60))
	for name, one := range map[string]func(b *testing.B, s store.Store, e store.Entry, i int) (store.Entry, error){
		"create": func(b *testing.B, s store.Store, _ store.Entry, i int) (store.Entry, error) {
			b.Helper()
			return s.Create(b.Context(), fmt.Sprint(i), value, inAnHour())
		},
		"replace": func(b *testing.B, s store.Store, e store.Entry, _ int) (store.Entry, error) {
			b.Helper()
			return s.Replace(b.Context(), "key", e, value, inAnHour())
		},
		"get": func(b *testing.B, s store.Store, _ store.Entry, _ int) (store.Entry, error) {
			b.Helper()
			return s.Get(b.Context(), "key")
		},
	} {
		b.Run(name, func(b *testing.B) {
			s := kube.NewLeases(client, env.Namespace(b))
			e, err := s.Create(b.Context(), "key", value, inAnHour())
			for i := 0; b.Loop() && err == nil; i++ {
				e, err = one(b, s, e, i)
			}
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
