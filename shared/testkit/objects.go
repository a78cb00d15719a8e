package testkit

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Container is the name of the container in every pod that is made here.
const Container = "app"

// App are the labels of the pods of the workload of that name.
func App(name string) map[string]string { return map[string]string{"app": name} }

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: App(name)}
}

func template(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: App(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: Container, Image: "registry.example.com:5000/shop/" + name + ":v1.2.3"}}},
	}
}

func applied[T any](object *T, apply []func(*T)) *T {
	for _, f := range apply {
		f(object)
	}
	return object
}

// Pod is a pod without a controller.
func Pod(namespace, name string, apply ...func(*corev1.Pod)) *corev1.Pod {
	p := template(name)
	return applied(&corev1.Pod{ObjectMeta: meta(namespace, name), Spec: p.Spec}, apply)
}

// Deployment is a Deployment whose pods carry the label app.
func Deployment(namespace, name string, replicas int32, apply ...func(*appsv1.Deployment)) *appsv1.Deployment {
	return applied(&appsv1.Deployment{
		ObjectMeta: meta(namespace, name),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: App(name)}, Template: template(name),
		},
	}, apply)
}

// ReplicaSet is a ReplicaSet without a Deployment.
func ReplicaSet(namespace, name string, replicas int32, apply ...func(*appsv1.ReplicaSet)) *appsv1.ReplicaSet {
	return applied(&appsv1.ReplicaSet{
		ObjectMeta: meta(namespace, name),
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: App(name)}, Template: template(name),
		},
	}, apply)
}

// StatefulSet is a StatefulSet that starts its pods at once.
func StatefulSet(namespace, name string, replicas int32, apply ...func(*appsv1.StatefulSet)) *appsv1.StatefulSet {
	return applied(&appsv1.StatefulSet{
		ObjectMeta: meta(namespace, name),
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: App(name)}, Template: template(name),
			ServiceName: name, PodManagementPolicy: appsv1.ParallelPodManagement,
		},
	}, apply)
}

// DaemonSet is a DaemonSet with a pod on that node alone.
func DaemonSet(namespace, name, node string, apply ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	d := &appsv1.DaemonSet{
		ObjectMeta: meta(namespace, name),
		Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: App(name)}, Template: template(name)},
	}
	d.Spec.Template.Spec.NodeName = node
	return applied(d, apply)
}

// jobTemplate keeps its pod running; test/cluster lets others succeed at once.
func jobTemplate(name string) corev1.PodTemplateSpec {
	p := template(name)
	p.Annotations = map[string]string{"test.riposte.dev/keep-running": "true"}
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	return p
}

// Job is a Job whose pod keeps running.
func Job(namespace, name string, apply ...func(*batchv1.Job)) *batchv1.Job {
	return applied(&batchv1.Job{ObjectMeta: meta(namespace, name), Spec: batchv1.JobSpec{Template: jobTemplate(name)}}, apply)
}

// CronJob is a CronJob that is suspended: its Jobs are made by JobOf, not by the clock.
func CronJob(namespace, name string, apply ...func(*batchv1.CronJob)) *batchv1.CronJob {
	suspend := true
	return applied(&batchv1.CronJob{
		ObjectMeta: meta(namespace, name),
		Spec: batchv1.CronJobSpec{
			Schedule: "0 0 1 1 *", Suspend: &suspend,
			JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: jobTemplate(name)}},
		},
	}, apply)
}

// JobOf is a Job of the CronJob, as its controller makes them.
func JobOf(c *batchv1.CronJob, apply ...func(*batchv1.Job)) *batchv1.Job {
	job := Job(c.Namespace, c.Name+"-1", apply...)
	job.OwnerReferences = []metav1.OwnerReference{Controller(c, "batch/v1", "CronJob")}
	return job
}

// Controller is a reference to an object as the controller of another.
func Controller(o Object, apiVersion, kind string) metav1.OwnerReference {
	yes := true
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: o.GetName(), UID: o.GetUID(), Controller: &yes}
}

// Service selects the pods of the workload of the same name.
func Service(namespace, name string, apply ...func(*corev1.Service)) *corev1.Service {
	return applied(&corev1.Service{
		ObjectMeta: meta(namespace, name),
		Spec:       corev1.ServiceSpec{Selector: App(name), Ports: []corev1.ServicePort{{Port: 80}}},
	}, apply)
}

// Budget is a PodDisruptionBudget that wants so many pods of the workload of the same name, such as 2 or 50%.
func Budget(namespace, name, minAvailable string, apply ...func(*policyv1.PodDisruptionBudget)) *policyv1.PodDisruptionBudget {
	available := intstr.Parse(minAvailable)
	return applied(&policyv1.PodDisruptionBudget{
		ObjectMeta: meta(namespace, name),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &available, Selector: &metav1.LabelSelector{MatchLabels: App(name)},
		},
	}, apply)
}

// NetworkPolicy selects the pods with these labels and allows them everything.
func NetworkPolicy(namespace, name string, labels map[string]string, apply ...func(*networkingv1.NetworkPolicy)) *networkingv1.NetworkPolicy {
	return applied(&networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: maps.Clone(labels)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
			Egress:      []networkingv1.NetworkPolicyEgressRule{{}},
		},
	}, apply)
}

// Namespace makes a namespace for the test, in which pods can be created at once. It is deleted afterwards.
func (e *Env) Namespace(tb testing.TB, apply ...func(*corev1.Namespace)) string {
	tb.Helper()
	n := applied(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "testkit-"}}, apply)
	e.Create(tb, n)
	e.removeAfterwards(tb, n)
	e.Ready(tb, n)
	return n.Name
}

// Node makes a node for the test, which kwok plays. The scheduler leaves it alone: pods get there by spec.nodeName, see OnNode.
// Main removes it, when the namespaces of the tests are on their way out: pods whose node goes first stay for a minute.
func (e *Env) Node(tb testing.TB, apply ...func(*corev1.Node)) *corev1.Node {
	tb.Helper()
	capacity := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("16"), corev1.ResourceMemory: resource.MustParse("64Gi"),
		corev1.ResourcePods: resource.MustParse("0"), // the scheduler finds it full
	}
	n := applied(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "testkit-",
			Annotations:  map[string]string{"kwok.x-k8s.io/node": "fake"},
			Labels:       map[string]string{corev1.LabelOSStable: "linux"},
		},
		Status: corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}, apply)
	e.Create(tb, n)
	e.mu.Lock()
	e.nodes = append(e.nodes, n.DeepCopy())
	e.mu.Unlock()
	e.Ready(tb, n)
	return n
}

// OnNode puts a Deployment's pods on a node.
func OnNode(n *corev1.Node) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) { d.Spec.Template.Spec.NodeName = n.Name }
}

// Deploy creates a workload, waits until it is ready and returns its pods.
func (e *Env) Deploy(tb testing.TB, workload Object) []corev1.Pod {
	tb.Helper()
	e.Create(tb, workload)
	e.Ready(tb, workload)
	return e.Pods(tb, workload)
}

// DeploySilent creates a pod on a node whose kubelet does not answer: once it is deleted, it stays until its grace
// period is over and its finalizers are gone, as on a node that is cut off. Its container has an id nevertheless.
func (e *Env) DeploySilent(tb testing.TB, p *corev1.Pod) corev1.Pod {
	tb.Helper()
	p.Spec.NodeName = "lost"
	e.Create(tb, p)
	tb.Cleanup(func() {
		e.Release(tb, p)
		e.Remove(tb, p)
	})
	sum := sha256.Sum256([]byte(p.UID))
	e.Patch(tb, p, map[string]any{"status": map[string]any{"phase": corev1.PodRunning, "containerStatuses": []corev1.ContainerStatus{{
		Name: Container, ContainerID: "containerd://" + hex.EncodeToString(sum[:]),
	}}}}, "status")
	return *p
}

// ContainerID is the id of a pod's container, as its status has it, without the name of the runtime.
func ContainerID(tb testing.TB, p corev1.Pod) string {
	tb.Helper()
	for _, s := range p.Status.ContainerStatuses {
		var id string
		if _, err := fmt.Sscanf(s.ContainerID, "containerd://%s", &id); err == nil {
			return id
		}
	}
	tb.Fatalf("pod %s/%s has no container id", p.Namespace, p.Name)
	return ""
}
