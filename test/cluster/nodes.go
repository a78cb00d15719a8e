package cluster

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// MaxNodes is how many worker nodes the address ranges have room for.
const MaxNodes = 200

// controlPlaneRole is the key of the label and the taint of a control-plane node.
const controlPlaneRole = "node-role.kubernetes.io/control-plane"

// createNodes registers the nodes, as their kubelets would.
func (c *Cluster) createNodes(ctx context.Context, options Options, version string) error {
	var nodes []*corev1.Node
	for i := range options.Nodes {
		nodes = append(nodes, newNode("fake-"+strconv.Itoa(i), i+1, version))
	}
	if options.ControlPlaneNode {
		node := newNode("control-plane-0", options.Nodes+1, version)
		node.Labels[controlPlaneRole] = ""
		node.Labels["node.kubernetes.io/exclude-from-external-load-balancers"] = ""
		node.Spec.Taints = []corev1.Taint{{Key: controlPlaneRole, Effect: corev1.TaintEffectNoSchedule}}
		nodes = append(nodes, node)
	}
	for _, node := range nodes {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(node)
		if err != nil {
			return fmt.Errorf("create node %s: %w", node.Name, err)
		}
		_, err = c.client.Resource(nodesResource).Create(ctx, &unstructured.Unstructured{Object: object}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("create node %s: %w", node.Name, err)
		}
	}
	return nil
}

// newNode describes a node; ordinal, from 1, makes its addresses.
func newNode(name string, ordinal int, version string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("16"),
		corev1.ResourceMemory:           resource.MustParse("64Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("200Gi"),
		corev1.ResourcePods:             resource.MustParse("110"),
	}
	zone := "local-" + string(rune('a'+(ordinal-1)%3))
	return &corev1.Node{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{nodeAnnotation: "fake", "node.alpha.kubernetes.io/ttl": "0"},
			Labels: map[string]string{
				corev1.LabelHostname:           name,
				corev1.LabelOSStable:           "linux",
				corev1.LabelArchStable:         "amd64",
				corev1.LabelInstanceTypeStable: "kwok",
				corev1.LabelTopologyRegion:     "local",
				corev1.LabelTopologyZone:       zone,
			},
		},
		Spec: corev1.NodeSpec{
			ProviderID: "kwok://" + zone + "/" + name,
			PodCIDR:    fmt.Sprintf("10.244.%d.0/24", ordinal),
			PodCIDRs:   []string{fmt.Sprintf("10.244.%d.0/24", ordinal)},
		},
		Status: corev1.NodeStatus{
			Capacity:    capacity,
			Allocatable: capacity,
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeHostName, Address: name},
				{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.89.0.%d", ordinal+10)},
				{Type: corev1.NodeExternalIP, Address: "127.0.0.1"}, // Where kwok serves logs.
			},
			NodeInfo: corev1.NodeSystemInfo{
				Architecture:            "amd64",
				OperatingSystem:         "linux",
				OSImage:                 "kwok",
				KernelVersion:           "kwok",
				KubeletVersion:          version,
				ContainerRuntimeVersion: "containerd://kwok",
			},
		},
	}
}
