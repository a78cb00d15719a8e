package cluster

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var (
	podsResource         = corev1.SchemeGroupVersion.WithResource("pods")
	deploymentsResource  = appsv1.SchemeGroupVersion.WithResource("deployments")
	statefulSetsResource = appsv1.SchemeGroupVersion.WithResource("statefulsets")
	daemonSetsResource   = appsv1.SchemeGroupVersion.WithResource("daemonsets")
	jobsResource         = batchv1.SchemeGroupVersion.WithResource("jobs")
	budgetsResource      = policyv1.SchemeGroupVersion.WithResource("poddisruptionbudgets")
)

const (
	app      = "web"
	selected = "app=" + app
)

func meta() metav1.ObjectMeta { return metav1.ObjectMeta{Name: app} }

func selector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}
}

// template has containers of every kind: an init container, a sidecar, and two of
// its own, one of them privileged.
func template() corev1.PodTemplateSpec {
	always := corev1.ContainerRestartPolicyAlways
	privileged := true
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{
				{Name: "init", Image: "busybox:1.36"},
				{Name: "sidecar", Image: "registry.example:5000/mesh/proxy", RestartPolicy: &always},
			},
			Containers: []corev1.Container{
				{Name: "web", Image: "nginx:1.27", SecurityContext: &corev1.SecurityContext{Privileged: &privileged}},
				{Name: "log", Image: "example/log@sha256:" + strings.Repeat("0a", 32)},
			},
		},
	}
}

func newDeployment(replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: meta(),
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector(), Template: template()},
	}
}

func newJob(name string, annotations map[string]string) *batchv1.Job {
	pod := template()
	pod.Annotations = annotations
	pod.Labels = map[string]string{"app": name}
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return &batchv1.Job{
		TypeMeta:   metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       batchv1.JobSpec{Template: pod},
	}
}

func ready(what string, got, want int32) error {
	if got != want {
		return fmt.Errorf("%s: %d of %d pods are ready", what, got, want)
	}
	return nil
}

func jobComplete(ctx context.Context, namespace, job string) error {
	var got batchv1.Job
	if err := read(ctx, jobsResource, namespace, job, &got); err != nil {
		return err
	}
	if got.Status.CompletionTime == nil {
		return fmt.Errorf("job %s is not complete: %+v", job, got.Status)
	}
	return nil
}

func TestWorkloads(t *testing.T) {
	two := int32(2)
	for name, tc := range map[string]struct {
		resource schema.GroupVersionResource
		object   runtime.Object
		check    func(ctx context.Context, namespace string) error
	}{
		"the three pods of a deployment become ready": {
			deploymentsResource, newDeployment(3),
			func(ctx context.Context, namespace string) error {
				var got appsv1.Deployment
				if err := read(ctx, deploymentsResource, namespace, app, &got); err != nil {
					return err
				}
				return ready("deployment", got.Status.AvailableReplicas, 3)
			},
		},
		"the two pods of a stateful set become ready": {
			statefulSetsResource,
			&appsv1.StatefulSet{
				TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
				ObjectMeta: meta(),
				Spec:       appsv1.StatefulSetSpec{ServiceName: app, Replicas: &two, Selector: selector(), Template: template()},
			},
			func(ctx context.Context, namespace string) error {
				var got appsv1.StatefulSet
				if err := read(ctx, statefulSetsResource, namespace, app, &got); err != nil {
					return err
				}
				return ready("stateful set", got.Status.AvailableReplicas, 2)
			},
		},
		"a daemon set has a ready pod on every worker": {
			daemonSetsResource,
			&appsv1.DaemonSet{
				TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
				ObjectMeta: meta(),
				Spec:       appsv1.DaemonSetSpec{Selector: selector(), Template: template()},
			},
			func(ctx context.Context, namespace string) error {
				var got appsv1.DaemonSet
				if err := read(ctx, daemonSetsResource, namespace, app, &got); err != nil {
					return err
				}
				return ready("daemon set", got.Status.NumberAvailable, 3)
			},
		},
		"a job completes": {
			jobsResource, newJob(app, nil),
			func(ctx context.Context, namespace string) error { return jobComplete(ctx, namespace, app) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			create(t, tc.resource, namespace, tc.object)
			eventually(t, name, func(ctx context.Context) error { return tc.check(ctx, namespace) })
		})
	}
}

func TestJobKeepsRunning(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	create(t, jobsResource, namespace, newJob(app, map[string]string{KeepRunningAnnotation: "true"}))
	readyPods(t, namespace, 1)
	// When a job that came later is complete, this one has had its time.
	create(t, jobsResource, namespace, newJob("later", nil))
	eventually(t, "the later job to complete", func(ctx context.Context) error { return jobComplete(ctx, namespace, "later") })
	var got batchv1.Job
	if err := read(t.Context(), jobsResource, namespace, app, &got); err != nil {
		t.Fatal(err)
	}
	if got.Status.Active != 1 || got.Status.CompletionTime != nil {
		t.Errorf("the job does not run: %+v", got.Status)
	}
}

// readyPods waits until n pods that are not being deleted are ready.
func readyPods(t *testing.T, namespace string, n int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, fmt.Sprintf("%d ready pods", n), func(ctx context.Context) error {
		found, err := list[corev1.Pod](ctx, podsResource, namespace, selected)
		if err != nil {
			return err
		}
		pods = nil
		for _, pod := range found {
			if pod.DeletionTimestamp == nil && isReady(pod) {
				pods = append(pods, pod)
			}
		}
		if len(pods) != n {
			return fmt.Errorf("%d of %d pods are ready", len(pods), n)
		}
		return nil
	})
	return pods
}

func isReady(pod corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return pod.Status.Phase == corev1.PodRunning && condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// statuses returns the statuses of a pod's containers of every kind, by name.
func statuses(pod corev1.Pod) map[string]corev1.ContainerStatus {
	byName := map[string]corev1.ContainerStatus{}
	for _, kind := range [][]corev1.ContainerStatus{
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for _, status := range kind {
			byName[status.Name] = status
		}
	}
	return byName
}

func TestContainersHaveIdentities(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	create(t, deploymentsResource, namespace, newDeployment(3))
	form := regexp.MustCompile(`^containerd://[0-9a-f]{64}$`)
	images := map[string]*regexp.Regexp{
		"init":    regexp.MustCompile(`^busybox@sha256:[0-9a-f]{64}$`),
		"sidecar": regexp.MustCompile(`^registry\.example:5000/mesh/proxy@sha256:[0-9a-f]{64}$`),
		"web":     regexp.MustCompile(`^nginx@sha256:[0-9a-f]{64}$`),
		"log":     regexp.MustCompile(`^example/log@sha256:(0a){32}$`),
	}
	seen := map[string]string{}
	for _, pod := range readyPods(t, namespace, 3) {
		found := statuses(pod)
		for name, image := range images {
			status, ok := found[name]
			if !ok {
				t.Fatalf("pod %s has no status for container %s", pod.Name, name)
			}
			if !form.MatchString(status.ContainerID) || status.ContainerID != "containerd://"+ContainerID(string(pod.UID), name) {
				t.Errorf("container %s of pod %s (%s) has the id %q", name, pod.Name, pod.UID, status.ContainerID)
			}
			if other, taken := seen[status.ContainerID]; taken {
				t.Errorf("container %s of pod %s has the id of %s", name, pod.Name, other)
			}
			seen[status.ContainerID] = pod.Name + "/" + name
			if !image.MatchString(status.ImageID) {
				t.Errorf("container %s has the image id %q", name, status.ImageID)
			}
			running := status.State.Running
			if name != "init" && (running == nil || running.StartedAt.IsZero()) {
				t.Errorf("container %s does not run: %+v", name, status.State)
			}
			if terminated := status.State.Terminated; name == "init" && (terminated == nil || terminated.ExitCode != 0) {
				t.Errorf("the init container has not succeeded: %+v", status.State)
			}
		}
		if pod.Status.PodIP == "" || pod.Status.HostIP == "" || pod.Status.StartTime.IsZero() {
			t.Errorf("pod %s has no addresses or start: %+v", pod.Name, pod.Status)
		}
	}
}

func TestEphemeralContainersRun(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	create(t, deploymentsResource, namespace, newDeployment(1))
	pod := readyPods(t, namespace, 1)[0]
	for _, name := range []string{"debug-1", "debug-2"} {
		patch := fmt.Sprintf(`{"spec":{"ephemeralContainers":[{"name":%q,"image":"busybox:1.36","targetContainerName":"web"}]}}`, name)
		_, err := one.client.Resource(podsResource).Namespace(namespace).Patch(
			t.Context(), pod.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "ephemeralcontainers")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" to run", func(ctx context.Context) error {
			if err := read(ctx, podsResource, namespace, pod.Name, &pod); err != nil {
				return err
			}
			status := statuses(pod)[name]
			if status.State.Running == nil || status.ContainerID != "containerd://"+ContainerID(string(pod.UID), name) {
				return fmt.Errorf("status of %s is %+v", name, status)
			}
			return nil
		})
		if name == "debug-2" {
			continue
		}
		// Something that only the present status can know.
		const restarted = `[{"op":"replace","path":"/status/ephemeralContainerStatuses/0/restartCount","value":7}]`
		_, err = one.client.Resource(podsResource).Namespace(namespace).Patch(
			t.Context(), pod.Name, types.JSONPatchType, []byte(restarted), metav1.PatchOptions{}, "status")
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := statuses(pod)["debug-1"]; got.State.Running == nil || got.RestartCount != 7 {
		t.Errorf("the second container has changed the status of the first: %+v", got)
	}
}

func TestDeletedPodIsReplaced(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	create(t, deploymentsResource, namespace, newDeployment(3))
	before := readyPods(t, namespace, 3)
	victim := before[0]
	// A long grace period: kwok must not wait for it.
	options := metav1.NewDeleteOptions(600)
	options.Preconditions = metav1.NewUIDPreconditions(string(victim.UID))
	if err := one.client.Resource(podsResource).Namespace(namespace).Delete(t.Context(), victim.Name, *options); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deleted pod to be gone", func(ctx context.Context) error {
		err := read(ctx, podsResource, namespace, victim.Name, &corev1.Pod{})
		if err == nil {
			return fmt.Errorf("pod %s is still there", victim.Name)
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		return nil
	})
	old := map[types.UID]bool{}
	for _, pod := range before {
		old[pod.UID] = true
	}
	var fresh []corev1.Pod
	for _, pod := range readyPods(t, namespace, 3) {
		if !old[pod.UID] {
			fresh = append(fresh, pod)
		}
	}
	if len(fresh) != 1 {
		t.Fatalf("%d new pods, want 1", len(fresh))
	}
	for name, status := range statuses(victim) {
		if again := statuses(fresh[0])[name].ContainerID; again == status.ContainerID || again == "" {
			t.Errorf("container %s had the id %q and has the id %q", name, status.ContainerID, again)
		}
	}
}

func TestBudgetRefusesEviction(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	create(t, deploymentsResource, namespace, newDeployment(3))
	pods := readyPods(t, namespace, 3)
	all := intstr.FromString("100%")
	create(t, budgetsResource, namespace, &policyv1.PodDisruptionBudget{
		TypeMeta:   metav1.TypeMeta{APIVersion: "policy/v1", Kind: "PodDisruptionBudget"},
		ObjectMeta: meta(),
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &all, Selector: selector()},
	})
	eventually(t, "the budget to be counted", func(ctx context.Context) error {
		var budget policyv1.PodDisruptionBudget
		if err := read(ctx, budgetsResource, namespace, app, &budget); err != nil {
			return err
		}
		if budget.Status.CurrentHealthy != 3 || budget.Status.ExpectedPods != 3 || budget.Status.DisruptionsAllowed != 0 {
			return fmt.Errorf("its status is %+v", budget.Status)
		}
		return nil
	})
	eviction := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "policy/v1",
		"kind":       "Eviction",
		"metadata":   map[string]any{"name": pods[0].Name, "namespace": namespace},
	}}
	_, err := one.client.Resource(podsResource).Namespace(namespace).Create(t.Context(), eviction, metav1.CreateOptions{}, "eviction")
	if !apierrors.IsTooManyRequests(err) {
		t.Errorf("eviction against the budget answers %v, want 429", err)
	}
}

func TestLogsAreServed(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t)
	create(t, deploymentsResource, namespace, newDeployment(1))
	pod := readyPods(t, namespace, 1)[0]
	for _, flag := range []string{"--previous=false", "--previous=true"} {
		out, err := one.Kubectl(t.Context(), "logs", flag, "--namespace", namespace, pod.Name, "--container", "web")
		if err != nil || !strings.Contains(string(out), "nothing runs in this container") {
			t.Errorf("kubectl logs %s: %q, %v", flag, out, err)
		}
	}
}
