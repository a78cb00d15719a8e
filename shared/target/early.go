package target

import (
	"context"
	"errors"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
)

// early is what is read at the same time as the pod, because the alert lets expect that it will be needed: a reading that waits
// for the one before costs as much time again. It is a matter of speed alone. What the pod says of its owners and of its node
// decides what is looked at, and what was read early and is not that goes unseen.
//
// Alerts that come at once, about the pods of one workload, share a reading that is under way.
type early struct {
	finder    *PodFinder
	namespace func() (api.Namespace, error)
	owners    map[string]func() (Owner, error)
	nodes     map[string]func() (api.Node, error)
}

// readEarly begins to read. It ends with ctx.
func (p *PodFinder) readEarly(ctx context.Context, alert falco.Alert, ref falco.PodRef) early {
	e := early{
		finder: p, owners: map[string]func() (Owner, error){}, nodes: map[string]func() (api.Node, error){},
		namespace: begin[api.Namespace](ctx, p, kube.Namespaces, "", ref.Namespace),
	}
	for resource, name := range likelyOwners(ref.Name) {
		e.owners[resource.Path(ref.Namespace, name)] = begin[Owner](ctx, p, resource, ref.Namespace, name)
	}
	// Falco's chart can set the name of the node as the hostname.
	if node := alert.Hostname; p.level == LevelNode && node != "" && len(validation.IsDNS1123Subdomain(node)) == 0 {
		e.nodes[node] = begin[api.Node](ctx, p, kube.Nodes, "", node)
	}
	return e
}

// begin reads an object and does not wait for it; wait does. What is read is not to be changed: others may have it too.
func begin[T any](ctx context.Context, p *PodFinder, r kube.Resource, namespace, name string) (wait func() (T, error)) {
	result := p.readings.DoChan(r.Path(namespace, name), func() (any, error) {
		var object T
		err := p.client.Get(ctx, r, namespace, name, &object)
		return object, err
	})
	return sync.OnceValues(func() (T, error) {
		read := <-result
		object, _ := read.Val.(T)
		return object, read.Err
	})
}

// read waits for what was begun, or reads it now if it was not.
func read[T any](ctx context.Context, p *PodFinder, wait func() (T, error), r kube.Resource, namespace, name string) (T, error) {
	if wait != nil {
		object, err := wait()
		theirs := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) // Somebody else may have begun it.
		if !theirs || ctx.Err() != nil {
			return object, err
		}
	}
	var object T
	err := p.client.Get(ctx, r, namespace, name, &object)
	return object, err
}

// owner is a controller.
func (e early) owner(ctx context.Context, r kube.Resource, namespace, name string) (Owner, error) {
	return read(ctx, e.finder, e.owners[r.Path(namespace, name)], r, namespace, name)
}

// node is a node.
func (e early) node(ctx context.Context, name string) (*api.Node, error) {
	node, err := read(ctx, e.finder, e.nodes[name], kube.Nodes, "", name)
	return &node, err
}

// generated are the letters that Kubernetes makes names of: k8s.io/apimachinery/pkg/util/rand.
const generated = "bcdfghjklmnpqrstvwxz2456789"

// likelyOwners are the controllers that a pod of this name would have by the way in which Kubernetes' own name their pods:
// NAME-HASH-xxxxx of the ReplicaSet NAME-HASH of the Deployment NAME, and NAME-0 of the StatefulSet NAME.
func likelyOwners(pod string) map[kube.Resource]string {
	owner, suffix := cutLast(pod)
	if owner == "" {
		return nil
	}
	if strings.Trim(suffix, "0123456789") == "" {
		return map[kube.Resource]string{kube.StatefulSets: owner}
	}
	const suffixLength, leastHash, mostHash = 5, 6, 10
	deployment, hash := cutLast(owner)
	if deployment == "" || len(suffix) != suffixLength || len(hash) < leastHash || len(hash) > mostHash || strings.Trim(suffix+hash, generated) != "" {
		return nil
	}
	return map[kube.Resource]string{kube.ReplicaSets: owner, kube.Deployments: deployment}
}

func cutLast(name string) (before, after string) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}
