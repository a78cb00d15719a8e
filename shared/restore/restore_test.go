package restore

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

type labels = map[string]string

// start is when the tests begin; each write is a minute later.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// world is one object, and what happens to it.
type world struct {
	object *Object
	now    time.Time
	keys   Keys
	store  store.Store
}

func newWorld(kind string, l labels) *world {
	w := &world{now: start, object: &Object{
		TypeMeta:   metav1.TypeMeta{Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Name: "o", UID: "uid-1", ResourceVersion: "1", Labels: maps.Clone(l)},
	}}
	w.store = store.NewMemory(func() time.Time { return w.now })
	return w
}

func alert(rule string) falco.Alert {
	return falco.Alert{Rule: rule, Priority: falco.Critical, Source: "syscall", Time: start.Add(-time.Second), Hostname: "n1", Fields: falco.Fields{
		"k8s.ns.name": "shop", "k8s.pod.name": "cart-0", "container.id": "0123456789ab", "proc.cmdline": "cat /etc/shadow",
	}}
}

// contain lets a response change labels: to a value, or away where that is empty.
func (w *world) contain(t *testing.T, name string, terms Terms, rule string, to ...string) Record {
	t.Helper()
	w.now = w.now.Add(time.Minute)
	if len(w.keys) > 0 {
		terms.Key = config.NewSecret("RESTORE_KEY", strings.Join(w.keys, "\n"))
	}
	writer := NewWriter(name, terms, w.store)
	writer.now = func() time.Time { return w.now }
	var changes []response.Change
	after := maps.Clone(w.object.Labels)
	if after == nil {
		after = labels{}
	}
	for _, change := range to {
		key, value, sets := strings.Cut(change, "=")
		c := response.Change{Field: LabelField(key)}
		if old, has := after[key]; has {
			c.Before = old
		}
		if delete(after, key); sets {
			c.After, after[key] = value, value
		}
		changes = append(changes, c)
	}
	note, err := writer.Note(t.Context(), w.object, alert(rule), changes)
	if err != nil {
		t.Fatal(err)
	}
	w.object.Labels = after
	maps.Copy(w.object.Labels, note.Labels)
	if w.object.Annotations == nil {
		w.object.Annotations = labels{}
	}
	maps.Copy(w.object.Annotations, note.Annotations)
	r, err := w.keys.Open(w.object, name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// release undoes these records, or all, and remembers it.
func (w *world) release(t *testing.T, names ...string) *Plan {
	t.Helper()
	plan, err := w.keys.Plan(w.object, func(r Record) bool {
		return len(names) == 0 || strings.Contains(" "+strings.Join(names, " ")+" ", " "+r.Response+" ")
	})
	if err != nil {
		t.Fatal(err)
	}
	if plan == nil {
		return nil
	}
	for _, u := range plan.Undone {
		if err := Remember(t.Context(), w.store, u.Record, w.now); err != nil {
			t.Fatal(err)
		}
	}
	w.merge(t, plan.Patch)
	return plan
}

// merge applies a patch as the API server does.
func (w *world) merge(t *testing.T, patch map[string]any) {
	t.Helper()
	metadata, _ := patch["metadata"].(map[string]any)
	if metadata["uid"] != w.object.UID || metadata["resourceVersion"] != w.object.ResourceVersion {
		t.Errorf("the patch %v has not the preconditions of the object", patch)
	}
	for part, to := range map[string]*map[string]string{"labels": &w.object.Labels, "annotations": &w.object.Annotations} {
		changes, _ := metadata[part].(map[string]any)
		for key, value := range changes {
			if text, ok := value.(string); ok {
				(*to)[key] = text
			} else {
				delete(*to, key)
			}
		}
		if len(*to) == 0 {
			*to = nil
		}
	}
	if spec, ok := patch["spec"].(map[string]any); ok {
		w.object.Spec.Taints, _ = spec["taints"].([]api.Taint)
	}
}

const one, two, three = "label-00000001", "label-00000002", "label-00000003"

func TestReleaseRestoresTheObjectInWhateverOrder(t *testing.T) {
	t.Parallel()
	before := labels{"app": "web", "team": "red", "risk": "low"}
	for name, tc := range map[string]struct {
		contained map[string][]string
	}{
		"labels set":                                         {map[string][]string{one: {"q=1"}, two: {"r=2"}, three: {"s=3"}}},
		"labels removed":                                     {map[string][]string{one: {"app"}, two: {"team"}, "isolate": {"risk"}}},
		"one value after another":                            {map[string][]string{one: {"risk=medium"}, two: {"risk=high"}, three: {"risk=highest"}}},
		"a value that comes back":                            {map[string][]string{one: {"risk=high"}, two: {"risk=low"}, three: {"risk=medium"}}},
		"a label set, and taken off by the isolation":        {map[string][]string{one: {"q=1"}, two: {"team=blue"}, "isolate": {"q", "team", "app"}}},
		"a label removed, set by another, removed once more": {map[string][]string{one: {"team"}, two: {"team=blue"}, three: {"team"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := []string{one, two, three}
			if tc.contained["isolate"] != nil {
				names[2] = "isolate"
			}
			for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
				for _, together := range []int{1, 2, 3} {
					w := newWorld("Pod", before)
					original := w.object.DeepCopy()
					for _, n := range names {
						w.contain(t, n, Terms{}, "rule", tc.contained[n]...)
					}
					var batch []string
					for i, n := range order {
						if batch = append(batch, names[n]); len(batch) < together && i < 2 {
							continue
						}
						for _, u := range w.release(t, batch...).Undone {
							if len(u.Conflicts) > 0 {
								t.Errorf("order %v by %d: %s has conflicts %+v", order, together, u.Name, u.Conflicts)
							}
						}
						batch = nil
					}
					if diff := cmp.Diff(original, w.object.DeepCopy()); diff != "" {
						t.Errorf("order %v by %d (-before +after):\n%s", order, together, diff)
					}
				}
			}
		})
	}
}

// A record that is released hands what it found to a later one, never to an earlier one.
func TestLaterRecordAloneIsReleased(t *testing.T) {
	t.Parallel()
	w := newWorld("Pod", labels{"risk": "low"})
	w.contain(t, one, Terms{}, "rule", "risk=high")
	w.contain(t, two, Terms{}, "rule", "risk=low")
	w.release(t, two)
	if got := w.object.Labels["risk"]; got != "high" {
		t.Errorf("without the second the label is %q, want the first one's high", got)
	}
	w.release(t)
	if got := w.object.Labels["risk"]; got != "low" {
		t.Errorf("without both the label is %q, want low", got)
	}
}

func TestRecordThatGoesOnPutsBackWhatItFoundFirst(t *testing.T) {
	t.Parallel()
	w := newWorld("Pod", labels{"risk": "low"})
	w.contain(t, one, Terms{}, "rule", "risk=medium")
	w.contain(t, one, Terms{}, "another rule", "risk=high")
	w.release(t)
	if diff := cmp.Diff(labels{"risk": "low"}, w.object.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// DeepCopy is a copy without the difference between no map and an empty one.
func (o *Object) DeepCopy() *Object {
	c := &Object{TypeMeta: o.TypeMeta, ObjectMeta: *o.ObjectMeta.DeepCopy(), Spec: Spec{Taints: append([]api.Taint(nil), o.Spec.Taints...)}}
	return c
}

func TestWhatSomebodyElseHasChangedStays(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change    string
		by        map[string]any // what somebody else does to the labels
		after     labels
		conflicts []Conflict
		changes   int
	}{
		"a label that was set, to another value":       {"q=1", map[string]any{"q": "2"}, labels{"team": "red", "q": "2"}, []Conflict{{LabelField("q"), "1", "2", nil}}, 0},
		"a label that was set, away":                   {"q=1", map[string]any{"q": nil}, labels{"team": "red"}, nil, 0},
		"a label that was changed, to a third value":   {"team=blue", map[string]any{"team": "green"}, labels{"team": "green"}, []Conflict{{LabelField("team"), "blue", "green", "red"}}, 0},
		"a label that was changed, back":               {"team=blue", map[string]any{"team": "red"}, labels{"team": "red"}, nil, 0},
		"a label that was changed, away":               {"team=blue", map[string]any{"team": nil}, nil, []Conflict{{LabelField("team"), "blue", nil, "red"}}, 0},
		"a label that was removed, to another value":   {"team", map[string]any{"team": "blue"}, labels{"team": "blue"}, []Conflict{{LabelField("team"), nil, "blue", "red"}}, 0},
		"a label that was removed, back":               {"team", map[string]any{"team": "red"}, labels{"team": "red"}, nil, 0},
		"another label, which is none of ours":         {"q=1", map[string]any{"team": nil, "new": "x"}, labels{"new": "x"}, nil, 1},
		"the mark alone, which only release looks for": {"q=1", map[string]any{Contained: nil}, labels{"team": "red"}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld("Pod", labels{"team": "red"})
			w.contain(t, one, Terms{}, "rule", tc.change)
			w.merge(t, map[string]any{"metadata": map[string]any{"uid": w.object.UID, "resourceVersion": "1", "labels": tc.by}})
			undone := w.release(t).Undone
			if diff := cmp.Diff(tc.conflicts, undone[0].Conflicts); diff != "" || len(undone[0].Changes) != tc.changes {
				t.Errorf("changes %v, conflicts (-want +got):\n%s", undone[0].Changes, diff)
			}
			if diff := cmp.Diff(tc.after, w.object.Labels); diff != "" {
				t.Errorf("labels (-want +got):\n%s", diff)
			}
			if len(w.object.Annotations) > 0 || w.release(t) != nil {
				t.Errorf("the annotations %v are left, want the release to be final", w.object.Annotations)
			}
		})
	}
}

func TestTimeDoublesUpToTheMaximum(t *testing.T) {
	t.Parallel()
	terms := Terms{TTL: time.Hour, Max: 5 * time.Hour}
	w := newWorld("Pod", nil)
	for i, want := range []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour, 5 * time.Hour, 5 * time.Hour} {
		r := w.contain(t, one, terms, "rule", "q=1")
		if got := r.ReleaseAt.Sub(r.Applied); got != want || r.Times != i+1 {
			t.Errorf("time %d: it lasts %s and says it is time %d, want %s", i+1, got, r.Times, want)
		}
		if r.Due(r.ReleaseAt.Add(-time.Millisecond)) || !r.Due(*r.ReleaseAt) {
			t.Errorf("time %d: it is due too early or too late", i+1)
		}
		w.release(t)
	}
	w.now = w.now.Add(terms.Max + time.Second)
	if r := w.contain(t, one, terms, "rule", "q=1"); r.Times != 1 {
		t.Errorf("long after the last release it is time %d, want 1", r.Times)
	}
	w.release(t)
	if r := w.contain(t, two, terms, "rule", "q=1"); r.Times != 1 {
		t.Errorf("of another response it is time %d, want 1", r.Times)
	}
}

func TestContainedAgainBeforeTheRelease(t *testing.T) {
	t.Parallel()
	terms := Terms{TTL: time.Hour, Max: 24 * time.Hour}
	w := newWorld("Pod", labels{"team": "red"})
	original := w.object.DeepCopy()
	first := w.contain(t, one, terms, "rule", "q=1", "team=blue")
	same := w.contain(t, one, terms, "rule", "s=1") // what an attempt that was cut off did not get to
	if same.Times != 1 || !same.ReleaseAt.Equal(*first.ReleaseAt) || len(same.Changes) != 3 {
		t.Errorf("the same alert again makes it time %d, due %s, with %d changes: want 1, %s and 3", same.Times, same.ReleaseAt, len(same.Changes), first.ReleaseAt)
	}
	w.object.Labels["team"] = "green" // somebody else
	other := w.contain(t, one, terms, "another rule", "team=blue")
	if other.Times != 2 || other.ReleaseAt.Sub(other.Applied) != 2*time.Hour || other.Alert.Rule != "another rule" {
		t.Errorf("another alert makes it %+v, want time 2 for two hours", other)
	}
	w.release(t)
	original.Labels["team"] = "green"
	if diff := cmp.Diff(original, w.object); diff != "" {
		t.Errorf("the object (-want +got):\n%s", diff)
	}
}

func TestEarliestReleaseStandsOnTheObject(t *testing.T) {
	t.Parallel()
	w := newWorld("Pod", nil)
	late := w.contain(t, one, Terms{TTL: 3 * time.Hour, Max: 3 * time.Hour}, "rule", "q=1")
	early := w.contain(t, two, Terms{TTL: time.Hour, Max: time.Hour}, "rule", "r=1")
	w.contain(t, three, Terms{}, "rule", "s=1")
	for _, step := range []struct {
		release string
		want    *time.Time
		marked  bool
	}{{"", early.ReleaseAt, true}, {two, late.ReleaseAt, true}, {one, nil, true}, {three, nil, false}} {
		if step.release != "" {
			w.release(t, step.release)
		}
		want := ""
		if step.want != nil {
			want = moment(*step.want)
		}
		if got := w.object.Annotations[ReleaseAt]; got != want {
			t.Errorf("after the release of %q the object is due at %q, want %q", step.release, got, want)
		}
		if _, marked := w.object.Labels[Contained]; marked != step.marked {
			t.Errorf("after the release of %q the object is marked: %t", step.release, marked)
		}
	}
}

func TestAlertComesBackWithItsID(t *testing.T) {
	t.Parallel()
	w := newWorld("Pod", nil)
	r := w.contain(t, one, Terms{}, "rule", "q=1")
	back := r.Alert.Falco()
	if back.ID() != alert("rule").ID() || r.Alert.ID != back.ID() {
		t.Errorf("the alert comes back as %s, want %s", back.ID(), alert("rule").ID())
	}
	b, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if decoded, err := falco.Decode(b); err != nil || decoded.Priority != falco.Critical || decoded.Pod().Name != "cart-0" {
		t.Errorf("it decodes as %+v, %v", decoded, err)
	}
	if strings.Contains(string(b), "shadow") {
		t.Error("the record holds what the attacker typed")
	}
}

func TestTimesAreChecked(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		terms Terms
		wrong string
	}{
		"none":                 {Terms{Max: 24 * time.Hour}, ""},
		"an hour":              {Terms{TTL: time.Hour, Max: 24 * time.Hour}, ""},
		"no doubling":          {Terms{TTL: time.Hour, Max: time.Hour}, ""},
		"a negative one":       {Terms{TTL: -time.Second, Max: time.Hour}, "TTL"},
		"too short a one":      {Terms{TTL: time.Millisecond, Max: time.Hour}, "TTL"},
		"a maximum below it":   {Terms{TTL: time.Hour, Max: time.Minute}, "TTL_MAX"},
		"a negative maximum":   {Terms{Max: -time.Second}, "TTL_MAX"},
		"a maximum of years":   {Terms{TTL: time.Hour, Max: 100 * longestMemory}, "TTL_MAX"},
		"a key that is short":  {Terms{Key: config.NewSecret("RESTORE_KEY", "0123456789")}, "RESTORE_KEY"},
		"a key that is enough": {Terms{Key: config.NewSecret("RESTORE_KEY", "0123456789abcdef")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.terms.Validate()
			if (err == nil) != (tc.wrong == "") || (err != nil && !strings.Contains(err.Error(), tc.wrong)) {
				t.Errorf("it gives %v, want an error about %q", err, tc.wrong)
			}
		})
	}
}
