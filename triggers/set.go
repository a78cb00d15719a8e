package triggers

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/pkg/apis"
)

// Trigger is one trigger, ready to be matched.
type Trigger struct {
	Namespace string
	Name      string
	// Broker is the name of the Broker, in the same namespace.
	Broker string
	// Function is the function the events go to: the name of the Service that is
	// the subscriber.
	Function string
	// Subscriber is the address of the function as it is in a cluster.
	Subscriber *apis.URL
	// Manifest is the manifest with Knative's defaults. It must not be changed.
	Manifest *eventingv1.Trigger

	filter *filter
}

// Set is the triggers of a folder. It is safe for use by many at the same time.
type Set struct {
	triggers []*Trigger
	brokers  []*eventingv1.Broker
	index    index
}

// Triggers returns the triggers, sorted by namespace and name.
func (s *Set) Triggers() []*Trigger { return s.triggers }

// Brokers returns the Brokers that are declared or named by a trigger, sorted by
// namespace and name. They must not be changed.
func (s *Set) Brokers() []*eventingv1.Broker { return s.brokers }

// Functions returns the names of the functions that the triggers call, each once.
func (s *Set) Functions() []string {
	var out []string
	seen := newSet()
	for _, t := range s.triggers {
		if !seen.has(t.Function) {
			seen[t.Function] = struct{}{}
			out = append(out, t.Function)
		}
	}
	return out
}

// Decision says whether one trigger takes an event.
type Decision struct {
	Namespace string
	Broker    string
	Trigger   string
	Function  string
	Matched   bool
	// Reason names, in words, the first filter that failed. It is empty if the
	// trigger matched.
	Reason string
}

// Match says for every trigger whether it takes the event, in the order of
// [Set.Triggers].
func (s *Set) Match(ctx context.Context, e event.Event) []Decision {
	decisions := make([]Decision, 0, len(s.triggers))
	for _, t := range s.triggers {
		d := Decision{Namespace: t.Namespace, Broker: t.Broker, Trigger: t.Name, Function: t.Function}
		d.Matched, d.Reason = t.match(ctx, e)
		decisions = append(decisions, d)
	}
	return decisions
}

// Select returns the triggers that take the event, in the order of [Set.Triggers]:
// those that Match says have matched, without asking each of them and without words
// for the others. It is for the hot path.
func (s *Set) Select(ctx context.Context, e event.Event) []*Trigger {
	if e.Context == nil { // An event of nothing, which has no extensions to keep.
		return s.selectFrom(ctx, e, nil)
	}
	extensions := e.Extensions()
	e.Context = keptExtensions{EventContext: e.Context, extensions: extensions}
	return s.selectFrom(ctx, e, extensions)
}

func (s *Set) selectFrom(ctx context.Context, e event.Event, extensions map[string]any) []*Trigger {
	var room [16]int32 // Most events have few candidates: no allocation for them.
	var out []*Trigger
	for _, i := range s.index.candidates(e, extensions, room[:0]) {
		if t := s.triggers[i]; t.takes(ctx, e) {
			out = append(out, t)
		}
	}
	return out
}

// takes says what match says, without a reason.
func (t *Trigger) takes(ctx context.Context, e event.Event) (matched bool) {
	defer func() {
		if recover() != nil {
			matched = false
		}
	}()
	return !t.filter.fails(ctx, e)
}

// keptExtensions is the context of an event whose extensions are copied once. The
// SDK copies them for each attribute that a filter asks for. Filters only read.
type keptExtensions struct {
	event.EventContext
	extensions map[string]any
}

func (k keptExtensions) GetExtensions() map[string]any { return k.extensions }

// match never panics: a filter of Knative's that does is no match, as the event
// would not be delivered by its Broker either.
func (t *Trigger) match(ctx context.Context, e event.Event) (matched bool, reason string) {
	defer func() {
		if recovered := recover(); recovered != nil {
			matched, reason = false, fmt.Sprintf("the filter cannot be evaluated: %v", recovered)
		}
	}()
	if !t.filter.fails(ctx, e) {
		return true, ""
	}
	return false, t.filter.explain(ctx, e)
}

func compile(brokers map[types.NamespacedName]*eventingv1.Broker, declared map[types.NamespacedName]*declared) (*Set, error) {
	s := &Set{}
	all := make(map[types.NamespacedName]*eventingv1.Broker, len(brokers))
	maps.Copy(all, brokers)
	for _, key := range sortedKeys(declared) {
		t, err := newTrigger(declared[key].trigger)
		if err != nil {
			return nil, fmt.Errorf("trigger %s: %w", key, err)
		}
		s.triggers = append(s.triggers, t)
		named := types.NamespacedName{Namespace: t.Namespace, Name: t.Broker}
		if all[named] == nil {
			all[named] = &eventingv1.Broker{ObjectMeta: metav1.ObjectMeta{Namespace: named.Namespace, Name: named.Name}}
		}
	}
	for _, key := range sortedKeys(all) {
		s.brokers = append(s.brokers, all[key])
	}
	s.index = newIndex(s.triggers)
	return s, nil
}

func newTrigger(manifest *eventingv1.Trigger) (*Trigger, error) {
	subscriber, err := SubscriberURI(&manifest.Spec.Subscriber, manifest.Namespace)
	if err != nil {
		return nil, err
	}
	f, err := newFilter(&manifest.Spec)
	if err != nil {
		return nil, err
	}
	t := &Trigger{
		Namespace: manifest.Namespace, Name: manifest.Name, Broker: manifest.Spec.Broker,
		Function: function(manifest, subscriber), Subscriber: subscriber,
		Manifest: manifest, filter: f,
	}
	if ref := manifest.Spec.BrokerRef; ref != nil {
		t.Broker = ref.Name
	}
	return t, nil
}

// function is the name of the Service that is called.
func function(manifest *eventingv1.Trigger, subscriber *apis.URL) string {
	if manifest.Spec.Subscriber.Ref != nil {
		return manifest.Spec.Subscriber.Ref.Name
	}
	if host, _, inCluster := strings.Cut(subscriber.URL().Hostname(), "."); inCluster && strings.Contains(subscriber.Host, ".svc") {
		return host
	}
	return subscriber.Host
}

func nameOf(t *Trigger) types.NamespacedName {
	return types.NamespacedName{Namespace: t.Namespace, Name: t.Name}
}
