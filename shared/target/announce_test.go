package target_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/target"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// recordOf is an outcome about what a finder of the level finds of the pod.
func recordOf(t *testing.T, client *kube.Client, level target.Level, pod corev1.Pod, edit func(*response.Record)) (*target.PodFinder, response.Record) {
	t.Helper()
	finder := target.NewPodFinder(client, protection(), level)
	alert := decode(t, testkit.AlertFor(t, pod))
	target, declined, err := finder.Target(t.Context(), alert)
	if err != nil || declined != nil {
		t.Fatalf("find the target: %v, %v", declined, err)
	}
	record := response.Record{
		ID: strings.ReplaceAll(string(pod.UID), "-", ""), Response: "delete-pod", Outcome: response.Applied, Message: "deleted the pod",
		Alert: falco.Alert{Rule: "Terminal shell in container"}, AlertID: "a1", Target: &target, Timings: response.Timings{Done: time.Now()},
	}
	record.ActivityID = response.Evict
	if edit != nil {
		edit(&record)
	}
	return finder, record
}

// described are the events that "kubectl describe" shows of an object: it asks for these fields.
func described(t *testing.T, client *kube.Client, namespace, kind, name string, uid types.UID) []corev1.Event {
	t.Helper()
	var all corev1.EventList
	if err := client.List(t.Context(), "api/v1/events", "", &all); err != nil {
		t.Fatal(err)
	}
	var found []corev1.Event
	for _, e := range all.Items {
		if o := e.InvolvedObject; o.Namespace == namespace && o.Kind == kind && o.Name == name && o.UID == uid && strings.HasPrefix(e.Reason, "Riposte") {
			found = append(found, e)
		}
	}
	return found
}

// announcements are the requests that make events.
func announcements(proxy *testkit.Proxy) int {
	count := 0
	for _, r := range proxy.Requests() {
		if r.Verb == "create" && r.Resource == "events" {
			count++
		}
	}
	return count
}

func TestAnnounce(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, proxy := newClient(t, env, false)
	ns := env.Namespace(t)
	node := env.Node(t)
	deployment := testkit.Deployment(ns, "web", 1, testkit.OnNode(node))
	pod := env.Deploy(t, deployment)[0]
	env.Get(t, deployment)
	standalone := env.Deploy(t, testkit.Pod(ns, "alone"))[0]
	owner := []any{ns, "Deployment", "web", deployment.UID}
	itself := []any{ns, "Pod", pod.Name, pod.UID}

	tests := map[string]struct {
		level target.Level
		pod   corev1.Pod
		edit  func(*response.Record)
		on    []any
		want  string
	}{
		"a pod that is deleted, at its deployment": {target.LevelPod, pod, nil, owner, "Warning RiposteApplied"},
		"a pod that is deleted and nobody's, at the pod": {
			target.LevelPod, standalone, nil, []any{ns, "Pod", "alone", standalone.UID}, "Warning RiposteApplied",
		},
		"a pod that was to be deleted and stays, at the pod": {target.LevelPod, pod, func(r *response.Record) {
			r.Outcome, r.Reason = response.Refused, response.OverBudget
		}, itself, "Warning RiposteRefused"},
		"a pod that is changed, at the pod": {target.LevelPod, pod, func(r *response.Record) {
			r.Response, r.ActivityID = "isolate", response.Isolate
		}, itself, "Warning RiposteApplied"},
		"a failure": {target.LevelPod, pod, func(r *response.Record) { r.Outcome = response.Failed }, itself, "Warning RiposteFailed"},
		"what is put back is nothing to worry about": {target.LevelPod, pod, func(r *response.Record) {
			r.Response, r.ActivityID = "release", response.Restore
		}, itself, "Normal RiposteApplied"},
		"a node, in the namespace default": {target.LevelNode, pod, func(r *response.Record) {
			r.Response, r.ActivityID = "taint", response.Isolate
		}, []any{"", "Node", node.Name, node.UID}, "Warning RiposteApplied"},
		"a deployment": {target.LevelOwner, pod, func(r *response.Record) {
			r.Response, r.ActivityID = "label", response.Harden
		}, owner, "Warning RiposteApplied"},
		"a namespace": {target.LevelNamespace, pod, func(r *response.Record) {
			r.Response, r.ActivityID = "label", response.Harden
		}, []any{"", "Namespace", ns, types.UID("")}, "Warning RiposteApplied"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			id := fmt.Sprintf("%032x", time.Now().UnixNano())
			finder, record := recordOf(t, client, test.level, test.pod, func(r *response.Record) {
				r.ID = id
				if test.edit != nil {
					test.edit(r)
				}
			})
			for range 2 { // The repeat makes no second one.
				if err := finder.Announce(t.Context(), record); err != nil {
					t.Fatal(err)
				}
			}
			on, uid := test.on, test.on[3].(types.UID)
			if uid == "" {
				uid = types.UID(record.Target.UID)
			}
			var got []corev1.Event
			for _, e := range described(t, client, on[0].(string), on[1].(string), on[2].(string), uid) {
				if strings.Contains(e.Name, id) {
					got = append(got, e)
				}
			}
			if len(got) != 1 {
				t.Fatalf("%d events, want 1", len(got))
			}
			e := got[0]
			if have := e.Type + " " + e.Reason; have != test.want {
				t.Errorf("the event is %s, want %s", have, test.want)
			}
			if e.Action != record.Response || e.ReportingController != "riposte.dev/"+record.Response || e.ReportingInstance == "" {
				t.Errorf("the event is of %q by %q at %q", e.Action, e.ReportingController, e.ReportingInstance)
			}
			if !strings.Contains(e.Message, "Terminal shell in container: deleted the pod") || !strings.Contains(e.Message, "alert a1") {
				t.Errorf("the event says %q", e.Message)
			}
			moved := e.InvolvedObject.UID != types.UID(record.Target.UID)
			if (e.Related != nil) != moved || moved && (e.Related.Name != test.pod.Name || e.Related.UID != test.pod.UID) {
				t.Errorf("related is %+v", e.Related)
			}
		})
	}
	if posts := announcements(proxy); posts != 2*len(tests) {
		t.Errorf("%d requests for %d announcements: want one each", posts, 2*len(tests))
	}
}

func TestAnnounceNothing(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, proxy := newClient(t, env, false)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	tests := map[string]func(*response.Record){
		"nothing was changed":         func(r *response.Record) { r.Outcome = response.Unchanged },
		"there was nothing to act on": func(r *response.Record) { r.Outcome = response.Skipped },
		"there is no target":          func(r *response.Record) { r.Target = nil },
		"the target was not even looked at": func(r *response.Record) {
			r.Target = &response.Target{Kind: "Pod", Namespace: "kube-system", Name: "x"}
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			finder, record := recordOf(t, client, target.LevelPod, pod, edit)
			if err := finder.Announce(t.Context(), record); err != nil {
				t.Error(err)
			}
		})
	}
	if posts := announcements(proxy); posts > 0 {
		t.Errorf("%d requests, want none", posts)
	}
}

func TestAnnounceInDryRunStoresNothing(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, proxy := newClient(t, env, true)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	finder, record := recordOf(t, client, target.LevelPod, pod, func(r *response.Record) { r.Outcome = response.DryRun })
	if err := finder.Announce(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	if posts := announcements(proxy); posts != 1 {
		t.Errorf("%d requests, want 1", posts)
	}
	var all eventsv1.EventList
	if err := client.List(t.Context(), kube.Events, pod.Namespace, &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all.Items {
		if strings.HasPrefix(e.Reason, "Riposte") {
			t.Errorf("there is an event %s", e.Name)
		}
	}
}

func TestAnnounceWhatIsHostile(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	tests := map[string]string{
		"long":                        strings.Repeat("x", 5000),
		"long in many bytes":          strings.Repeat("é", 5000),
		"long in four bytes and more": strings.Repeat("x\U0001F525", 2000),
		"escapes of a terminal":       "a\x1b[2Jb\nc\rd\x00e\u009bf",
		"the other direction":         "a\u202eb\u2066c\ufeffd\u2028e",
		"no text at all":              "\xff\xfe\xfd",
		"blanks":                      "\n\n\t ",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			finder, record := recordOf(t, client, target.LevelPod, pod, func(r *response.Record) {
				r.ID, r.Message, r.Alert.Rule = fmt.Sprintf("%032x", time.Now().UnixNano()), text, text
			})
			if err := finder.Announce(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			var stored eventsv1.Event
			if err := client.Get(t.Context(), kube.Events, pod.Namespace, "riposte-"+record.ID+"-applied", &stored); err != nil {
				t.Fatal(err)
			}
			if len(stored.Note) > 1024 || strings.ContainsFunc(stored.Note, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
				t.Errorf("%d bytes: %q", len(stored.Note), stored.Note)
			}
			if !strings.HasSuffix(stored.Note, "[alert a1]") {
				t.Errorf("the note does not name the alert: %q", stored.Note)
			}
		})
	}
}

func TestAnnounceWithoutPermission(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	_, record := recordOf(t, client, target.LevelPod, pod, nil)
	powerless, _ := newClientAs(t, env.NewProxy(t, env.AccountWith(t, "delete-pod")), false)
	finder := target.NewPodFinder(powerless, protection(), target.LevelPod)
	var mu sync.Mutex
	var errs []error
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			if err := finder.Announce(t.Context(), record); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wait.Wait()
	if len(errs) != 1 || response.KindOf(errs[0]) != response.Permanent || !apierrors.IsForbidden(errs[0]) {
		t.Errorf("ten denials are told of as %v: want one", errs)
	}
}

func TestAnnounceDoesNotWait(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, proxy := newClient(t, env, false)
	pod := env.Deploy(t, testkit.Deployment(env.Namespace(t), "web", 1))[0]
	finder, record := recordOf(t, client, target.LevelPod, pod, nil)
	tests := map[string]struct {
		effect testkit.Effect
		within time.Duration
	}{
		"an API server that does not answer":   {testkit.Hangs(), 10 * time.Second},
		"an API server that asks to come back": {testkit.Answers(http.StatusTooManyRequests, 30), time.Second},
		"an API server that is not well":       {testkit.Answers(http.StatusInternalServerError, 0), time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := announcements(proxy)
			proxy.Inject(&testkit.Fault{Verb: "create", Resource: "events", Times: 1, Effect: test.effect})
			began := time.Now()
			err := finder.Announce(t.Context(), record)
			if took := time.Since(began); err == nil || took > test.within {
				t.Errorf("%v after %s", err, took)
			}
			if posts := announcements(proxy) - before; posts != 1 {
				t.Errorf("%d requests, want 1", posts)
			}
		})
	}
}

func TestAnnounceInANamespaceThatEnds(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	ns := env.Namespace(t)
	pod := env.Deploy(t, testkit.Deployment(ns, "web", 1))[0]
	finder, record := recordOf(t, client, target.LevelPod, pod, nil)
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "held", Finalizers: []string{"riposte.dev/test"}}}
	if err := client.Create(t.Context(), "api/v1/configmaps", ns, held); err != nil {
		t.Fatal(err)
	}
	defer func() { // Else the namespace never ends.
		free := map[string]any{"metadata": map[string]any{"finalizers": nil}}
		if err := client.Merge(t.Context(), "api/v1/configmaps", ns, "held", free, nil); err != nil {
			t.Error(err)
		}
	}()
	if err := client.Delete(t.Context(), kube.Namespaces, "", ns, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := finder.Announce(t.Context(), record); err != nil {
		t.Errorf("%v: want nothing", err)
	}
}
