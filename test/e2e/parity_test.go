package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/triggers"
)

// TestParity posts the same events to Brokers of the same manifests, one on Knative and
// one of the local run, and compares everything that the functions and the dead-letter
// sinks got.
func TestParity(t *testing.T) {
	k := start(t)
	other := k.env.Namespace(t)
	everything := append(captured(t), recorded(t)...)
	for name, tc := range map[string]struct {
		manifests string
		behaviour func(service string) behaviour
		events    []*http.Request
		// least is how many deliveries there have to be, so that not nothing equals nothing.
		least int
	}{
		"7 each capture and outcome by the shipped triggers": {
			manifests: patientBroker + shippedTriggers(t), behaviour: responds, least: 30,
			events: everything,
		},
		"8 each capture and outcome by triggers of every dialect": {
			manifests: patientBroker + strings.NewReplacer("http://127.0.0.1:9001/", "http://legacy.riposte.svc.cluster.local/", "namespace: other", "namespace: "+other).
				Replace(file(t, "triggers", "testdata", "good", "dialects.yaml")),
			behaviour: responds, least: 30,
			events: everything,
		},
		"9 functions that fail in every way": {
			manifests: failureManifests(), behaviour: fails, least: len(failures),
			events: everything[2:3],
		},
		"10 events by a Broker that answers first": {
			manifests: shipped(t), behaviour: responds, least: 30,
			events: captured(t),
		},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := k.env.Namespace(t)
			manifests := within(namespace, tc.manifests)
			set, err := triggers.Load(fstest.MapFS{"all.yaml": {Data: []byte(manifests)}})
			if err != nil {
				t.Fatal(err)
			}
			s := &stage{knative: k, namespace: namespace, set: set, events: tc.events, behaviour: tc.behaviour}
			k.namedServices(t, manifests)
			k.declare(t, manifests)
			real := s.play(t, func(*report) string { return k.broker(namespace, "default") })
			embedded := s.play(t, func(r *report) string { return s.embed(t, r).URL(namespace, "default") })
			if diff := cmp.Diff(real.normal(), embedded.normal()); diff != "" {
				t.Errorf("deliveries differ (-Knative +embedded):\n%s", diff)
			}
			deliveries, dead := real.counts()
			if deliveries < tc.least {
				t.Errorf("there were %d deliveries, want %d and more", deliveries, tc.least)
			}
			t.Logf("%d events by %d triggers: %d deliveries, %d dead letters, %s on Knative, %s embedded",
				len(s.events), len(set.Triggers()), deliveries, dead, real.took.Round(time.Millisecond), embedded.took.Round(time.Millisecond))
		})
	}
}

// patientBroker answers when everything is done, retries and replies included. So nothing
// can still be under way when the deliveries are compared.
const patientBroker = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: riposte}
---
`

// captured are Falcosidekick's CloudEvents.
func captured(t *testing.T) []*http.Request {
	t.Helper()
	var requests []*http.Request
	for _, c := range testkit.Captures(t) {
		if r := c.CloudEvent(t, "http://broker.example"); r != nil {
			requests = append(requests, r)
		}
	}
	return requests
}

// recorded are outcomes of functions.
func recorded(t *testing.T) []*http.Request {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testkit.Root(t), "triggers", "testdata", "outcomes", "*.http"))
	if err != nil || len(files) == 0 {
		t.Fatalf("find the outcomes: %d found, %v", len(files), err)
	}
	var requests []*http.Request
	for _, name := range files {
		requests = append(requests, testkit.CaptureRequest(t, path.Join("..", "..", "triggers", "testdata", "outcomes", filepath.Base(name)), "http://broker.example"))
	}
	return requests
}

// behaviour answers the call of that number, from 1, with an event.
type behaviour func(w http.ResponseWriter, r *http.Request, number int)

// responds is a function that answers an alert with its outcome, and an outcome with nothing.
func responds(service string) behaviour {
	return func(w http.ResponseWriter, r *http.Request, _ int) {
		if r.Header.Get("Ce-Type") == triggers.TypeOutcome {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		for name, value := range map[string]string{
			"Id": r.Header.Get("Ce-Id") + " " + service, "Type": triggers.TypeOutcome, "Source": "/functions/" + service, "Specversion": "1.0",
			"Response": service, "Outcome": "applied", "Rule": r.Header.Get("Ce-Rule"),
		} {
			w.Header().Set("Ce-"+name, value)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"response": %q}`, service)
	}
}

// stage is where one set of manifests and events is played.
type stage struct {
	*knative

	namespace string
	set       *triggers.Set
	events    []*http.Request
	behaviour func(string) behaviour
}

// embed starts the broker of the local run. It is a dead-letter sink itself.
func (s *stage) embed(t *testing.T, r *report) *broker.Broker {
	t.Helper()
	b, err := broker.Start(t.Context(), broker.Options{
		Triggers: s.set, Network: names,
		Hooks: broker.Hooks{DeadLettered: func(d broker.DeadLetter) {
			header := http.Header{}
			for name, value := range map[string]string{
				"id": d.Event.ID(), "type": d.Event.Type(), "source": d.Event.Source(), "specversion": d.Event.SpecVersion(),
				"time": d.Event.Time().Format(time.RFC3339Nano), "subject": d.Event.Subject(), "dataschema": d.Event.DataSchema(),
			} {
				header.Set("Ce-"+name, value)
			}
			for name, value := range d.Event.Extensions() {
				header.Set("Ce-"+name, fmt.Sprint(value))
			}
			r.bury(header, d.Event.Data())
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// play posts the events to a Broker and waits until they are delivered.
func (s *stage) play(t *testing.T, start func(*report) string) *report {
	t.Helper()
	r := &report{namespace: s.namespace, accepted: map[string]int{}}
	for _, trigger := range s.set.Triggers() {
		service, namespace, _ := strings.Cut(trigger.Subscriber.URL().Hostname(), ".")
		namespace, _, _ = strings.Cut(namespace, ".")
		s.street.build(t, namespace, service, r.of(numbered(s.behaviour(service))))
	}
	s.street.build(t, s.namespace, "dead-letter", http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body := recorder{}
		_, _ = body.body.ReadFrom(request.Body)
		r.bury(request.Header, body.body.Bytes())
		w.WriteHeader(http.StatusAccepted)
	}))
	to := start(r)
	began := time.Now()
	var posted sync.WaitGroup
	for _, event := range s.events {
		again := event.Clone(t.Context())
		again.Body, _ = event.GetBody()
		posted.Go(func() {
			status := send(t.Context(), t, to, again)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.accepted[event.Header.Get("Ce-Id")] = status
		})
	}
	posted.Wait()
	r.settle(t, s)
	r.took = time.Since(began)
	return r
}

// numbered counts the calls with each event.
func numbered(next behaviour) http.Handler {
	var mu sync.Mutex
	calls := map[string]int{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		calls[r.Header.Get("Ce-Id")]++
		number := calls[r.Header.Get("Ce-Id")]
		mu.Unlock()
		next(w, r, number)
	})
}

// report is what happened.
type report struct {
	journal

	namespace string
	took      time.Duration
	accepted  map[string]int // statuses of the ingress, by event
	dead      []deadLetter
}

type deadLetter struct {
	Attributes map[string]string
	Error      string
	Data       string
}

// bury takes a dead letter.
func (r *report) bury(header http.Header, data []byte) {
	d := deadLetter{Attributes: comparable(attributes(header)), Data: digest(data)}
	said, err := base64.StdEncoding.DecodeString(d.Attributes["knativeerrordata"])
	d.Error = fmt.Sprintf("%s %v", said, err != nil)
	delete(d.Attributes, "knativeerrordata")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dead = append(r.dead, d)
}

// settle waits until each event has been delivered as often as its triggers match it. A
// patient Broker is done by then anyway.
func (r *report) settle(t *testing.T, s *stage) {
	t.Helper()
	testkit.Eventually(t, "each event is delivered", func(ctx context.Context) error {
		want := 0
		for _, c := range r.all() {
			if c.Status == -1 {
				return fmt.Errorf("%s is at work", c.Host)
			}
		}
		for _, e := range s.events {
			want += s.expected(ctx, e.Header)
		}
		for _, c := range r.all() {
			if c.Reply.Get("Ce-Id") != "" {
				want += s.expected(ctx, c.Reply)
			}
		}
		got := map[string]bool{}
		for _, c := range r.all() {
			got[c.id()+" "+c.Host+" "+c.Path] = true
		}
		return unless(len(got) >= want, "%d of %d deliveries are there; the ingress answered %v", len(got), want, r.accepted)
	})
}

// expected is how many functions an event goes to.
func (s *stage) expected(ctx context.Context, header http.Header) int {
	e, err := decode(header)
	if err != nil {
		return 0
	}
	matched := 0
	for _, d := range s.set.Match(ctx, e) {
		if d.Matched {
			matched++
		}
	}
	return matched
}

// delivery is all that one Service got of one event.
type delivery struct {
	Statuses   []int
	Attributes []map[string]string
	Data       []string
}

// normal is the report as it is compared: without times, in order.
func (r *report) normal() any {
	deliveries := map[string]*delivery{}
	for _, c := range r.all() {
		key := c.id() + " to " + c.Host + c.Path
		if deliveries[key] == nil {
			deliveries[key] = &delivery{}
		}
		d := deliveries[key]
		d.Statuses = append(d.Statuses, c.Status)
		d.Attributes = append(d.Attributes, comparable(attributes(c.Header)))
		d.Data = append(d.Data, digest(c.Body))
	}
	slices.SortFunc(r.dead, func(a, b deadLetter) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return struct {
		Accepted   map[string]int
		Deliveries map[string]*delivery
		Dead       []deadLetter
	}{r.accepted, deliveries, r.dead}
}

func (r *report) counts() (deliveries, dead int) { return len(r.all()), len(r.dead) }

// comparable leaves out what differs from one time to the next.
func comparable(attributes map[string]string) map[string]string {
	maps.DeleteFunc(attributes, func(name, value string) bool {
		return name == "knativearrivaltime" || value == "" || (name == "time" && strings.HasPrefix(value, "0001-"))
	})
	return attributes
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%d bytes %s", len(data), hex.EncodeToString(sum[:6]))
}
