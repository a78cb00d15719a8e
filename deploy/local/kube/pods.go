package kube

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// Pod is what the local run shows and compares of a pod.
type Pod struct {
	Namespace   string    `json:"namespace"`
	Name        string    `json:"name"`
	UID         string    `json:"uid"`
	Owner       string    `json:"owner"`
	OwnerKind   string    `json:"ownerKind"`
	Node        string    `json:"node"`
	Phase       string    `json:"phase"`
	Ready       bool      `json:"ready"`
	Created     time.Time `json:"created"`
	Terminating bool      `json:"terminating"`
	ContainerID string    `json:"containerId"`
	// Marks are the labels that functions of Riposte have set.
	Marks []string `json:"marks"`

	Labels      map[string]string `json:"-"`
	Annotations map[string]string `json:"-"`
}

// Key is the pod's namespace and name.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// Workload names the pod's owner as people do: the Deployment, not its ReplicaSet.
func (p Pod) Workload() string { return p.Namespace + "/" + p.Owner }

// Node is what the local run shows of a node.
type Node struct {
	Name   string   `json:"name"`
	Ready  bool     `json:"ready"`
	Taints []string `json:"taints"`
}

// markPrefix is that of the labels by which functions mark what they touched.
const markPrefix = "riposte.dev/"

func newPod(object *unstructured.Unstructured) (Pod, error) {
	var pod corev1.Pod
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &pod); err != nil {
		return Pod{}, err
	}
	out := Pod{
		Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Node: pod.Spec.NodeName,
		Phase: string(pod.Status.Phase), Created: pod.CreationTimestamp.Time, Terminating: pod.DeletionTimestamp != nil,
		Labels: pod.Labels, Annotations: pod.Annotations, Marks: []string{},
	}
	if owner := metav1.GetControllerOf(&pod); owner != nil {
		out.Owner, out.OwnerKind = owner.Name, owner.Kind
		if hash := pod.Labels["pod-template-hash"]; owner.Kind == "ReplicaSet" && hash != "" {
			out.Owner, out.OwnerKind = strings.TrimSuffix(owner.Name, "-"+hash), "Deployment"
		}
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			out.Ready = condition.Status == corev1.ConditionTrue
		}
	}
	for _, status := range pod.Status.ContainerStatuses {
		if _, id, found := strings.Cut(status.ContainerID, "://"); found && out.ContainerID == "" {
			out.ContainerID = id
		}
	}
	for key, value := range pod.Labels {
		if name, ok := strings.CutPrefix(key, markPrefix); ok {
			out.Marks = append(out.Marks, mark(name, value))
		}
	}
	slices.Sort(out.Marks)
	return out, nil
}

// mark is a label in few words; isolated=UID says no more than isolated.
func mark(name, value string) string {
	if value == "" || value == "true" || len(value) > 20 {
		return name
	}
	return name + "=" + value
}

func newNode(object *unstructured.Unstructured) (Node, error) {
	var node corev1.Node
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &node); err != nil {
		return Node{}, err
	}
	out := Node{Name: node.Name, Taints: []string{}}
	for _, taint := range node.Spec.Taints {
		out.Taints = append(out.Taints, taint.ToString())
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			out.Ready = condition.Status == corev1.ConditionTrue
		}
	}
	return out, nil
}
