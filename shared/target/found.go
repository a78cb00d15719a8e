package target

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

// Level is which object around the pod is acted on.
type Level string

// The levels.
const (
	LevelPod       Level = "pod"
	LevelNode      Level = "node"
	LevelNamespace Level = "namespace"
	// LevelOwner is the topmost controller: the Deployment, not its ReplicaSet.
	LevelOwner Level = "owner"
)

// Found is the verified pod with what stands around it.
type Found struct {
	Pod       *api.Pod
	Namespace *api.Namespace
	// Owners are the controllers, the pod's own first.
	Owners []Owner
	// Node is set at LevelNode only.
	Node *api.Node
	// Manifest is the whole pod, as the API server sent it.
	Manifest json.RawMessage
}

// Owner is a controller of pods: the fields the kinds have in common.
type Owner struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Replicas *int32                `json:"replicas"`
		Selector *metav1.LabelSelector `json:"selector"`
	} `json:"spec"`
	Status struct {
		ReadyReplicas int32 `json:"readyReplicas"`
	} `json:"status"`

	resource kube.Resource
}

// FoundFrom is the verified pod in Respond's context.
func FoundFrom(ctx context.Context) *Found {
	f, _ := response.TargetFrom(ctx).Object.(*Found)
	return f
}

// Top is the topmost owner, or nil.
func (f *Found) Top() *Owner {
	if len(f.Owners) == 0 {
		return nil
	}
	return &f.Owners[len(f.Owners)-1]
}

// OwnedBy says whether the pod's own controller is of this kind.
func (f *Found) OwnedBy(kind string) bool {
	controller := metav1.GetControllerOf(f.Pod)
	return controller != nil && controller.Kind == kind
}

// Labels are the labels of the object of a level.
func (f *Found) Labels(level Level) map[string]string {
	switch top := f.Top(); {
	case level == LevelNode && f.Node != nil:
		return f.Node.Labels
	case level == LevelNamespace:
		return f.Namespace.Labels
	case level == LevelOwner && top != nil:
		return top.Labels
	}
	return f.Pod.Labels
}

// target is the object of a level as a response.Target.
func (f *Found) target(level Level) response.Target {
	t := response.Target{Facts: f.facts(), Object: f}
	switch top := f.Top(); {
	case level == LevelNode && f.Node != nil:
		t.Kind, t.Resource, t.Name, t.UID = "Node", kube.Nodes.Plural(), f.Node.Name, string(f.Node.UID)
	case level == LevelNamespace:
		t.Kind, t.Resource, t.Name, t.UID = "Namespace", kube.Namespaces.Plural(), f.Namespace.Name, string(f.Namespace.UID)
	case level == LevelOwner && top != nil:
		t.Kind, t.Resource, t.Namespace, t.Name, t.UID = top.Kind, top.resource.Plural(), f.Pod.Namespace, top.Name, string(top.UID)
	default:
		t.Kind, t.Resource, t.Namespace, t.Name, t.UID = "Pod", kube.Pods.Plural(), f.Pod.Namespace, f.Pod.Name, string(f.Pod.UID)
	}
	if top := f.Top(); top != nil && t.Kind == "Pod" {
		t.Workload = response.Workload{
			Key: strings.Join([]string{top.Kind, f.Pod.Namespace, top.Name}, "/"), Ready: int(top.Status.ReadyReplicas),
		}
	}
	t.Facts["kind"], t.Facts["name"], t.Facts["uid"] = t.Kind, t.Name, t.UID
	return t
}

// facts is what WHEN can test.
func (f *Found) facts() map[string]any {
	var images []string
	for _, list := range [][]api.Container{f.Pod.Spec.InitContainers, f.Pod.Spec.Containers} {
		for _, c := range list {
			images = append(images, c.Image)
		}
	}
	owner := map[string]any{"kind": "", "name": ""}
	if top := f.Top(); top != nil {
		owner["kind"], owner["name"] = top.Kind, top.Name
	}
	return map[string]any{
		"namespace": f.Pod.Namespace, "labels": orEmpty(f.Pod.Labels), "annotations": orEmpty(f.Pod.Annotations),
		"namespaceLabels": orEmpty(f.Namespace.Labels), "images": images, "node": f.Pod.Spec.NodeName,
		"serviceAccount": f.Pod.Spec.ServiceAccountName, "owner": owner,
	}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// protection is what guard.Protection has to know.
func (f *Found) protection() guard.Subject {
	s := guard.Subject{Namespace: f.Pod.Namespace, StaticPod: isStatic(f.Pod), DaemonSet: f.OwnedBy("DaemonSet")}
	type object struct {
		what        string
		annotations map[string]string
	}
	objects := []object{{"Pod " + f.Pod.Name, f.Pod.Annotations}, {"Namespace " + f.Namespace.Name, f.Namespace.Annotations}}
	for _, o := range f.Owners {
		objects = append(objects, object{o.Kind + " " + o.Name, o.Annotations})
	}
	if f.Node != nil {
		objects = append(objects, object{"Node " + f.Node.Name, f.Node.Annotations})
		s.ControlPlaneNode = isControlPlane(f.Node)
	}
	if i := slices.IndexFunc(objects, func(o object) bool { return o.annotations[guard.ProtectAnnotation] == "true" }); i >= 0 {
		s.Annotated = objects[i].what
	}
	return s
}

// isStatic recognises the mirror of a static pod.
// https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
func isStatic(p *api.Pod) bool {
	_, mirror := p.Annotations[api.MirrorPodAnnotationKey]
	controller := metav1.GetControllerOf(p)
	return mirror || (controller != nil && controller.Kind == "Node")
}

// isControlPlane goes by the labels kubeadm and its kin set.
// https://kubernetes.io/docs/reference/labels-annotations-taints/#node-role-kubernetes-io-control-plane
func isControlPlane(n *api.Node) bool {
	for _, key := range []string{"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"} {
		if _, ok := n.Labels[key]; ok {
			return true
		}
		if slices.ContainsFunc(n.Spec.Taints, func(t api.Taint) bool { return t.Key == key }) {
			return true
		}
	}
	return false
}

// Resource is where objects of the owner's kind are read.
func (o Owner) Resource() kube.Resource { return o.resource }
