package target_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/target"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// protection are the defaults.
func protection() kube.Settings {
	return kube.Settings{Protection: guard.Protection{SkipDaemonSets: true, OwnNamespace: "riposte"}}
}

func decode(t *testing.T, body []byte) falco.Alert {
	t.Helper()
	alert, err := falco.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	return alert
}

// find gives the reason why an alert is declined, or "found" and what the target then is.
func find(t *testing.T, finder *target.PodFinder, body []byte) (string, *target.Found, string) {
	t.Helper()
	got, declined, err := finder.Target(t.Context(), decode(t, body))
	if err != nil {
		t.Fatalf("find the target: %v", err)
	}
	if declined != nil {
		return string(declined.Verdict) + " " + string(declined.Reason), nil, got.Subject()
	}
	found, ok := got.Object.(*target.Found)
	if !ok {
		t.Fatalf("the target's object is %T", got.Object)
	}
	return "found", found, got.Subject()
}

const (
	none    = "skipped no-target"
	invalid = "skipped invalid-target"
	unsure  = "skipped unverified"
	other   = "skipped replaced"
)

// newRichPod makes a pod that has every sort of container: its own, which was restarted once, an init
// container and an ephemeral one.
func newRichPod(t *testing.T, env *testkit.Env) corev1.Pod {
	t.Helper()
	pod := testkit.Pod(env.Namespace(t), "rich", func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Image: "example/init:1"}}
	})
	env.Deploy(t, pod)
	env.Patch(t, pod, map[string]any{"spec": map[string]any{"ephemeralContainers": []any{
		map[string]any{"name": "debug", "image": "example/debug:1"},
	}}}, "ephemeralcontainers")
	env.Await(t, pod, "runs its ephemeral container", func() error {
		if len(pod.Status.EphemeralContainerStatuses) == 0 {
			return errors.New("it has no status")
		}
		return nil
	})
	restarted := pod.Status.ContainerStatuses
	restarted[0].LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ContainerID: "containerd://" + before}
	env.Patch(t, pod, map[string]any{"status": map[string]any{"containerStatuses": restarted}}, "status")
	return *pod
}

// before is the id of the container before its restart.
var before = strings.Repeat("0123456789abcdef", 4)

func bareID(s corev1.ContainerStatus) string {
	return strings.TrimPrefix(s.ContainerID, "containerd://")
}

func TestTargetIsFoundAndProved(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	finder := target.NewPodFinder(client, protection(), target.LevelPod)
	pod := newRichPod(t, env)
	status := pod.Status
	id := bareID(status.ContainerStatuses[0])
	created := pod.CreationTimestamp.Time

	for name, tc := range map[string]struct {
		edits []testkit.Edit
		want  string
	}{
		"the first twelve digits of the container's id prove it":    {nil, "found"},
		"the whole id proves it":                                    {[]testkit.Edit{testkit.Field("container.full_id", id), testkit.Without("container.id")}, "found"},
		"the id of an init container proves it":                     {[]testkit.Edit{testkit.Field("container.id", bareID(status.InitContainerStatuses[0])[:12])}, "found"},
		"the id of an ephemeral container proves it":                {[]testkit.Edit{testkit.Field("container.id", bareID(status.EphemeralContainerStatuses[0])[:12])}, "found"},
		"the id of the container before a restart proves it":        {[]testkit.Edit{testkit.Field("container.id", before[:12])}, "found"},
		"another container's id does not":                           {[]testkit.Edit{testkit.Field("container.id", "3ad7b26ded6d")}, other},
		"a later part of the id does not":                           {[]testkit.Edit{testkit.Field("container.id", id[12:24])}, other},
		"one of two ids that is another's does not":                 {[]testkit.Edit{testkit.Field("container.full_id", strings.Repeat("a", 64))}, other},
		"an id too short to be certain counts as none":              {[]testkit.Edit{testkit.Field("container.id", id[:11])}, unsure},
		"an id that is none counts as none":                         {[]testkit.Edit{testkit.Field("container.id", "my-container")}, unsure},
		"the host's id counts as none":                              {[]testkit.Edit{testkit.Field("container.id", "host")}, unsure},
		"an empty id counts as none":                                {[]testkit.Edit{testkit.Field("container.id", "")}, unsure},
		"an id that is a number counts as none":                     {[]testkit.Edit{testkit.Field("container.id", 123456789012)}, unsure},
		"no id at all proves nothing":                               {[]testkit.Edit{testkit.Without("container.id")}, unsure},
		"the uid proves it":                                         {[]testkit.Edit{testkit.Field("k8s.pod.uid", string(pod.UID)), testkit.Without("container.id")}, "found"},
		"the uid proves it whatever the container":                  {[]testkit.Edit{testkit.Field("k8s.pod.uid", string(pod.UID)), testkit.Field("container.id", "3ad7b26ded6d")}, "found"},
		"the old name of the uid's field does too":                  {[]testkit.Edit{testkit.Field("k8s.pod.id", string(pod.UID)), testkit.Without("container.id")}, "found"},
		"another uid does not, whatever the container":              {[]testkit.Edit{testkit.Field("k8s.pod.uid", "b62f9f77-0000-4000-8000-000000000000")}, other},
		"another uid in the field of the old name does not":         {[]testkit.Edit{testkit.Field("k8s.pod.id", "b62f9f77-0000-4000-8000-000000000000")}, other},
		"two uids that differ do not":                               {[]testkit.Edit{testkit.Field("k8s.pod.uid", string(pod.UID)), testkit.Field("k8s.pod.id", "b62f9f77-0000-4000-8000-000000000000")}, other},
		"a part of the uid does not":                                {[]testkit.Edit{testkit.Field("k8s.pod.uid", string(pod.UID)[:8])}, other},
		"an unknown uid leaves it to the container":                 {[]testkit.Edit{testkit.Field("k8s.pod.uid", "<NA>")}, "found"},
		"a uid that is null leaves it to the container":             {[]testkit.Edit{testkit.Field("k8s.pod.uid", nil)}, "found"},
		"a uid that is no text leaves it to the container":          {[]testkit.Edit{testkit.Field("k8s.pod.uid", []string{string(pod.UID)})}, "found"},
		"an alert of the second of the creation is the pod's":       {[]testkit.Edit{testkit.At(created)}, "found"},
		"an alert from before the creation is another pod's":        {[]testkit.Edit{testkit.At(created.Add(-time.Millisecond))}, other},
		"so it is with the right uid":                               {[]testkit.Edit{testkit.At(created.Add(-time.Second)), testkit.Field("k8s.pod.uid", string(pod.UID))}, other},
		"no name is no target":                                      {[]testkit.Edit{testkit.Without("k8s.pod.name")}, none},
		"no namespace is no target":                                 {[]testkit.Edit{testkit.Without("k8s.ns.name")}, none},
		"an unknown name is no target":                              {[]testkit.Edit{testkit.Field("k8s.pod.name", "<NA>")}, none},
		"a name that is null is no target":                          {[]testkit.Edit{testkit.Field("k8s.pod.name", nil)}, none},
		"an empty namespace is no target":                           {[]testkit.Edit{testkit.Field("k8s.ns.name", "")}, none},
		"a namespace that is a number is no target":                 {[]testkit.Edit{testkit.Field("k8s.ns.name", 7)}, none},
		"a name that is a list is no target":                        {[]testkit.Edit{testkit.Field("k8s.pod.name", []string{pod.Name})}, none},
		"what the output says does not count":                       {[]testkit.Edit{testkit.Set("output", "k8s_pod_name=innocent k8s_ns_name=kube-system k8s.pod.name=innocent")}, "found"},
		"what only the output says does not count":                  {[]testkit.Edit{testkit.Without("k8s.pod.name"), testkit.Set("output", "k8s_pod_name="+pod.Name+" k8s_ns_name="+pod.Namespace)}, none},
		"an audit event of the pod proves nothing":                  {[]testkit.Edit{audit(pod)}, unsure},
		"an audit event of something else is no target":             {[]testkit.Edit{audit(pod), testkit.Field("ka.target.resource", "deployments")}, none},
		"a pod that is not there is gone":                           {[]testkit.Edit{testkit.Field("k8s.pod.name", "rich-2")}, "skipped gone"},
		"a pod of a namespace that is not there is gone":            {[]testkit.Edit{testkit.Field("k8s.ns.name", pod.Namespace+"-2")}, "skipped gone"},
		"a pod of that name in another namespace is not looked for": {[]testkit.Edit{testkit.Field("k8s.ns.name", "default")}, "skipped gone"},
		"a name with a slash is no name":                            {[]testkit.Edit{testkit.Field("k8s.pod.name", "rich/eviction")}, invalid},
		"a name that climbs is no name":                             {[]testkit.Edit{testkit.Field("k8s.pod.name", "../../namespaces/default")}, invalid},
		"a name with a query is no name":                            {[]testkit.Edit{testkit.Field("k8s.pod.name", "rich?force=true")}, invalid},
		"a name with an escape is no name":                          {[]testkit.Edit{testkit.Field("k8s.pod.name", "rich%2f")}, invalid},
		"a name with capitals is no name":                           {[]testkit.Edit{testkit.Field("k8s.pod.name", "Rich")}, invalid},
		"a name with a line break is no name":                       {[]testkit.Edit{testkit.Field("k8s.pod.name", "rich\r\nHost: evil")}, invalid},
		"a name too long is no name":                                {[]testkit.Edit{testkit.Field("k8s.pod.name", strings.Repeat("a", 254))}, invalid},
		"a namespace with a slash is no namespace":                  {[]testkit.Edit{testkit.Field("k8s.ns.name", "default/pods/x")}, invalid},
		"a namespace with a dot is no namespace":                    {[]testkit.Edit{testkit.Field("k8s.ns.name", "..")}, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, found, subject := find(t, finder, testkit.AlertFor(t, pod, tc.edits...))
			if got != tc.want {
				t.Fatalf("the target is %s, want %s", got, tc.want)
			}
			if found != nil && (found.Pod.UID != pod.UID || subject != "namespaces/"+pod.Namespace+"/pods/rich") {
				t.Errorf("the target is %s with uid %s", subject, found.Pod.UID)
			}
		})
	}
}

func TestAnswerDoesNotTellWhatWouldHaveBeenRight(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	pod := env.Deploy(t, testkit.Pod(env.Namespace(t), "p"))[0]
	for name, edit := range map[string]testkit.Edit{
		"the uid":          testkit.Field("k8s.pod.uid", "b62f9f77-0000-4000-8000-000000000000"),
		"the container id": testkit.Field("container.id", "3ad7b26ded6d"),
	} {
		_, declined, err := target.NewPodFinder(client, protection(), target.LevelPod).Target(t.Context(), decode(t, testkit.AlertFor(t, pod, edit)))
		if declined == nil || err != nil {
			t.Fatalf("with another one for %s: declined %v, error %v", name, declined, err)
		}
		if strings.Contains(declined.Message, string(pod.UID)) || strings.Contains(declined.Message, testkit.ContainerID(t, pod)[:12]) {
			t.Errorf("the message tells %s: %s", name, declined.Message)
		}
	}
}

// audit makes an alert one of the Kubernetes audit log, about the pod.
func audit(p corev1.Pod) testkit.Edit {
	return func(alert map[string]any) {
		alert["source"] = "k8s_audit"
		alert["output_fields"] = map[string]any{"ka.target.resource": "pods", "ka.target.namespace": p.Namespace, "ka.target.name": p.Name}
	}
}

func TestNothingIsAskedWhereTheAlertNamesNoPod(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, proxy := newClient(t, env, false)
	settings := protection()
	settings.Namespaces, settings.OwnNamespace = config.List{"team-*", "vault"}, "answers"
	finder := target.NewPodFinder(client, settings, target.LevelPod)
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-0", UID: "u"}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{ContainerID: "containerd://" + before}}

	const protected = "refused protected-namespace"
	for name, tc := range map[string]struct {
		edit testkit.Edit
		want string
	}{
		"a host alert":                       {testkit.Without("k8s.pod.name", "k8s.ns.name", "container.id"), none},
		"a name that climbs":                 {testkit.Field("k8s.pod.name", "../x"), invalid},
		"no proof":                           {testkit.Without("container.id"), unsure},
		"kube-system":                        {testkit.Field("k8s.ns.name", "kube-system"), protected},
		"kube-public":                        {testkit.Field("k8s.ns.name", "kube-public"), protected},
		"kube-node-lease":                    {testkit.Field("k8s.ns.name", "kube-node-lease"), protected},
		"falco's own namespace":              {testkit.Field("k8s.ns.name", "falco"), protected},
		"a namespace of knative":             {testkit.Field("k8s.ns.name", "knative-eventing"), protected},
		"openfaas":                           {testkit.Field("k8s.ns.name", "openfaas"), protected},
		"the functions of openfaas":          {testkit.Field("k8s.ns.name", "openfaas-fn"), protected},
		"riposte":                            {testkit.Field("k8s.ns.name", "riposte"), protected},
		"the namespace of the function":      {testkit.Field("k8s.ns.name", "answers"), protected},
		"a namespace of the operator's list": {testkit.Field("k8s.ns.name", "vault"), protected},
		"a pattern of the operator's list":   {testkit.Field("k8s.ns.name", "team-red"), protected},
	} {
		t.Run(name, func(t *testing.T) {
			proxy.Forget()
			got, _, _ := find(t, finder, testkit.AlertFor(t, pod, tc.edit))
			if got != tc.want {
				t.Errorf("the target is %s, want %s", got, tc.want)
			}
			if requests := proxy.Requests(); len(requests) > 0 {
				t.Errorf("the API server was asked for %v", requests)
			}
		})
	}
	proxy.Forget()
	find(t, finder, testkit.AlertFor(t, pod, testkit.Field("k8s.ns.name", "teamwork")))
	if len(proxy.Requests()) == 0 {
		t.Error("a namespace that merely looks like a protected one was not looked into")
	}
}

func TestStaticPodIsRecognisedByItsHash(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	finder := target.NewPodFinder(client, protection(), target.LevelPod)
	const hash = "0f2a4c6e8b1d3f5a7c9e0b2d4f6a8c1e"
	static := testkit.Pod(env.Namespace(t), "etcd-node", func(p *corev1.Pod) {
		p.Annotations = map[string]string{"kubernetes.io/config.mirror": hash, "kubernetes.io/config.hash": hash, "kubernetes.io/config.source": "file"}
		p.Spec.NodeName = env.Node(t).Name
	})
	pod := env.Deploy(t, static)[0]
	for name, tc := range map[string]struct{ uid, want string }{
		"the hash is the kubelet's uid of it":   {hash, "refused static-pod"},
		"the uid of the API server is good":     {string(pod.UID), "refused static-pod"},
		"another hash is another incarnation's": {strings.Repeat("0", 32), other},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _, _ := find(t, finder, testkit.AlertFor(t, pod, testkit.Field("k8s.pod.uid", tc.uid))); got != tc.want {
				t.Errorf("the target is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestOwnersAreFollowedToTheTop(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	namespace := env.Namespace(t)
	cron := testkit.CronJob(namespace, "nightly")
	env.Create(t, cron)
	known := testkit.Deployment(namespace, "known", 0)
	env.Create(t, known)
	controlled := func(name, apiVersion, kind string, uid types.UID) *corev1.Pod {
		return testkit.Pod(namespace, name, func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{testkit.Controller(known, apiVersion, kind)}
			p.OwnerReferences[0].UID = uid
			p.Finalizers = []string{"test.riposte.dev/kept"} // the garbage collector would take it
		})
	}
	for name, tc := range map[string]struct {
		workload testkit.Object
		want     []string
		level    string // the subject at LevelOwner, or why there is none
	}{
		"a deployment above its replica set":  {testkit.Deployment(namespace, "web", 1), []string{"ReplicaSet", "Deployment"}, "deployments/web"},
		"a replica set alone":                 {testkit.ReplicaSet(namespace, "bare", 1), []string{"ReplicaSet"}, "replicasets/bare"},
		"a stateful set":                      {testkit.StatefulSet(namespace, "db", 1), []string{"StatefulSet"}, "statefulsets/db"},
		"a job":                               {testkit.Job(namespace, "once"), []string{"Job"}, "jobs/once"},
		"a cron job above its job":            {testkit.JobOf(cron), []string{"Job", "CronJob"}, "cronjobs/nightly"},
		"no controller":                       {testkit.Pod(namespace, "alone"), nil, "skipped no-owner"},
		"a controller of a kind nobody knows": {controlled("custom", "example.com/v1", "Robot", "b62f9f77-0000-4000-8000-000000000000"), nil, "skipped no-owner"},
		"a kind of the same name elsewhere":   {controlled("lookalike", "example.com/v1", "Deployment", known.UID), nil, "skipped no-owner"},
		"a controller that is gone":           {controlled("orphan", "apps/v1", "ReplicaSet", "b62f9f77-0000-4000-8000-000000000000"), nil, "skipped no-owner"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := podOf(t, env, tc.workload)
			alert := testkit.AlertFor(t, pod)
			_, found, _ := find(t, target.NewPodFinder(client, protection(), target.LevelPod), alert)
			var kinds []string
			for _, o := range found.Owners {
				kinds = append(kinds, o.Kind)
			}
			if diff := cmp.Diff(tc.want, kinds); diff != "" {
				t.Errorf("owners (-want +got):\n%s", diff)
			}
			got, _, subject := find(t, target.NewPodFinder(client, protection(), target.LevelOwner), alert)
			if got == "found" {
				got = strings.TrimPrefix(subject, "namespaces/"+namespace+"/")
			}
			if got != tc.level {
				t.Errorf("the target at the level of the owner is %s, want %s", got, tc.level)
			}
		})
	}
}

// podOf creates a workload and returns its one pod, which may be on its way out.
func podOf(t *testing.T, env *testkit.Env, workload testkit.Object) corev1.Pod {
	t.Helper()
	if p, ok := workload.(*corev1.Pod); ok {
		return env.DeploySilent(t, p)
	}
	return env.Deploy(t, workload)[0]
}

func TestOwnerOfTheSameNameIsNotTakenForTheOwner(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	namespace := env.Namespace(t)
	set := testkit.ReplicaSet(namespace, "web", 0)
	env.Create(t, set)
	impostor := testkit.Pod(namespace, "claims", func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{testkit.Controller(set, "apps/v1", "ReplicaSet")}
		p.OwnerReferences[0].UID = "b62f9f77-0000-4000-8000-000000000000"
		p.Finalizers = []string{"test.riposte.dev/kept"}
	})
	pod := podOf(t, env, impostor)
	_, found, _ := find(t, target.NewPodFinder(client, protection(), target.LevelPod), testkit.AlertFor(t, pod))
	if len(found.Owners) > 0 {
		t.Errorf("the owner is %s %s", found.Owners[0].Kind, found.Owners[0].Name)
	}
}

func TestProtectedTargetsAreRefused(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	const refused = "refused protected-annotation"
	for name, tc := range map[string]struct {
		object func(scene) testkit.Object
		value  string
		pod    string // at LevelPod
		node   string // at LevelNode
	}{
		"the pod":                    {func(s scene) testkit.Object { return s.pod }, "true", refused, refused},
		"the pod with another value": {func(s scene) testkit.Object { return s.pod }, "false", "found", "found"},
		"its replica set":            {func(s scene) testkit.Object { return s.set }, "true", refused, refused},
		"its deployment":             {func(s scene) testkit.Object { return s.deployment }, "true", refused, refused},
		"its namespace":              {func(s scene) testkit.Object { return s.namespace }, "true", refused, refused},
		"its node":                   {func(s scene) testkit.Object { return s.node }, "true", "found", refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, env)
			env.Patch(t, tc.object(s), map[string]any{"metadata": map[string]any{"annotations": map[string]any{guard.ProtectAnnotation: tc.value}}})
			alert := testkit.AlertFor(t, *s.pod)
			if got, _, _ := find(t, target.NewPodFinder(client, protection(), target.LevelPod), alert); got != tc.pod {
				t.Errorf("the pod is %s, want %s", got, tc.pod)
			}
			if got, _, _ := find(t, target.NewPodFinder(client, protection(), target.LevelNode), alert); got != tc.node {
				t.Errorf("the node is %s, want %s", got, tc.node)
			}
		})
	}
}

// scene is a pod with what stands around it.
type scene struct {
	pod        *corev1.Pod
	set        testkit.Object
	deployment testkit.Object
	namespace  *corev1.Namespace
	node       *corev1.Node
}

func newScene(t *testing.T, env *testkit.Env) scene {
	t.Helper()
	s := scene{node: env.Node(t), namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: env.Namespace(t)}}}
	deployment := testkit.Deployment(s.namespace.Name, "web", 1, testkit.OnNode(s.node))
	s.pod = &env.Deploy(t, deployment)[0]
	s.deployment = deployment
	set := testkit.ReplicaSet(s.namespace.Name, s.pod.OwnerReferences[0].Name, 1)
	env.Get(t, set)
	s.set = set
	return s
}

func TestDaemonSetPodIsRefusedUnlessAllowed(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	pod := env.Deploy(t, testkit.DaemonSet(env.Namespace(t), "agent", env.Node(t).Name))[0]
	allowed := protection()
	allowed.SkipDaemonSets = false
	for name, tc := range map[string]struct {
		settings kube.Settings
		want     string
	}{
		"by default": {protection(), "refused daemonset-pod"},
		"allowed":    {allowed, "found"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _, _ := find(t, target.NewPodFinder(client, tc.settings, target.LevelPod), testkit.AlertFor(t, pod)); got != tc.want {
				t.Errorf("the target is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	role := func(key string, taint bool) func(*corev1.Node) {
		return func(n *corev1.Node) {
			if taint {
				n.Spec.Taints = []corev1.Taint{{Key: key, Effect: corev1.TaintEffectNoSchedule}}
				return
			}
			n.Labels[key] = ""
		}
	}
	for name, tc := range map[string]struct {
		node          func(*corev1.Node)
		onPod, onNode string
	}{
		"a worker":                                {func(*corev1.Node) {}, "found", "found"},
		"a control-plane node by its label":       {role("node-role.kubernetes.io/control-plane", false), "found", "refused control-plane-node"},
		"a control-plane node by its taint":       {role("node-role.kubernetes.io/control-plane", true), "found", "refused control-plane-node"},
		"a control-plane node by its old label":   {role("node-role.kubernetes.io/master", false), "found", "refused control-plane-node"},
		"a node whose label only begins like one": {role("node-role.kubernetes.io/control-plane-free", false), "found", "found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := env.Node(t, tc.node)
			namespace := env.Namespace(t)
			pod := env.Deploy(t, testkit.Pod(namespace, "p", func(p *corev1.Pod) { p.Spec.NodeName = node.Name }))[0]
			for level, want := range map[target.Level][2]string{
				target.LevelPod:       {tc.onPod, "namespaces/" + namespace + "/pods/p"},
				target.LevelNamespace: {tc.onPod, "namespaces/" + namespace},
				target.LevelNode:      {tc.onNode, "nodes/" + node.Name},
			} {
				got, _, subject := find(t, target.NewPodFinder(client, protection(), level), testkit.AlertFor(t, pod))
				if got != want[0] || subject != want[1] {
					t.Errorf("at level %s the target %s is %s, want %s %s", level, subject, got, want[1], want[0])
				}
			}
		})
	}
}

func TestPodWithoutANode(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	namespace := env.Namespace(t)
	for name, tc := range map[string]struct {
		place func(*corev1.Pod)
		want  string
	}{
		"that was never scheduled": {func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"no": "such"} }, "skipped not-scheduled"},
		"whose node is gone":       {func(p *corev1.Pod) { p.Spec.NodeName = "no-such-node" }, "skipped gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := testkit.Pod(namespace, "p"+fmt.Sprint(len(name)), tc.place)
			env.Create(t, pod)
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{ContainerID: "containerd://" + before}} // for AlertFor
			alert := testkit.AlertFor(t, *pod, testkit.Without("container.id"), testkit.Field("k8s.pod.uid", string(pod.UID)))
			if got, _, _ := find(t, target.NewPodFinder(client, protection(), target.LevelPod), alert); got != "found" {
				t.Errorf("the pod is %s, want found", got)
			}
			if got, _, _ := find(t, target.NewPodFinder(client, protection(), target.LevelNode), alert); got != tc.want {
				t.Errorf("its node is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFactsForConditions(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	s := newScene(t, env)
	target, declined, err := target.NewPodFinder(client, protection(), target.LevelPod).Target(t.Context(), decode(t, testkit.AlertFor(t, *s.pod)))
	if declined != nil || err != nil {
		t.Fatalf("declined %v, error %v", declined, err)
	}
	want := map[string]any{
		"kind": "Pod", "name": s.pod.Name, "uid": string(s.pod.UID), "namespace": s.namespace.Name, "node": s.node.Name, "serviceAccount": "default",
		"labels": s.pod.Labels, "annotations": map[string]string{}, "namespaceLabels": map[string]string{"kubernetes.io/metadata.name": s.namespace.Name},
		"images": []string{"registry.example.com:5000/shop/web:v1.2.3"}, "owner": map[string]any{"kind": "Deployment", "name": "web"},
	}
	if diff := cmp.Diff(want, target.Facts); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
}
