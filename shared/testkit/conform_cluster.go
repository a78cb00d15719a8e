package testkit

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ConformOnCluster proves Conform, and what every function on Kubernetes owes beside it: told again, or many times at
// once, it changes nothing more; in a dry run it sends nothing but dry runs; it knows every kind of owner; and whichever
// of its requests fails in whatever way, it says so with the right status and works when the API server does again.
func ConformOnCluster[F Function](t *testing.T, function string, newFunction func() F, settings map[string]string) {
	t.Helper()
	t.Parallel()
	e := Cluster(t)
	run := func(t *testing.T, more map[string]string) *Running {
		t.Helper()
		all := map[string]string{"AUTH_TOKEN": secret, "MAX_ALERT_AGE": "0"}
		maps.Copy(all, settings)
		maps.Copy(all, more)
		return e.Run(t, function, newFunction(), all)
	}
	t.Run("it takes every capture", func(t *testing.T) {
		t.Parallel()
		proxy := e.NewProxy(t, e.Account(t, function))
		all := bareSettings()
		all["KUBECONFIG"] = proxy.Kubeconfig
		maps.Copy(all, settings)
		Conform(t, newFunction, all)
		if changed := proxy.Changed(); len(changed) > 0 {
			t.Errorf("it changed %v, of which no capture speaks", changed)
		}
	})
	t.Run("a dry run of every capture changes nothing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		r := run(t, map[string]string{"DRY_RUN": "true"})
		before := w.state(t)
		tried := false
		for _, c := range Captures(t) {
			request := c.Retarget(To(t, w.pod, time.Now())).CloudEvent(t, "")
			if request == nil {
				continue
			}
			answer := Send(t, r, request, nil)
			checkContract(t, answer)
			tried = tried || answer.Verdict() == "200 dryrun"
			if o := answer.Record; answer.Status == http.StatusOK && (!o.DryRun || o.Outcome == "applied") {
				t.Errorf("%s: the outcome is %s and dry_run %t", c.Name, o.Outcome, o.DryRun)
			}
		}
		for _, change := range r.Proxy.Requests() {
			if change.Changes() && !change.DryRun() {
				t.Errorf("%s was sent without dryRun=All: %s?%s %s", change, change.Path, change.Query.Encode(), change.Body)
			}
		}
		if !tried || len(r.Proxy.Changes()) == 0 {
			t.Error("no capture led to a dry run")
		}
		if diff := cmp.Diff(before, w.state(t)); diff != "" {
			t.Errorf("objects changed (-before +after):\n%s", diff)
		}
		checkTidy(t, r)
	})
	t.Run("the same alert again changes nothing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		r := run(t, nil)
		alert := AlertFor(t, w.pod)
		first := Post(t, r, alert)
		checkContract(t, first)
		if first.Attributes["outcome"] != "applied" || len(r.Proxy.Changes()) == 0 {
			t.Fatalf("the first time the answer is %q with changes %v, want it applied", first.Verdict(), r.Proxy.Changed())
		}
		if regexp.MustCompile(`outcome not announced.*forbidden`).MatchString(r.Log(t)) { // Nothing else would tell: a function goes on without.
			t.Error("it may not write the Kubernetes Event of its outcome: its rbac.yaml has to grant create on events.events.k8s.io")
		}
		r.Proxy.Forget()
		for range 2 {
			again := Post(t, r, alert)
			checkContract(t, again)
			if outcome := again.Attributes["outcome"]; outcome != "unchanged" && outcome != "skipped" {
				t.Errorf("the second time the answer is %q, want it unchanged or skipped", again.Verdict())
			}
		}
		if changed := r.Proxy.Changed(); len(changed) > 0 {
			t.Errorf("the second time it sent %v", changed)
		}
		checkTidy(t, r)
	})
	t.Run("many copies of an alert at once are one", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		r := run(t, nil)
		alert := AlertFor(t, w.pod)
		answers := make(chan Answer, 10)
		var all sync.WaitGroup
		for range cap(answers) {
			all.Go(func() { answers <- Post(t, r, alert) })
		}
		all.Wait()
		close(answers)
		applied := map[string]bool{}
		for answer := range answers {
			checkContract(t, answer)
			switch outcome := answer.Attributes["outcome"]; outcome {
			case "applied":
				applied[answer.Attributes["id"]] = true
			case "unchanged", "skipped":
			default:
				t.Errorf("an answer is %q, want it applied, unchanged or skipped: %s", answer.Verdict(), answer.Body)
			}
		}
		// Two copies may both find the change still to be made; they then tell of it under one id.
		if len(applied) != 1 {
			t.Errorf("the outcomes applied have the ids %v, want one", applied)
		}
		r.Proxy.Forget()
		Post(t, r, alert)
		if changed := r.Proxy.Changed(); len(changed) > 0 {
			t.Errorf("after all of them it sent %v", changed)
		}
		checkTidy(t, r)
	})
	t.Run("a caller that gives up is answered at once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, e)
		r := run(t, nil)
		promptly(t, func() {
			answer := PostWith(cancelled(t), t, r, AlertFor(t, w.pod))
			checkContract(t, answer)
			answer.Expect(t, "500")
		})
		if diff := cmp.Diff(map[string]string{"transient": "1"}, r.Errors(t)); diff != "" {
			t.Errorf("errors by kind (-want +got):\n%s", diff)
		}
		if changed := r.Proxy.Changed(); len(changed) > 0 {
			t.Errorf("it sent %v", changed)
		}
	})
	t.Run("whichever request fails", func(t *testing.T) {
		t.Parallel()
		conformFaults(t, newWorld(t, e), func(t *testing.T) *Running {
			t.Helper()
			return run(t, map[string]string{"DRY_RUN": "true"})
		})
	})
	t.Run("with claims", func(t *testing.T) {
		t.Parallel()
		conformClaims(t, e, run)
	})
	t.Run("it knows every kind of owner", func(t *testing.T) {
		t.Parallel()
		conformOwners(t, e, run(t, map[string]string{"DRY_RUN": "true", "SKIP_DAEMONSETS": "false"}))
	})
}

// conformFaults lets each request of a dry run fail in turn, in several ways.
func conformFaults(t *testing.T, w *world, run func(*testing.T) *Running) {
	t.Helper()
	// With its node's name it lets expect nothing that is not needed: of a reading that is not, nobody asks how it went.
	alert := AlertFor(t, w.pod, Set("hostname", w.pod.Spec.NodeName))
	r := run(t)
	Post(t, r, alert).Expect(t, "200 dryrun")
	// An Event that cannot be written is nobody's failure.
	requests := slices.DeleteFunc(r.Proxy.Requests(), Request.Bookkeeping)
	for name, tc := range map[string]struct {
		effect Effect
		want   string
	}{
		"with 500":                  {Answers(http.StatusInternalServerError, 0), "500"},
		"with 503":                  {Answers(http.StatusServiceUnavailable, 0), "500"},
		"with 504":                  {Answers(http.StatusGatewayTimeout, 0), "500"},
		"with 429 and no time":      {Answers(http.StatusTooManyRequests, 0), "500"},
		"with 401":                  {Answers(http.StatusUnauthorized, 0), "422"},
		"with 403":                  {Answers(http.StatusForbidden, 0), "422"},
		"because the answer is cut": {Truncates(), "500"},
		"because a portal answers":  {Says("text/html", "<html>please log in</html>"), "500"},
		"because a proxy answers":   {Says("application/json", `{"status":"ok"}`), "500"},
	} {
		t.Run(name, func(t *testing.T) {
			before := map[string]int{}
			for _, request := range requests {
				// One of its own for each: of the alert before, a reading that was called off may still be on its way.
				r := run(t)
				kind := request.Verb + " " + request.Resource
				r.Proxy.Inject(&Fault{Verb: request.Verb, Resource: request.Resource, After: before[kind], Times: 1, Effect: tc.effect})
				before[kind]++
				answer := Post(t, r, alert)
				checkContract(t, answer)
				if answer.Verdict() != tc.want {
					t.Errorf("%s fails: the answer is %q, want %s", request, answer.Verdict(), tc.want)
				}
				r.Proxy.Heal()
				Post(t, r, alert).Expect(t, "200 dryrun")
				checkTidy(t, r)
			}
		})
	}
}

// conformOwners lets a function in dry run meet pods of every kind of owner: it must be allowed to read each of them.
func conformOwners(t *testing.T, e *Env, r *Running) {
	t.Helper()
	namespace := e.Namespace(t)
	cron := CronJob(namespace, "nightly")
	e.Create(t, cron)
	for name, workload := range map[string]Object{
		"a deployment": Deployment(namespace, "web", 1), "a replica set": ReplicaSet(namespace, "bare", 1), "a stateful set": StatefulSet(namespace, "db", 1),
		"a daemon set": DaemonSet(namespace, "agent", e.Node(t).Name), "a job": Job(namespace, "once"), "a cron job": JobOf(cron),
	} {
		t.Run("such as "+name, func(t *testing.T) {
			t.Parallel()
			pod := e.Deploy(t, workload)[0]
			Post(t, r, AlertFor(t, pod)).Expect(t, "200 dryrun")
		})
	}
}

// world is a namespace with a workload, on a node of its own.
type world struct {
	env       *Env
	namespace string
	node      *corev1.Node
	pod       corev1.Pod
}

func newWorld(tb testing.TB, e *Env) *world {
	tb.Helper()
	w := &world{env: e, namespace: e.Namespace(tb), node: e.Node(tb)}
	e.Create(tb, Service(w.namespace, "web"))
	e.Create(tb, NetworkPolicy(w.namespace, "web", App("web")))
	w.pod = e.Deploy(tb, Deployment(w.namespace, "web", 2, OnNode(w.node)))[0]
	return w
}

// state is everything a function on Kubernetes could have changed, as text. Objects that only the controllers write to
// are compared by their resourceVersion.
func (w *world) state(tb testing.TB) []string {
	tb.Helper()
	state := map[string]string{}
	add := func(o Object, content any) {
		b, err := json.Marshal(content)
		if err != nil {
			tb.Fatalf("write down %s: %v", describe(o), err)
		}
		state[describe(o)] = string(b)
	}
	var pods corev1.PodList
	if err := w.env.List(tb.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace}}, nil, &pods); err != nil {
		tb.Fatalf("list pods: %v", err)
	}
	for i := range pods.Items {
		add(&pods.Items[i], pods.Items[i])
	}
	var policies networkingv1.NetworkPolicyList
	if err := w.env.List(tb.Context(), NetworkPolicy(w.namespace, "", nil), nil, &policies); err != nil {
		tb.Fatalf("list network policies: %v", err)
	}
	for i := range policies.Items {
		add(&policies.Items[i], policies.Items[i])
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}
	w.env.Get(tb, namespace)
	add(namespace, namespace)
	deployment := Deployment(w.namespace, "web", 0)
	w.env.Get(tb, deployment)
	add(deployment, deployment)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.node.Name}}
	w.env.Get(tb, node)
	// kwok goes on writing the node's status, as a kubelet does.
	add(node, []any{node.Labels, node.Annotations, node.Spec})
	return sorted(state)
}
