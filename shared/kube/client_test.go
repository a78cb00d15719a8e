package kube_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func labelled(value string) map[string]any {
	return map[string]any{"metadata": map[string]any{"labels": map[string]any{"stage": value}}}
}

func withUID(patch map[string]any, uid types.UID) map[string]any {
	patch["metadata"].(map[string]any)["uid"] = uid
	return patch
}

// writes are all ways to change a pod, with a precondition on its UID where one is given.
func writes() map[string]func(ctx context.Context, c *kube.Client, p *corev1.Pod, uid types.UID) error {
	options := func(uid types.UID) metav1.DeleteOptions {
		if uid == "" {
			return metav1.DeleteOptions{}
		}
		return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	}
	return map[string]func(context.Context, *kube.Client, *corev1.Pod, types.UID) error{
		"merge": func(ctx context.Context, c *kube.Client, p *corev1.Pod, uid types.UID) error {
			return c.Merge(ctx, kube.Pods, p.Namespace, p.Name, withUID(labelled("merged"), uid), nil)
		},
		"apply": func(ctx context.Context, c *kube.Client, p *corev1.Pod, uid types.UID) error {
			configuration := withUID(labelled("applied"), uid)
			configuration["apiVersion"], configuration["kind"] = "v1", "Pod"
			return c.Apply(ctx, kube.Pods, p.Namespace, p.Name, "riposte-test", false, configuration, nil)
		},
		"delete": func(ctx context.Context, c *kube.Client, p *corev1.Pod, uid types.UID) error {
			return c.Delete(ctx, kube.Pods, p.Namespace, p.Name, options(uid))
		},
		"evict": func(ctx context.Context, c *kube.Client, p *corev1.Pod, uid types.UID) error {
			return c.Evict(ctx, p.Namespace, p.Name, options(uid))
		},
	}
}

func TestWritesHoldToTheUID(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	namespace := env.Namespace(t)
	for name, write := range writes() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := testkit.Pod(namespace, name)
			env.Deploy(t, pod)
			err := write(t.Context(), client, pod, "b62f9f77-0000-4000-8000-000000000000")
			if !kube.IsReplaced(err) || response.KindOf(err) != response.Transient {
				t.Errorf("with another uid it gives %v of kind %s, want to hear that the pod is another", err, response.KindOf(err))
			}
			same := pod.DeepCopy()
			env.Get(t, same)
			if same.UID != pod.UID || same.ResourceVersion != pod.ResourceVersion {
				t.Error("the pod was changed nevertheless")
			}
			if err := write(t.Context(), client, pod, pod.UID); err != nil {
				t.Errorf("with the pod's uid it gives %v", err)
			}
		})
	}
}

func TestDryRunIsCarriedOutAndNotStored(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, proxy := newClient(t, env, true)
	namespace := env.Namespace(t)
	pod := testkit.Pod(namespace, "p")
	env.Deploy(t, pod)
	for name, write := range writes() {
		if err := write(t.Context(), client, pod, pod.UID); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := write(t.Context(), client, pod, "b62f9f77-0000-4000-8000-000000000000"); !kube.IsReplaced(err) {
			t.Errorf("%s with another uid gives %v, want to hear that the pod is another", name, err)
		}
	}
	policy := testkit.NetworkPolicy(namespace, "p", nil)
	policy.APIVersion, policy.Kind = "networking.k8s.io/v1", "NetworkPolicy"
	if err := client.Create(t.Context(), kube.NetworkPolicies, namespace, policy); err != nil {
		t.Errorf("create: %v", err)
	}
	if env.Exists(t, policy) {
		t.Error("create has made the object")
	}
	same := pod.DeepCopy()
	env.Get(t, same)
	if diff := cmp.Diff(pod, same); diff != "" {
		t.Errorf("the pod changed (-before +after):\n%s", diff)
	}
	for _, change := range proxy.Changes() {
		if !change.DryRun() {
			t.Errorf("%s was sent without dryRun=All", change)
		}
	}
}

func TestWritesOfWhatIsGone(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	namespace := env.Namespace(t)
	for name, write := range writes() {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gone"}}
			err := write(t.Context(), client, pod, "b62f9f77-0000-4000-8000-000000000000")
			if !apierrors.IsNotFound(err) || response.KindOf(err) != response.Transient {
				t.Errorf("it gives %v of kind %s, want not found", err, response.KindOf(err))
			}
			if env.Exists(t, pod) {
				t.Error("it has made the object")
			}
		})
	}
}

func TestApplyNamesTheFieldAndWhoHoldsIt(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	pod := testkit.Pod(env.Namespace(t), "p")
	env.Deploy(t, pod)
	configuration := func(value string) map[string]any {
		c := labelled(value)
		c["apiVersion"], c["kind"] = "v1", "Pod"
		return c
	}
	env.Apply(t, pod, "somebody", configuration("theirs"))
	err := client.Apply(t.Context(), kube.Pods, pod.Namespace, pod.Name, "riposte-test", false, configuration("ours"), nil)
	causes := kube.Causes(err)
	if !apierrors.IsConflict(err) || len(causes) != 1 || causes[0].Type != metav1.CauseTypeFieldManagerConflict {
		t.Fatalf("the error is %v with causes %v, want a conflict with a field manager", err, causes)
	}
	if causes[0].Field != ".metadata.labels.stage" || !strings.Contains(causes[0].Message, `"somebody"`) {
		t.Errorf("the cause is %+v, want the label and its manager", causes[0])
	}
	var after corev1.Pod
	if err := client.Apply(t.Context(), kube.Pods, pod.Namespace, pod.Name, "riposte-test", true, configuration("ours"), &after); err != nil {
		t.Fatalf("with force: %v", err)
	}
	if after.Labels["stage"] != "ours" {
		t.Errorf("with force the label is %q", after.Labels["stage"])
	}
}

func TestErrorsOfTheAPIServerAreClassified(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	account := env.AdminAccount(t)
	pod := testkit.Pod(env.Namespace(t), "p")
	env.Create(t, pod)
	read := func(ctx context.Context, client *kube.Client) error {
		return client.Get(ctx, kube.Pods, pod.Namespace, pod.Name, &corev1.Pod{})
	}
	write := func(ctx context.Context, client *kube.Client) error {
		return client.Merge(ctx, kube.Pods, pod.Namespace, pod.Name, labelled("x"), nil)
	}
	type want struct {
		kind       response.Kind
		retryAfter time.Duration
		requests   int
	}
	for name, tc := range map[string]struct {
		effect testkit.Effect
		times  int
		do     func(context.Context, *kube.Client) error
		want   want
	}{
		"a read that is throttled for good is tried four times":   {testkit.Answers(http.StatusTooManyRequests, 1), 0, read, want{response.Transient, time.Second, 4}},
		"a change that is throttled once is sent again":           {testkit.Answers(http.StatusTooManyRequests, 1), 1, write, want{response.Unknown, 0, 2}},
		"a change that is throttled without a time is sent once":  {testkit.Answers(http.StatusTooManyRequests, 0), 0, write, want{response.Transient, 0, 1}},
		"a change that is answered 503 with a time is sent again": {testkit.Answers(http.StatusServiceUnavailable, 1), 1, write, want{response.Unknown, 0, 2}},
		"500":                                    {testkit.Answers(http.StatusInternalServerError, 0), 0, write, want{response.Transient, 0, 1}},
		"503":                                    {testkit.Answers(http.StatusServiceUnavailable, 0), 0, read, want{response.Transient, 0, 1}},
		"504":                                    {testkit.Answers(http.StatusGatewayTimeout, 0), 0, read, want{response.Transient, 0, 1}},
		"408":                                    {testkit.Answers(http.StatusRequestTimeout, 0), 0, read, want{response.Transient, 0, 1}},
		"409":                                    {testkit.Answers(http.StatusConflict, 0), 0, write, want{response.Transient, 0, 1}},
		"410":                                    {testkit.Answers(http.StatusGone, 0), 0, read, want{response.Transient, 0, 1}},
		"404":                                    {testkit.Answers(http.StatusNotFound, 0), 0, write, want{response.Transient, 0, 1}},
		"400":                                    {testkit.Answers(http.StatusBadRequest, 0), 0, write, want{response.Permanent, 0, 1}},
		"401":                                    {testkit.Answers(http.StatusUnauthorized, 0), 0, read, want{response.Permanent, 0, 1}},
		"403":                                    {testkit.Answers(http.StatusForbidden, 0), 0, write, want{response.Permanent, 0, 1}},
		"422":                                    {testkit.Answers(http.StatusUnprocessableEntity, 0), 0, write, want{response.Permanent, 0, 1}},
		"an answer that is cut short":            {testkit.Truncates(), 0, read, want{response.Transient, 0, 1}},
		"a success that is not the api server's": {testkit.Says("text/html", "<html>please log in</html>"), 0, read, want{response.Transient, 0, 1}},
		"a success of a change that is not its either":  {testkit.Says("application/json", `{"status":"ok"}`), 0, write, want{response.Transient, 0, 1}},
		"a change whose connection breaks is sent once": {testkit.Resets(), 0, write, want{response.Transient, 0, 1}},
		"a read whose connection breaks is sent again":  {testkit.Resets(), 1, read, want{response.Unknown, 0, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, proxy := newClientAs(t, env.NewProxy(t, account), false)
			proxy.Inject(&testkit.Fault{Times: tc.times, Effect: tc.effect})
			err := tc.do(t.Context(), client)
			got := want{response.KindOf(err), response.RetryAfter(err), len(proxy.Requests())}
			if got != tc.want || (err == nil) != (tc.want.kind == response.Unknown) {
				t.Errorf("it gives %v: %+v, want %+v", err, got, tc.want)
			}
		})
	}
}

func TestRealRefusalsArePermanent(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	pod := testkit.Pod(env.Namespace(t), "p")
	env.Create(t, pod)
	for name, err := range map[string]error{
		"a label that is none":       client.Merge(t.Context(), kube.Pods, pod.Namespace, pod.Name, labelled("a b"), nil),
		"a field that cannot change": client.Merge(t.Context(), kube.Pods, pod.Namespace, pod.Name, map[string]any{"spec": map[string]any{"nodeName": "x"}}, nil),
		"a patch that is none":       client.Merge(t.Context(), kube.Pods, pod.Namespace, pod.Name, "x", nil),
	} {
		if response.KindOf(err) != response.Permanent {
			t.Errorf("%s gives %v of kind %s, want permanent", name, err, response.KindOf(err))
		}
	}
	taken := testkit.Pod(pod.Namespace, "p")
	taken.APIVersion, taken.Kind = "v1", "Pod"
	if err := client.Create(t.Context(), kube.Pods, pod.Namespace, taken); !apierrors.IsAlreadyExists(err) {
		t.Errorf("a name that is taken gives %v", err)
	}
}

func TestResourceVersionIsAPrecondition(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	pod := testkit.Pod(env.Namespace(t), "p")
	env.Create(t, pod)
	patch := labelled("late")
	patch["metadata"].(map[string]any)["resourceVersion"] = pod.ResourceVersion
	env.Patch(t, pod, labelled("early"))
	if err := client.Merge(t.Context(), kube.Pods, pod.Namespace, pod.Name, patch, nil); !apierrors.IsConflict(err) {
		t.Errorf("a patch of an older version gives %v, want a conflict", err)
	}
	env.Get(t, pod)
	if pod.Labels["stage"] != "early" {
		t.Errorf("the label is %q", pod.Labels["stage"])
	}
}

func TestDeadlineEndsARequest(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	for name, effect := range map[string]testkit.Effect{
		"that hangs": testkit.Hangs(), "that waits to be sent again": testkit.Answers(http.StatusTooManyRequests, 600),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, proxy := newClient(t, env, false)
			proxy.Inject(&testkit.Fault{Effect: effect})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			started := time.Now()
			err := client.Get(ctx, kube.Pods, "default", "p", &corev1.Pod{})
			if response.KindOf(err) != response.Transient {
				t.Errorf("it gives %v of kind %s, want transient", err, response.KindOf(err))
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestBurstIsNotHeldUp(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, _ := newClient(t, env, false)
	started := time.Now()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if err := client.Get(t.Context(), kube.Namespaces, "", "default", &corev1.Namespace{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// client-go's default of 5 requests a second, in bursts of 10, makes 100 requests take 18 seconds.
	if took := time.Since(started); took > 9*time.Second {
		t.Errorf("100 requests took %s", took)
	}
}

func TestConnect(t *testing.T) {
	env := testkit.Cluster(t)
	folder := t.TempDir()
	garbage := filepath.Join(folder, "garbage")
	if err := os.WriteFile(garbage, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, tc := range map[string]struct {
		kubeconfig string
		connects   bool
	}{
		"the kubeconfig that is named":                              {env.Kubeconfig, true},
		"the first of two that names a cluster":                     {filepath.Join(folder, "none") + ":" + env.Kubeconfig, true},
		"none, outside of a pod":                                    {"", false},
		"one that does not exist, which is not replaced by another": {filepath.Join(folder, "none"), false},
		"one that is no kubeconfig":                                 {garbage, false},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := kube.Connect(kube.Settings{Kubeconfig: tc.kubeconfig}, response.Settings{}, "riposte-test")
			if (err == nil) != tc.connects {
				t.Fatalf("it gives %v", err)
			}
			if err != nil {
				return
			}
			if err := client.Get(t.Context(), kube.Namespaces, "", "default", &corev1.Namespace{}); err != nil {
				t.Errorf("read a namespace: %v", err)
			}
		})
	}
}

func TestChangesNameTheirManager(t *testing.T) {
	t.Parallel()
	env := testkit.Cluster(t)
	client, proxy := newClient(t, env, false)
	pod := testkit.Pod(env.Namespace(t), "p")
	env.Create(t, pod)
	if err := client.Merge(t.Context(), kube.Pods, pod.Namespace, pod.Name, labelled("x"), pod); err != nil {
		t.Fatal(err)
	}
	managers := map[string]bool{}
	for _, m := range pod.ManagedFields {
		fields, err := json.Marshal(m.FieldsV1)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(fields), `"f:stage"`) {
			managers[m.Manager] = true
		}
	}
	if diff := cmp.Diff(map[string]bool{"riposte-test": true}, managers); diff != "" {
		t.Errorf("managers of the label (-want +got):\n%s", diff)
	}
	if got := proxy.Changes()[0].Query.Get("fieldManager"); got != "riposte-test" {
		t.Errorf("the field manager sent is %q", got)
	}
}
