package restore

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

// forge writes a record as somebody may who may write annotations.
func forge(t *testing.T, w *world, name string, edit func(r map[string]any), changes ...response.Change) {
	t.Helper()
	r := Record{
		Version: version, Response: name, UID: string(w.object.UID), Alert: aboutAlert(alert("rule")), Applied: w.now, Times: 1, ReleaseAt: &w.now,
	}
	for _, c := range changes {
		r.Changes = append(r.Changes, Change{Change: c, At: w.now})
	}
	text, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		var m map[string]any
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		edit(m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
	}
	if w.object.Annotations == nil {
		w.object.Annotations = labels{}
	}
	w.object.Annotations[Prefix+name] = text
}

func TestForgedRecordIsNotBelieved(t *testing.T) {
	t.Parallel()
	taint := func(key, value string, effect string) api.Taint {
		return api.Taint{Key: key, Value: value, Effect: effect}
	}
	set := func(field string, before, after any) response.Change {
		return response.Change{Field: field, Before: before, After: after}
	}
	put := func(key string, value any) func(map[string]any) { return func(r map[string]any) { r[key] = value } }
	quarantine := taint("falco/alert", "true", api.TaintEffectNoSchedule)
	ours := TaintName("falco/alert", "NoSchedule")
	label := LabelField("q")
	for name, tc := range map[string]struct {
		kind, record string
		change       response.Change
		edit         func(map[string]any)
		believed     bool
	}{
		"as label writes it":                         {"Pod", one, set(label, nil, "1"), nil, true},
		"as label writes it for a deployment":        {"Deployment", one, set(label, "0", nil), nil, true},
		"as isolate writes it":                       {"Pod", "isolate", set(label, "1", nil), nil, true},
		"as taint writes it":                         {"Node", ours, set(TaintField(quarantine), nil, quarantine), nil, true},
		"as label writes it for a node":              {"Node", one, set(label, nil, "1"), nil, true},
		"of a response there is not":                 {"Pod", "delete-pod", set(label, nil, "1"), nil, false},
		"of label without a hash":                    {"Pod", "label", set(label, nil, "1"), nil, false},
		"with a name that has a path":                {"Pod", "label-00000001/../x", set(label, nil, "1"), nil, false},
		"of another name":                            {"Pod", one, set(label, nil, "1"), put("response", two), false},
		"of another object":                          {"Pod", one, set(label, nil, "1"), put("uid", "uid-2"), false},
		"of no object":                               {"Pod", one, set(label, nil, "1"), put("uid", ""), false},
		"of a later version":                         {"Pod", one, set(label, nil, "1"), put("version", 2), false},
		"with a field that nobody knows":             {"Pod", one, set(label, nil, "1"), put("command", "rm"), false},
		"with no times":                              {"Pod", one, set(label, nil, "1"), put("times", 0), false},
		"with very many times":                       {"Pod", one, set(label, nil, "1"), put("times", 1<<40), false},
		"with an endless memory":                     {"Pod", one, set(label, nil, "1"), put("remember_s", int64(1)<<60), false},
		"with a time that is none":                   {"Pod", one, set(label, nil, "1"), put("release_at", "soon"), false},
		"with a priority that is none":               {"Pod", one, set(label, nil, "1"), func(r map[string]any) { r["alert"].(map[string]any)["priority"] = "Fatal" }, false},
		"with a rule without end":                    {"Pod", one, set(label, nil, "1"), func(r map[string]any) { r["alert"].(map[string]any)["rule"] = strings.Repeat("x", 600) }, false},
		"with output of an attacker":                 {"Pod", one, set(label, nil, "1"), func(r map[string]any) { r["alert"].(map[string]any)["fields"] = map[string]any{"proc.cmdline": "x"} }, false},
		"with the same field twice":                  {"Pod", one, set(label, nil, "1"), func(r map[string]any) { c := r["changes"].([]any); r["changes"] = append(c, c[0]) }, false},
		"that is larger than any":                    {"Pod", one, set(label, nil, "1"), put("signature", strings.Repeat("x", largest)), false},
		"about an annotation":                        {"Pod", one, set("metadata.annotations[a]", nil, "1"), nil, false},
		"about a finalizer":                          {"Pod", one, set("metadata.finalizers", []string{"x"}, nil), nil, false},
		"about the spec":                             {"Pod", one, set("spec.nodeName", "n1", "n2"), nil, false},
		"about a key that is none":                   {"Pod", one, set(LabelField("a b"), nil, "1"), nil, false},
		"about a value that is none":                 {"Pod", one, set(label, "a b", "1"), nil, false},
		"about a value that is no text":              {"Pod", one, set(label, map[string]any{"a": "b"}, "1"), nil, false},
		"about a field that is not closed":           {"Pod", one, set("metadata.labels[q", nil, "1"), nil, false},
		"about the mark of containment":              {"Pod", one, set(LabelField(Contained), nil, "true"), nil, false},
		"about the label of the isolation, by label": {"Pod", one, set(LabelField(Isolated), nil, "uid-1"), nil, false},
		"isolating another pod":                      {"Pod", "isolate", set(LabelField(Isolated), nil, "uid-2"), nil, false},
		"putting another isolation back":             {"Pod", "isolate", set(LabelField(Isolated), "uid-2", "uid-1"), nil, false},
		"isolate setting a label":                    {"Pod", "isolate", set(label, nil, "1"), nil, false},
		"isolate changing a label":                   {"Pod", "isolate", set(label, "1", "2"), nil, false},
		"isolate on a deployment":                    {"Deployment", "isolate", set(label, "1", nil), nil, false},
		"isolate with its policy":                    {"Pod", "isolate", PolicyMade("uid-1"), nil, true},
		"isolate with the policy of another pod":     {"Pod", "isolate", PolicyMade("uid-2"), nil, false},
		"isolate with somebody's policy":             {"Pod", "isolate", set("networkpolicies/default-deny", nil, "made"), nil, false},
		"label with a policy":                        {"Pod", one, PolicyMade("uid-1"), nil, false},
		"label with a taint":                         {"Node", one, set(TaintField(quarantine), nil, quarantine), nil, false},
		"taint on a pod":                             {"Pod", ours, set(TaintField(quarantine), nil, quarantine), nil, false},
		"taint with a label":                         {"Node", ours, set(label, nil, "1"), nil, false},
		"taint under the name of another taint":      {"Node", ours, set("spec.taints[dedicated:NoSchedule]", nil, taint("dedicated", "db", "NoSchedule")), nil, false},
		"taint that hides another":                   {"Node", ours, set(TaintField(quarantine), nil, taint("dedicated", "db", "NoSchedule")), nil, false},
		"taint that puts another back":               {"Node", ours, set(TaintField(quarantine), taint("dedicated", "db", "NoExecute"), quarantine), nil, false},
		"taint that was never there":                 {"Node", ours, set(TaintField(quarantine), quarantine, nil), nil, false},
		"taint with an effect there is not":          {"Node", "taint-00000001", set("spec.taints[a:NoRun]", nil, taint("a", "b", "NoRun")), nil, false},
		"a taint of Kubernetes, not signed": {
			"Node", TaintName("node.kubernetes.io/unreachable", "NoExecute"),
			set("spec.taints[node.kubernetes.io/unreachable:NoExecute]", nil, taint("node.kubernetes.io/unreachable", "", "NoExecute")), nil, false,
		},
		"a label that no kubelet may set, not signed": {"Node", one, set(LabelField("x.node-restriction.kubernetes.io/team"), "red", nil), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(tc.kind, nil)
			forge(t, w, tc.record, tc.edit, tc.change)
			_, err := Keys(nil).Open(w.object, tc.record)
			plan, _ := Keys(nil).Plan(w.object, func(Record) bool { return true })
			if (err == nil) != tc.believed || (plan != nil) != tc.believed {
				t.Errorf("it is believed: %t, %v; want %t", plan != nil, err, tc.believed)
			}
		})
	}
}

func TestRecordThatIsNoneIsNotBelieved(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nothing": "", "text": "not json", "null": "null", "a list": `["app"]`, "an older form": `{"labels":{"app":"web"}}`, "two": `{} {}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld("Pod", nil)
			w.object.Annotations = labels{Prefix + "isolate": text}
			if _, err := Keys(nil).Open(w.object, "isolate"); err == nil {
				t.Error("it is believed")
			}
			// It is replaced: nobody can prevent a containment by writing into it.
			if r := w.contain(t, "isolate", Terms{}, "rule", "app"); r.Times != 1 {
				t.Errorf("the record that replaces it is %+v", r)
			}
		})
	}
}

func TestOnlySignedRecordsAreBelievedWhereThereIsAKey(t *testing.T) {
	t.Parallel()
	key, next := "0123456789abcdef", "fedcba9876543210"
	soon := func(r *Record) { r.ReleaseAt = &r.Applied }
	for name, tc := range map[string]struct {
		signs, believes Keys
		edit            func(*Record)
		believed        bool
	}{
		"signed":                               {Keys{key}, Keys{key}, nil, true},
		"signed by the old key":                {Keys{key}, Keys{next, key}, nil, true},
		"signed by a key that is gone":         {Keys{key}, Keys{next}, nil, false},
		"not signed":                           {nil, Keys{key}, nil, false},
		"signed, where nobody has a key":       {Keys{key}, nil, nil, true},
		"brought forward":                      {Keys{key}, Keys{key}, soon, false},
		"for another object":                   {Keys{key}, Keys{key}, func(r *Record) { r.UID = "uid-2" }, false},
		"with another change":                  {Keys{key}, Keys{key}, func(r *Record) { r.Changes[0].After = "2" }, false},
		"with one change less":                 {Keys{key}, Keys{key}, func(r *Record) { r.Changes = nil }, false},
		"brought forward, where nobody checks": {nil, nil, soon, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld("Pod", nil)
			w.keys = tc.signs
			r := w.contain(t, one, Terms{TTL: time.Hour, Max: time.Hour}, "rule", "q=1")
			if tc.edit != nil {
				tc.edit(&r)
				text, err := r.encode()
				if err != nil {
					t.Fatal(err)
				}
				w.object.Annotations[Prefix+one] = text
			}
			plan, err := tc.believes.Plan(w.object, func(Record) bool { return true })
			if err != nil || (plan != nil) != tc.believed {
				t.Errorf("it is believed: %t, %v; want %t", plan != nil, err, tc.believed)
			}
		})
	}
}

// A record of a response, rewritten because another went first, is signed again.
func TestRewrittenRecordIsSigned(t *testing.T) {
	t.Parallel()
	w := newWorld("Pod", labels{"risk": "low"})
	w.keys = Keys{"0123456789abcdef"}
	w.contain(t, one, Terms{}, "rule", "risk=medium")
	w.contain(t, two, Terms{}, "rule", "risk=high")
	w.release(t, one)
	if got := w.object.Labels["risk"]; got != "high" {
		t.Errorf("after the first release the label is %q, want high", got)
	}
	w.release(t, two)
	if diff := cmp.Diff(labels{"risk": "low"}, w.object.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
}

// A record that is not believed keeps the mark, so that it is found when it is.
func TestMarkStaysWithARecordThatIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld("Pod", nil)
	w.contain(t, one, Terms{}, "rule", "q=1")
	w.object.Annotations[Prefix+two] = "not json"
	w.release(t)
	if w.object.Labels[Contained] != "true" || !maps.Equal(w.object.Annotations, labels{Prefix + two: "not json"}) {
		t.Errorf("labels %v, annotations %v", w.object.Labels, w.object.Annotations)
	}
}

func TestTaintGoesFromItsPlace(t *testing.T) {
	t.Parallel()
	at := func(key, value string, effect string) api.Taint {
		return api.Taint{Key: key, Value: value, Effect: effect}
	}
	disk, alerted := at("disk", "slow", "PreferNoSchedule"), at("falco/alert", "true", "NoSchedule")
	for name, tc := range map[string]struct {
		before     any
		now, after []api.Taint
		conflicts  int
		changed    bool
	}{
		"alone":                               {nil, []api.Taint{alerted}, nil, 0, true},
		"with the time at which it was added": {nil, []api.Taint{{Key: "falco/alert", Value: "true", Effect: "NoSchedule", TimeAdded: &metav1.Time{Time: start}}}, nil, 0, true},
		"between others":                      {nil, []api.Taint{disk, alerted, at("b", "", "NoExecute")}, []api.Taint{disk, at("b", "", "NoExecute")}, 0, true},
		"gone already":                        {nil, []api.Taint{disk}, []api.Taint{disk}, 0, false},
		"with another value now":              {nil, []api.Taint{at("falco/alert", "theirs", "NoSchedule"), disk}, []api.Taint{at("falco/alert", "theirs", "NoSchedule"), disk}, 1, false},
		"in place of one with another value":  {at("falco/alert", "no", "NoSchedule"), []api.Taint{alerted, disk}, []api.Taint{at("falco/alert", "no", "NoSchedule"), disk}, 0, true},
		"in place of one, and gone":           {at("falco/alert", "no", "NoSchedule"), []api.Taint{disk}, []api.Taint{disk}, 1, false},
		"of the same key with another effect": {nil, []api.Taint{at("falco/alert", "true", "NoExecute")}, []api.Taint{at("falco/alert", "true", "NoExecute")}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld("Node", nil)
			w.object.Spec.Taints = tc.now
			forge(t, w, TaintName("falco/alert", "NoSchedule"), nil, response.Change{Field: TaintField(alerted), Before: tc.before, After: alerted})
			plan := w.release(t)
			if _, changed := plan.Patch["spec"]; changed != tc.changed || len(plan.Undone[0].Conflicts) != tc.conflicts {
				t.Errorf("the taints are written: %t, conflicts %+v", changed, plan.Undone[0].Conflicts)
			}
			if diff := cmp.Diff(tc.after, w.object.Spec.Taints); diff != "" {
				t.Errorf("taints (-want +got):\n%s", diff)
			}
		})
	}
}

// What whoever may write annotations has filled up keeps nobody from containing the object.
func TestNobodyPreventsAContainmentByFillingTheObject(t *testing.T) {
	t.Parallel()
	full := func(n, size int) []response.Change {
		var list []response.Change
		for i := range n {
			list = append(list, response.Change{Field: LabelField(strings.Repeat("k", min(size, 50)) + strconv.Itoa(i)), Before: strings.Repeat("x", size)})
		}
		return list
	}
	for name, tc := range map[string]struct {
		fill func(t *testing.T, w *world)
		// many are labels that the response takes off itself.
		many int
		want bool
	}{
		"nothing":                     {func(*testing.T, *world) {}, 0, true},
		"a record of as many changes": {func(t *testing.T, w *world) { t.Helper(); forge(t, w, "isolate", nil, full(most, 1)...) }, 0, true},
		"a record of as many bytes": {func(t *testing.T, w *world) {
			t.Helper()
			for n, size := 1, 0; size < largest-200; n++ {
				forge(t, w, "isolate", nil, full(n, 63)...)
				size = len(w.object.Annotations[Prefix+"isolate"])
			}
		}, 0, true},
		"other annotations": {func(_ *testing.T, w *world) {
			w.object.Annotations = labels{"x": strings.Repeat("x", mostAnnotations-100)}
		}, 0, false},
		"annotations that leave it room": {func(_ *testing.T, w *world) {
			w.object.Annotations = labels{"x": strings.Repeat("x", mostAnnotations-2000)}
		}, 0, true},
		"labels that are to be taken off, more than a record holds": {func(*testing.T, *world) {}, most + 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld("Pod", labels{"app": "web"})
			tc.fill(t, w)
			writer := NewWriter("isolate", Terms{TTL: time.Hour, Max: time.Hour}, nil)
			changes := append([]response.Change{PolicyMade("uid-1"), {Field: LabelField("app"), Before: "web"}}, full(tc.many, 1)...)
			note, err := writer.Note(t.Context(), w.object, alert("rule"), changes)
			if err != nil {
				t.Fatal(err)
			}
			if note.Labels == nil || note.Annotations == nil {
				t.Fatalf("the marks are %+v: a merge patch with them removes what others wrote", note)
			}
			_, marked := note.Annotations[Prefix+"isolate"]
			if marked != tc.want || marked != (note.Without == "") || marked != (note.Labels[Contained] == "true") {
				t.Fatalf("there are marks: %t, and want them: %t; without them because %q", marked, tc.want, note.Without)
			}
			if !marked {
				return
			}
			if w.object.Annotations == nil {
				w.object.Annotations = labels{}
			}
			maps.Copy(w.object.Annotations, note.Annotations)
			r, err := Keys(nil).Open(w.object, "isolate")
			if err != nil {
				t.Fatal(err)
			}
			if last := r.Changes[len(r.Changes)-1]; last.Field != LabelField("app") || last.Before != "web" {
				t.Errorf("the record ends in %+v: want what was taken off", last)
			}
		})
	}
}
