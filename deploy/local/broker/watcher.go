package broker

import (
	"context"
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/rickb777/date/period"
	eventingduckv1 "knative.dev/eventing/pkg/apis/duck/v1"
	knbroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/kncloudevents"
	"knative.dev/eventing/pkg/kncloudevents/attributes"

	"github.com/riposte-dev/riposte/triggers"
)

// maxOpen bounds what is remembered of events under way.
const maxOpen = 10_000

// watcher turns what passes through the handlers into calls of the hooks.
type watcher struct {
	set   *triggers.Set
	hooks Hooks
	// policies are the retries of each trigger, by namespace/name. Written before
	// the first event.
	policies map[string]policy

	mu       sync.Mutex
	attempts map[string]int      // attempts so far, by event and trigger.
	parents  map[string][]string // events whose delivery was answered with the event of this id.
}

type policy struct {
	function string
	retries  int
	delay    time.Duration
	doubling bool
}

func newWatcher(set *triggers.Set, hooks Hooks) *watcher {
	return &watcher{
		set: set, hooks: hooks, policies: map[string]policy{},
		attempts: map[string]int{}, parents: map[string][]string{},
	}
}

// retries notes how often and when Knative will call a function again.
func (w *watcher) retries(t *triggers.Trigger, d *eventingduckv1.DeliverySpec) {
	p := policy{function: t.Function}
	if d != nil && d.Retry != nil {
		p.retries = int(*d.Retry)
	}
	if d != nil && d.BackoffPolicy != nil && d.BackoffDelay != nil {
		p.doubling = *d.BackoffPolicy == eventingduckv1.BackoffPolicyExponential
		if parsed, err := period.Parse(*d.BackoffDelay); err == nil {
			p.delay, _ = parsed.Duration()
		}
	}
	w.policies[t.Namespace+"/"+t.Name] = p
}

// key identifies the passage of an event: the ingress stamps each with its time.
func key(e event.Event) string {
	arrival, _ := e.Extensions()[knbroker.EventArrivalTime].(string)
	return e.ID() + "@" + arrival
}

func (w *watcher) accepted(ctx context.Context, e event.Event) {
	if w.hooks.Accepted == nil {
		return
	}
	parent := w.parentOf(e.ID())
	clean := e.Clone()
	for _, name := range []string{knbroker.TTLAttribute, knbroker.EventArrivalTime} {
		clean.SetExtension(name, nil)
	}
	w.hooks.Accepted(Accepted{
		Key: key(e), Parent: parent, At: time.Now(), Event: clean, Decisions: w.set.Match(ctx, clean),
	})
}

func (w *watcher) rejected(status int) {
	if w.hooks.Rejected != nil {
		w.hooks.Rejected(Rejected{At: time.Now(), Status: status})
	}
}

// calling notes that a function is being called with an event.
func (w *watcher) calling(e event.Event, namespace, trigger string) *Attempt {
	id := namespace + "/" + trigger
	a := &Attempt{
		Key: key(e), Namespace: namespace, Trigger: trigger,
		Function: w.policies[id].function, At: time.Now(),
	}
	w.mu.Lock()
	if len(w.attempts) > maxOpen { // Deliveries that nobody waits for any more.
		clear(w.attempts)
	}
	w.attempts[a.Key+" "+id]++
	a.Number = w.attempts[a.Key+" "+id]
	w.mu.Unlock()
	if w.hooks.Calling != nil {
		w.hooks.Calling(*a)
	}
	return a
}

func (w *watcher) delivered(ctx context.Context, a Attempt, answer *answerRecorder) {
	d := Delivery{Attempt: a, Duration: time.Since(a.At), Status: answer.status}
	p := w.policies[a.Namespace+"/"+a.Trigger]
	if d.Status < http.StatusMultipleChoices {
		d.Reply = answer.reply()
	} else {
		d.Answer = answer.answer()
		again, err := kncloudevents.SelectiveRetry(ctx, &http.Response{StatusCode: d.Status}, nil)
		d.Again = again && err == nil && a.Number <= p.retries
		d.In = p.pause(a.Number)
	}
	w.mu.Lock()
	if !d.Again {
		delete(w.attempts, a.Key+" "+a.Namespace+"/"+a.Trigger)
	}
	if d.Reply != nil {
		if len(w.parents) > maxOpen {
			clear(w.parents)
		}
		w.parents[d.Reply.ID()] = append(w.parents[d.Reply.ID()], a.Key)
	}
	w.mu.Unlock()
	if w.hooks.Delivered != nil {
		w.hooks.Delivered(d)
	}
}

// pause is how long Knative waits after an attempt.
func (p policy) pause(attempt int) time.Duration {
	if p.doubling {
		return p.delay * time.Duration(math.Exp2(float64(attempt-1)))
	}
	return p.delay * time.Duration(attempt-1)
}

// parentOf returns the event that was answered with the one of this id.
func (w *watcher) parentOf(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	parents := w.parents[id]
	if len(parents) == 0 {
		return ""
	}
	if len(parents) == 1 {
		delete(w.parents, id)
	} else {
		w.parents[id] = parents[1:]
	}
	return parents[0]
}

func (w *watcher) deadLettered(e event.Event) {
	if w.hooks.DeadLettered == nil {
		return
	}
	d := DeadLetter{Key: key(e), At: time.Now(), Event: e}
	d.Destination, _ = e.Extensions()[attributes.KnativeErrorDestExtensionKey].(string)
	if code, ok := e.Extensions()[attributes.KnativeErrorCodeExtensionKey].(string); ok {
		d.Status, _ = strconv.Atoi(code) // Knative's own; 0 where it is not there.
	}
	if data, ok := e.Extensions()[attributes.KnativeErrorDataExtensionKey].(string); ok {
		// Knative cuts it at a length of its own, in the middle of a group too.
		decoded, _ := base64.StdEncoding.DecodeString(data)
		d.Answer = strings.TrimSpace(string(decoded))
	}
	for _, t := range w.set.Triggers() {
		if u, err := url.Parse(d.Destination); err == nil && u.Host == t.Subscriber.Host {
			d.Function = t.Function
		}
	}
	w.hooks.DeadLettered(d)
}
