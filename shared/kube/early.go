package kube

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/falco"
)

// early is what is read at the same time as the pod, because the alert lets expect that it will be needed: a reading that waits
// for the one before costs as much time again. It is a matter of speed alone. What the pod says of its owners and of its node
// decides what is looked at; what was read early and is not that goes unseen, and what could not be read early is read then.
type early struct {
	owners map[string]func() (Owner, error)
	nodes  map[string]func() (corev1.Node, error)
}

// readEarly begins to read. It ends with ctx.
func (p *PodFinder) readEarly(ctx context.Context, alert falco.Alert, ref falco.PodRef) early {
	e := early{owners: map[string]func() (Owner, error){}, nodes: map[string]func() (corev1.Node, error){}}
	for resource, name := range likelyOwners(ref.Name) {
		e.owners[resource.path(ref.Namespace, name)] = begin(func(into *Owner) error { return p.client.Get(ctx, resource, ref.Namespace, name, into) })
	}
	// Falco's chart can set the name of the node as the hostname.
	if node := alert.Hostname; p.level == LevelNode && node != "" && len(validation.IsDNS1123Subdomain(node)) == 0 {
		e.nodes[node] = begin(func(into *corev1.Node) error { return p.client.Get(ctx, Nodes, "", node, into) })
	}
	return e
}

// begin calls get and does not wait for it; wait does.
func begin[T any](get func(into *T) error) (wait func() (T, error)) {
	var value T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = get(&value)
	}()
	return func() (T, error) {
		<-done
		return value, err
	}
}

// owner reads a controller, if it was not read early.
func (p *PodFinder) owner(ctx context.Context, e early, resource Resource, namespace, name string) (Owner, error) {
	if wait, ok := e.owners[resource.path(namespace, name)]; ok {
		if owner, err := wait(); err == nil {
			return owner, nil
		}
	}
	var owner Owner
	err := p.client.Get(ctx, resource, namespace, name, &owner)
	return owner, err
}

// node reads a node, if it was not read early.
func (p *PodFinder) node(ctx context.Context, e early, name string) (*corev1.Node, error) {
	if wait, ok := e.nodes[name]; ok {
		if node, err := wait(); err == nil {
			return &node, nil
		}
	}
	node := &corev1.Node{}
	err := p.client.Get(ctx, Nodes, "", name, node)
	return node, err
}

// generated are the letters that Kubernetes makes names of: k8s.io/apimachinery/pkg/util/rand.
const generated = "bcdfghjklmnpqrstvwxz2456789"

// likelyOwners are the controllers that a pod of this name would have by the way in which Kubernetes' own name their pods:
// NAME-HASH-xxxxx of the ReplicaSet NAME-HASH of the Deployment NAME, and NAME-0 of the StatefulSet NAME.
func likelyOwners(pod string) map[Resource]string {
	owner, suffix := cutLast(pod)
	if owner == "" {
		return nil
	}
	if strings.Trim(suffix, "0123456789") == "" {
		return map[Resource]string{StatefulSets: owner}
	}
	const suffixLength, leastHash, mostHash = 5, 6, 10
	deployment, hash := cutLast(owner)
	if deployment == "" || len(suffix) != suffixLength || len(hash) < leastHash || len(hash) > mostHash || strings.Trim(suffix+hash, generated) != "" {
		return nil
	}
	return map[Resource]string{ReplicaSets: owner, Deployments: deployment}
}

func cutLast(name string) (before, after string) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}
