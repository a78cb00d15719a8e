package api

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod is a pod.
type Pod struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              PodSpec   `json:"spec"`
	Status            PodStatus `json:"status"`
}

// PodSpec is how a pod is to run.
type PodSpec struct {
	NodeName           string      `json:"nodeName"`
	ServiceAccountName string      `json:"serviceAccountName"`
	HostNetwork        bool        `json:"hostNetwork"`
	InitContainers     []Container `json:"initContainers"`
	Containers         []Container `json:"containers"`
}

// Container is a container as it is wanted.
type Container struct {
	Image string `json:"image"`
}

// PodStatus is how a pod runs.
type PodStatus struct {
	Conditions                 []PodCondition    `json:"conditions"`
	InitContainerStatuses      []ContainerStatus `json:"initContainerStatuses"`
	ContainerStatuses          []ContainerStatus `json:"containerStatuses"`
	EphemeralContainerStatuses []ContainerStatus `json:"ephemeralContainerStatuses"`
}

// PodCondition is one of the things that are true of a pod, or not.
type PodCondition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

// The type of the condition of a pod that takes traffic, and the status of what is so.
const (
	PodReady      = "Ready"
	ConditionTrue = "True"
)

// ContainerStatus is how a container runs.
type ContainerStatus struct {
	Name                 string         `json:"name"`
	Image                string         `json:"image"`
	ImageID              string         `json:"imageID"`
	ContainerID          string         `json:"containerID"`
	RestartCount         int32          `json:"restartCount"`
	State                ContainerState `json:"state"`
	LastTerminationState ContainerState `json:"lastState"`
}

// ContainerState is one of three.
type ContainerState struct {
	Waiting    *ContainerStateWaiting    `json:"waiting,omitempty"`
	Running    *ContainerStateRunning    `json:"running,omitempty"`
	Terminated *ContainerStateTerminated `json:"terminated,omitempty"`
}

// ContainerStateWaiting is that of a container that does not run yet.
type ContainerStateWaiting struct {
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
}

// ContainerStateRunning is that of a container that runs.
type ContainerStateRunning struct {
	StartedAt metav1.Time `json:"startedAt"`
}

// ContainerStateTerminated is that of a container that has ended.
type ContainerStateTerminated struct {
	ExitCode    int32       `json:"exitCode"`
	Signal      int32       `json:"signal,omitempty"`
	Reason      string      `json:"reason,omitempty"`
	Message     string      `json:"message,omitempty"`
	StartedAt   metav1.Time `json:"startedAt"`
	FinishedAt  metav1.Time `json:"finishedAt"`
	ContainerID string      `json:"containerID,omitempty"`
}

// MirrorPodAnnotationKey marks the mirror of a static pod.
const MirrorPodAnnotationKey = "kubernetes.io/config.mirror"

// Namespace is a namespace: its metadata.
type Namespace = metav1.PartialObjectMetadata

// LabelMetadataName is the label of a namespace that holds its name.
const LabelMetadataName = "kubernetes.io/metadata.name"

// NamespaceTerminatingCause is why nothing is made any more in a namespace that is on its way out.
const NamespaceTerminatingCause metav1.CauseType = "NamespaceTerminating"

// Node is a node. What is known of the machine is as the API server sent it.
type Node struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              NodeSpec   `json:"spec"`
	Status            NodeStatus `json:"status"`
}

// NodeSpec is what is wanted of a node.
type NodeSpec struct {
	ProviderID string  `json:"providerID"`
	Taints     []Taint `json:"taints"`
}

// NodeStatus is what is known of a node.
type NodeStatus struct {
	Addresses json.RawMessage `json:"addresses"`
	NodeInfo  json.RawMessage `json:"nodeInfo"`
}

// Taint keeps pods off a node.
// https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
type Taint struct {
	Key       string       `json:"key"`
	Value     string       `json:"value,omitempty"`
	Effect    string       `json:"effect"`
	TimeAdded *metav1.Time `json:"timeAdded,omitempty"`
}

// The effects of taints.
const (
	TaintEffectNoSchedule       = "NoSchedule"
	TaintEffectPreferNoSchedule = "PreferNoSchedule"
	TaintEffectNoExecute        = "NoExecute"
)

// MatchTaint says whether two taints cannot be on one node: the value does not count.
func (t Taint) MatchTaint(other Taint) bool { return t.Key == other.Key && t.Effect == other.Effect }

// String is the taint as kubectl writes it.
func (t Taint) String() string {
	if t.Value == "" {
		return t.Key + ":" + t.Effect
	}
	return t.Key + "=" + t.Value + ":" + t.Effect
}

// Service is a Service, as far as it selects pods.
type Service struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              ServiceSpec `json:"spec"`
}

// ServiceSpec is which pods a Service sends traffic to.
type ServiceSpec struct {
	Selector map[string]string `json:"selector"`
}

// ServiceList is a list of Services.
type ServiceList struct {
	Items []Service `json:"items"`
}

// ObjectReference names an object.
type ObjectReference struct {
	Kind       string    `json:"kind,omitempty"`
	Namespace  string    `json:"namespace,omitempty"`
	Name       string    `json:"name,omitempty"`
	UID        types.UID `json:"uid,omitempty"`
	APIVersion string    `json:"apiVersion,omitempty"`
}
