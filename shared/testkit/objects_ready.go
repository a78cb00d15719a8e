package testkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Ready waits until the controllers have brought the object to what it wants. It then is as it was last read.
func (e *Env) Ready(tb testing.TB, o Object) {
	tb.Helper()
	Eventually(tb, describe(o)+" is ready", func(ctx context.Context) error {
		if err := e.read(ctx, o); err != nil {
			return err
		}
		return e.ready(ctx, o)
	})
}

func (e *Env) ready(ctx context.Context, o Object) error {
	switch o := o.(type) {
	case *corev1.Namespace:
		return e.read(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: o.Name, Name: "default"}})
	case *corev1.Node:
		return nodeReady(o)
	case *corev1.Pod:
		return podReady(o)
	case *appsv1.Deployment:
		s := o.Status
		settled := slices.ContainsFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool {
			return c.Type == appsv1.DeploymentProgressing && c.Reason == "NewReplicaSetAvailable"
		})
		return e.podsReady(ctx, o, *o.Spec.Replicas, settled && s.ObservedGeneration == o.Generation, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas)
	case *appsv1.ReplicaSet:
		return e.podsReady(ctx, o, *o.Spec.Replicas, o.Status.ObservedGeneration == o.Generation, o.Status.ReadyReplicas, o.Status.AvailableReplicas)
	case *appsv1.StatefulSet:
		s := o.Status
		return e.podsReady(ctx, o, *o.Spec.Replicas, s.ObservedGeneration == o.Generation, s.ReadyReplicas, s.UpdatedReplicas, s.AvailableReplicas)
	case *appsv1.DaemonSet:
		return e.podsReady(ctx, o, 1, o.Status.ObservedGeneration == o.Generation, o.Status.NumberReady, o.Status.NumberAvailable)
	case *batchv1.Job:
		return e.podsReady(ctx, o, 1, o.Status.Ready != nil && *o.Status.Ready == 1, o.Status.Active)
	case *policyv1.PodDisruptionBudget:
		s := o.Status
		if s.ObservedGeneration != o.Generation || s.ExpectedPods == 0 || s.CurrentHealthy != s.ExpectedPods {
			return fmt.Errorf("its status is %+v", s)
		}
	}
	return nil
}

// podsReady says whether the counts of the status, and the pods themselves, are what is wanted.
func (e *Env) podsReady(ctx context.Context, o Object, want int32, settled bool, counts ...int32) error {
	if !settled || slices.ContainsFunc(counts, func(count int32) bool { return count != want }) {
		return fmt.Errorf("settled %t, %v of %d pods", settled, counts, want)
	}
	pods, err := e.pods(ctx, o)
	if err != nil {
		return err
	}
	if len(pods) != int(want) {
		return fmt.Errorf("there are %d pods, want %d", len(pods), want)
	}
	var faults []error
	for i := range pods {
		faults = append(faults, podReady(&pods[i]))
	}
	return errors.Join(faults...)
}

func podReady(p *corev1.Pod) error {
	if IsReady(*p) && p.Status.Phase == corev1.PodRunning {
		return nil
	}
	return fmt.Errorf("pod %s is %s and not ready", p.Name, p.Status.Phase)
}

// IsReady says whether the pod has the condition Ready.
func IsReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// Unready makes a pod not ready, as a kubelet does whose probe fails.
func (e *Env) Unready(tb testing.TB, p *corev1.Pod) {
	tb.Helper()
	conditions := slices.Clone(p.Status.Conditions)
	for i := range conditions {
		if c := &conditions[i]; c.Type == corev1.PodReady || c.Type == corev1.ContainersReady {
			c.Status = corev1.ConditionFalse
		}
	}
	e.Patch(tb, p, map[string]any{"status": map[string]any{"conditions": conditions}}, "status")
}

// nodeReady passes when the node is Ready and the controllers have noticed.
func nodeReady(n *corev1.Node) error {
	if slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeNotReady }) {
		return fmt.Errorf("it has taints %v", n.Spec.Taints)
	}
	if slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		return nil
	}
	return errors.New("it is not Ready")
}

// Pods are the living pods with the workload's label app, by name.
func (e *Env) Pods(tb testing.TB, workload Object) []corev1.Pod {
	tb.Helper()
	pods, err := e.pods(tb.Context(), workload)
	if err != nil {
		tb.Fatalf("list the pods of %s: %v", describe(workload), err)
	}
	return pods
}

func (e *Env) pods(ctx context.Context, workload Object) ([]corev1.Pod, error) {
	var list corev1.PodList
	like := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: workload.GetNamespace()}}
	if err := e.List(ctx, like, App(workload.GetLabels()["app"]), &list); err != nil {
		return nil, err
	}
	pods := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	for i := range pods {
		pods[i].TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"} // as one that is read on its own has it
	}
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return pods, nil
}

// Names are the names of pods, with a space between them.
func Names(pods []corev1.Pod) string {
	names := make([]string, len(pods))
	for i, p := range pods {
		names[i] = p.Name
	}
	return strings.Join(names, " ")
}

// Recreated waits until a ready pod of another incarnation has the pod's name, and returns it.
func (e *Env) Recreated(tb testing.TB, old corev1.Pod) corev1.Pod {
	tb.Helper()
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: old.Namespace, Name: old.Name}}
	e.Await(tb, &p, "is made anew", func() error {
		if p.UID == old.UID {
			return errors.New("it is the old one")
		}
		return podReady(&p)
	})
	return p
}
