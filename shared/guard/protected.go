package guard

import (
	"fmt"
	"path"
	"regexp"
	"slices"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/response"
)

// ProtectAnnotation set to "true" on a pod, one of its owners, its namespace or a node keeps every
// response away from it.
const ProtectAnnotation = "riposte.dev/protect"

// Protection refuses targets that no response may touch.
type Protection struct {
	Namespaces     config.List `env:"PROTECTED_NAMESPACES" help:"Namespaces protected beside the built-in ones; * matches any part of a name."`
	SkipDaemonSets bool        `env:"SKIP_DAEMONSETS" envDefault:"true" help:"Refuse pods of DaemonSets."`
	OwnNamespace   string      `env:"POD_NAMESPACE" help:"The function's own namespace, always protected; unset means that of its ServiceAccount."`
}

// alwaysProtected are the namespaces that keep a cluster, its alerts and its functions alive.
func alwaysProtected() []string {
	return []string{"kube-system", "kube-public", "kube-node-lease", "falco", "riposte", "knative-*", "openfaas*"}
}

// Validate refuses patterns that could never match.
func (p Protection) Validate() error {
	if len(p.Namespaces) == 0 {
		return nil // and nothing is compiled at start
	}
	// A namespace's name, or a pattern of some: nothing else could ever match one.
	namespacePattern := regexp.MustCompile(`^[]a-z0-9*?[-]{1,63}$`)
	for _, pattern := range p.Namespaces {
		if _, err := path.Match(pattern, ""); err != nil || !namespacePattern.MatchString(pattern) {
			return fmt.Errorf("PROTECTED_NAMESPACES has %q: want names of namespaces, separated by commas, in which * matches any part", pattern)
		}
	}
	return nil
}

// Subject is what Protection has to know of a target.
type Subject struct {
	// Namespace is empty for cluster-scoped targets without a pod.
	Namespace string
	// Annotated names the object that carries ProtectAnnotation, such as "Deployment web"; empty if none does.
	Annotated string
	StaticPod bool
	DaemonSet bool
	// ControlPlaneNode is a target that is itself a node of the control plane.
	ControlPlaneNode bool
}

// Check is nil where a response may go ahead.
func (p Protection) Check(s Subject) *response.Outcome {
	switch {
	case p.namespace(s.Namespace):
		return refuse(response.ProtectedNamespace, "namespace %s is protected", s.Namespace)
	case s.ControlPlaneNode:
		return refuse(response.ControlPlaneNode, "the node runs the control plane")
	case s.StaticPod:
		return refuse(response.StaticPod, "the pod is static: its kubelet manages it, not the API server")
	case s.DaemonSet && p.SkipDaemonSets:
		return refuse(response.DaemonSetPod, "the pod belongs to a DaemonSet and SKIP_DAEMONSETS is true")
	case s.Annotated != "":
		return refuse(response.ProtectedAnnotation, "%s is annotated %s: \"true\"", s.Annotated, ProtectAnnotation)
	}
	return nil
}

func (p Protection) namespace(name string) bool {
	if name == "" {
		return false
	}
	patterns := slices.Concat(alwaysProtected(), []string{p.OwnNamespace}, p.Namespaces)
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}
