package function

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/restore"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestRequest(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	with := func(key string, value any) func(scene) object {
		return func(s scene) object {
			request := this(s.target, "Pod")
			request[key] = value
			return request
		}
	}
	for name, tc := range map[string]struct {
		settings settings
		request  func(s scene) object
		want     string
		left     bool // contained
	}{
		"for the pod":                   {nil, with("kind", "Pod"), "200 applied", false},
		"for the pod, in small letters": {nil, with("kind", "pod"), "200 applied", false},
		"for one response":              {nil, with("response", "label"), "200 applied", false},
		"for one record":                {nil, with("response", restore.Name("label", "quarantine=true")), "200 applied", false},
		"for another response":          {nil, with("response", "isolate"), "200 unchanged nothing-to-release", true},
		"for another record":            {nil, with("response", "label-00000000"), "200 unchanged nothing-to-release", true},
		"for another incarnation":       {nil, with("uid", "00000000-0000-0000-0000-000000000000"), "200 skipped replaced", true},
		"for a pod there is not":        {nil, with("name", "nobody"), "200 skipped gone", true},
		"for a node of that name":       {nil, func(s scene) object { return object{"kind": "Node", "name": s.pod.Name} }, "200 skipped gone", true},
		"for what a selector selects": {nil, func(s scene) object {
			return object{"selector": "kubernetes.io/metadata.name!=x,mine=" + s.pod.Namespace}
		}, "200 applied", false},
		"for what no selector selects":     {nil, func(scene) object { return object{"selector": "mine=nobody"} }, "200 unchanged nothing-to-release", true},
		"for what SELECTOR leaves out":     {settings{"SELECTOR": "mine=somebody"}, with("kind", "Pod"), "200 unchanged nothing-to-release", true},
		"for all that SELECTOR leaves out": {settings{"SELECTOR": "mine=somebody"}, func(s scene) object { return object{"selector": "mine=" + s.pod.Namespace} }, "200 unchanged nothing-to-release", true},
		"in a dry run":                     {settings{"DRY_RUN": "true"}, with("kind", "Pod"), "200 dryrun", true},
		"of a kind that LEVELS leaves out": {settings{"LEVELS": "pod,node"}, with("kind", "Deployment"), "400", true},
		"of a kind there is not":           {nil, with("kind", "Secret"), "400", true},
		"without a name":                   {nil, with("name", ""), "400", true},
		"with a name that is a path":       {nil, with("name", "../secrets/x"), "400", true},
		"with a namespace that is a path":  {nil, with("namespace", "a/../b"), "400", true},
		"without a namespace":              {nil, with("namespace", ""), "400", true},
		"with a node in a namespace":       {nil, with("kind", "Node"), "400", true},
		"with a selector and a name":       {nil, with("selector", "mine=a"), "400", true},
		"with a selector that is none":     {nil, func(scene) object { return object{"selector": "a b"} }, "400", true},
		"with a response there is not":     {nil, with("response", "delete-pod"), "400", true},
		"with a field that nobody knows":   {nil, with("force", true), "400", true},
		"with a value of another type":     {nil, with("uid", 7), "400", true},
		"with nothing":                     {nil, func(scene) object { return object{} }, "400", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := aPod(t)
			env.Patch(t, s.target, object{"metadata": object{"labels": object{"mine": s.pod.Namespace}}})
			before := asItWas(t, fresh(t, s.target))
			start(t, "label", settings{"LABELS": "quarantine=true"}).contain(t, s.pod)
			contained := asItWas(t, fresh(t, s.target))
			r := run(t, tc.settings)

			answer := ask(t, r, tc.request(s))

			answer.Expect(t, tc.want)
			want := before
			if tc.left {
				want = contained
			}
			if diff := cmp.Diff(want, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the pod (-want +got):\n%s", diff)
			}
			for _, c := range r.Proxy.Changes() {
				if tc.want == "200 dryrun" && !c.DryRun() {
					t.Errorf("%s was sent without dryRun=All", c)
				}
			}
			if answer.Status == http.StatusOK && (answer.Attributes["rule"] == "" || answer.Attributes["eventsource"] == "" || answer.Record.Message == "") {
				t.Errorf("the outcome has the attributes %v and says %q", answer.Attributes, answer.Record.Message)
			}
		})
	}
}

// Whatever a clock sends strikes; what looks like a request without its envelope does not.
func TestBodyWithoutAnEnvelope(t *testing.T) {
	t.Parallel()
	r := run(t, settings{"SELECTOR": "mine=nobody"})
	for name, tc := range map[string]struct {
		body string
		want int
	}{
		"nothing":         {"", http.StatusNoContent},
		"an empty object": {"{}", http.StatusNoContent},
		"text":            {"wake up", http.StatusNoContent},
		"a schedule of EventBridge": {
			`{"version":"0","id":"1","detail-type":"Scheduled Event","source":"aws.events","account":"1","time":"2026-01-01T00:00:00Z","region":"eu-west-1","resources":[],"detail":{}}`,
			http.StatusNoContent,
		},
		"a request that lost its envelope": {`{"kind":"Pod","namespace":"a","name":"b"}`, http.StatusBadRequest},
		"a selector that lost its":         {`{"selector":"a=b"}`, http.StatusBadRequest},
		"a request in its envelope": {
			`{"specversion":"1.0","id":"1","type":"dev.riposte.release.v1","source":"/me","data":{"selector":"mine=nobody"}}`, http.StatusOK,
		},
		"an alert in its envelope": {
			`{"specversion":"1.0","id":"1","type":"falco.rule.output.v1","source":"/me","data":{"rule":"x"}}`, http.StatusBadRequest,
		},
	} {
		t.Run(name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://release.example/", strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if answer := testkit.Send(t, r, request, nil); answer.Status != tc.want {
				t.Errorf("the answer is %q, want %d: %s", answer.Verdict(), tc.want, answer.Body)
			}
		})
	}
}

func TestWhatIsProtectedStaysAsItIs(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	protect := object{"metadata": object{"annotations": object{"riposte.dev/protect": "true"}}}
	for name, tc := range map[string]struct {
		settings settings
		scene    func(*testing.T) scene
		function string
		protect  func(*testing.T, scene)
		kind     string
		want     string
	}{
		"a pod that is annotated": {nil, func(t *testing.T) scene { t.Helper(); return aPod(t) }, "isolate", func(t *testing.T, s scene) {
			t.Helper()
			env.Patch(t, s.target, protect)
		}, "Pod", "200 refused protected-annotation"},
		"a pod in a namespace that is annotated": {nil, func(t *testing.T) scene { t.Helper(); return aPod(t) }, "isolate", func(t *testing.T, s scene) {
			t.Helper()
			env.Patch(t, namespaceOf(t, s.pod.Namespace), protect)
		}, "Pod", "200 refused protected-annotation"},
		"a pod in a protected namespace": {
			settings{"PROTECTED_NAMESPACES": "testkit-*"},
			func(t *testing.T) scene { t.Helper(); return aPod(t) }, "isolate",
			func(*testing.T, scene) {}, "Pod", "200 refused protected-namespace",
		},
		"a node of the control plane": {nil, func(t *testing.T) scene { t.Helper(); return aNode(t) }, "taint", func(t *testing.T, s scene) {
			t.Helper()
			env.Patch(t, s.target, object{"metadata": object{"labels": object{"node-role.kubernetes.io/control-plane": ""}}})
		}, "Node", "200 refused control-plane-node"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tc.scene(t)
			selector := mine(t, s.target)
			start(t, tc.function, settings{"TTL": "1s"}).contain(t, s.pod)
			tc.protect(t, s)
			before := asItWas(t, fresh(t, s.target))
			all := settings{"SELECTOR": selector}
			maps.Copy(all, tc.settings)
			r := run(t, all)
			ask(t, r, this(s.target, tc.kind)).Expect(t, tc.want)
			// A clock does not complain each minute.
			if answer := strike(t, r); answer.Status != http.StatusNoContent {
				t.Errorf("a tick is answered %q", answer.Verdict())
			}
			if changed := r.Proxy.Changed(); len(changed) > 0 {
				t.Errorf("it sent %v", changed)
			}
			if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
				t.Errorf("the object (-before +after):\n%s", diff)
			}
		})
	}
}

func TestSettingsAreCheckedAtTheStart(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, tc := range map[string]struct{ variable, value string }{
		"a level there is not":           {"LEVELS", "pod,cluster"},
		"a selector that is none":        {"SELECTOR", "a b"},
		"a key that is too short":        {"RESTORE_KEY", "secret"},
		"a pattern that matches nothing": {"PROTECTED_NAMESPACES", "Shop"},
	} {
		t.Run(name, func(t *testing.T) {
			err := New().Start(t.Context(), settings{"KUBECONFIG": env.Kubeconfig, tc.variable: tc.value})
			if err == nil || !strings.Contains(err.Error(), tc.variable) {
				t.Errorf("it gives %v, want an error that names %s", err, tc.variable)
			}
		})
	}
}

// Every pod of a workload is found, and one that somebody else has let go does not hold up the others.
func TestSelectorFindsAllThatIsContained(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	pods := env.Deploy(t, testkit.Deployment(namespace, "web", 3, func(d *appsv1.Deployment) { d.Spec.Template.Labels["mine"] = namespace }))
	label := start(t, "label", settings{"LABELS": "quarantine=true"})
	for _, p := range pods {
		label.contain(t, p)
	}
	env.Patch(t, &pods[1], object{"metadata": object{"annotations": object{"riposte.dev/protect": "true"}}})
	answer := ask(t, run(t, nil), object{"selector": "mine=" + namespace, "response": "label"})
	answer.Expect(t, "200 applied")
	if refused, _ := answer.Record.Details["refused"].([]any); len(list(t, answer)) != 2 || len(refused) != 1 {
		t.Errorf("released %v, refused %v: want two and one", answer.Record.Details["released"], refused)
	}
}

func TestScheduleOfEventBridge(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	s, selector, before := isolated(t, nil)
	template, err := os.ReadFile(filepath.Join(testkit.Root(t), "deploy", "lambda", "template.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var stack struct {
		Resources struct {
			ReleaseTick struct {
				Properties struct {
					Targets []struct{ Input string }
				}
			}
		}
	}
	if err := yaml.Unmarshal(template, &stack); err != nil || len(stack.Resources.ReleaseTick.Properties.Targets) != 1 {
		t.Fatalf("the template has %+v, %v: want one target", stack, err)
	}
	lambda := testkit.StartLambda(t, binary(t, "release"), "CLAIMS=none", "SELECTOR="+selector, "KUBECONFIG="+env.NewProxy(t, env.Account(t, "release")).Kubeconfig)
	testkit.Eventually(t, "it is released", func(context.Context) error {
		answer := lambda.Invoke(t, []byte(stack.Resources.ReleaseTick.Properties.Targets[0].Input))
		if answer.Error != nil {
			return fmt.Errorf("the invocation failed: %+v", answer.Error)
		}
		if !strings.Contains(string(answer.Payload), `"applied"`) {
			return errors.New("nothing was due")
		}
		return nil
	})
	if diff := cmp.Diff(before, asItWas(t, fresh(t, s.target))); diff != "" {
		t.Errorf("the pod (-before +after):\n%s", diff)
	}
}

// Every kind that label can contain can be asked for.
func TestRequestForEveryKind(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	namespace := env.Namespace(t)
	cron := testkit.CronJob(namespace, "nightly")
	env.Create(t, cron)
	label := start(t, "label", settings{"LABELS": "quarantine=true", "LEVEL": "owner"}, "riposte-label-owner")
	for name, tc := range map[string]struct {
		kind             string
		workload, target testkit.Object
	}{
		"a deployment":   {"Deployment", testkit.Deployment(namespace, "web", 1), nil},
		"a replica set":  {"ReplicaSet", testkit.ReplicaSet(namespace, "bare", 1), nil},
		"a stateful set": {"StatefulSet", testkit.StatefulSet(namespace, "db", 1), nil},
		"a daemon set":   {"DaemonSet", testkit.DaemonSet(namespace, "agent", env.Node(t).Name), nil},
		"a job":          {"Job", testkit.Job(namespace, "once"), nil},
		"a cron job":     {"CronJob", testkit.JobOf(cron), cron},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := env.Deploy(t, tc.workload)[0]
			target := tc.target
			if target == nil {
				target = tc.workload
			}
			before := asItWas(t, fresh(t, target))
			label.contain(t, pod)
			ask(t, run(t, nil), this(target, tc.kind)).Expect(t, "200 applied")
			if diff := cmp.Diff(before, asItWas(t, fresh(t, target))); diff != "" {
				t.Errorf("the object (-before +after):\n%s", diff)
			}
		})
	}
}

// What is remembered of a release is swept when it has no meaning any more.
func TestReleaseIsNotRememberedForEver(t *testing.T) {
	t.Parallel()
	_, selector, _ := isolated(t, settings{"TTL_MAX": "2s"})
	all := settings{"LEVELS": "pod,node", "CLAIMS": "lease", "SELECTOR": selector}
	released(t, run(t, all))
	var runs []*testkit.Running // Each sweeps once, after its first event.
	testkit.Eventually(t, "the count is swept", func(ctx context.Context) error {
		runs = append(runs, run(t, all)) //nolint:contextcheck // It outlives this look.
		event(ctx, t, runs[len(runs)-1], typeTick, nil)
		for _, r := range runs {
			for _, request := range r.Proxy.Requests() {
				if request.Verb == "delete" && request.Resource == "leases" {
					return nil
				}
			}
		}
		return errors.New("nothing was")
	})
}
