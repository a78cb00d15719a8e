package target

import (
	"context"
	"os"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

// Watchman says of objects that no alert led to whether they may be touched.
type Watchman struct {
	client     *kube.Client
	protection guard.Protection
}

// NewWatchman makes a watchman. Whether a pod is of a DaemonSet does not matter to it.
func NewWatchman(c *kube.Client, s kube.Settings) *Watchman {
	s.SkipDaemonSets = false
	if s.OwnNamespace == "" {
		// Kubernetes mounts it beside the ServiceAccount's token; elsewhere there is no own namespace.
		if b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
			s.OwnNamespace = strings.TrimSpace(string(b))
		}
	}
	return &Watchman{client: c, protection: s.Protection}
}

// Check is nil where the object may be touched. It reads the object's namespace.
func (w *Watchman) Check(ctx context.Context, r kube.Resource, object metav1.ObjectMeta, taints []api.Taint) (*response.Outcome, error) {
	s := guard.Subject{Namespace: object.Namespace}
	annotated := func(kind string, m metav1.ObjectMeta) {
		if m.Annotations[guard.ProtectAnnotation] == "true" {
			s.Annotated = kind + " " + m.Name
		}
	}
	annotated(strings.TrimSuffix(r.Plural(), "s"), object)
	switch r {
	case kube.Pods:
		s.StaticPod = isStatic(&api.Pod{ObjectMeta: object})
	case kube.Nodes:
		s.ControlPlaneNode = isControlPlane(&api.Node{ObjectMeta: object, Spec: api.NodeSpec{Taints: taints}})
	case kube.Namespaces:
		s.Namespace = object.Name
	default: // What is around it says all.
	}
	if o := w.protection.Check(s); o != nil || object.Namespace == "" {
		return o, nil
	}
	var namespace metav1.PartialObjectMetadata
	if err := w.client.Get(ctx, kube.Namespaces, "", object.Namespace, &namespace); err != nil {
		return nil, err
	}
	annotated("namespace", namespace.ObjectMeta)
	return w.protection.Check(s), nil
}
