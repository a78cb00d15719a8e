// Package target finds the pod an alert is about, proves that it is that pod and not a later one of the same name, and refuses
// what is protected. A function that acts on Kubernetes embeds a PodFinder, and there is no way to a target around it.
package target

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/singleflight"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
	"github.com/riposte-dev/riposte/shared/response"
)

// PodFinder finds the pod an alert is about, proves that it is that pod and not a later one of
// the same name, and refuses what is protected. A function on Kubernetes embeds it and so
// becomes a response.Targeter: there is no way to a target that goes around it.
type PodFinder struct {
	*Announcer

	client     *kube.Client
	protection guard.Protection
	level      Level
	readings   singleflight.Group
}

// NewPodFinder makes a finder whose targets are the objects of level.
func NewPodFinder(c *kube.Client, s kube.Settings, level Level) *PodFinder {
	if s.OwnNamespace == "" {
		// Kubernetes mounts it beside the ServiceAccount's token; elsewhere there is no own namespace.
		if b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
			s.OwnNamespace = strings.TrimSpace(string(b))
		}
	}
	return &PodFinder{Announcer: NewAnnouncer(c), client: c, protection: s.Protection, level: level}
}

// Protected looks again at whether a response may touch what was found: after a conflict, because somebody has
// just changed it.
func (p *PodFinder) Protected(found *Found) *response.Outcome {
	return p.protection.Check(found.protection())
}

// Target implements response.Targeter: docs/which-pod.md explains each step.
func (p *PodFinder) Target(ctx context.Context, alert falco.Alert) (response.Target, *response.Outcome, error) {
	ref := alert.Pod()
	claimed := response.Target{Kind: "Pod", Resource: kube.Pods.Plural(), Namespace: ref.Namespace, Name: ref.Name}
	if o := plausible(ref); o != nil {
		return response.Target{}, o, nil
	}
	if o := p.protection.Check(guard.Subject{Namespace: ref.Namespace}); o != nil {
		return claimed, o, nil
	}
	reading, done := context.WithCancel(ctx)
	defer done()
	early := p.readEarly(reading, alert, ref)
	found, err := p.read(ctx, early, ref)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return claimed, skip(response.Gone, "pod %s/%s does not exist any more", ref.Namespace, ref.Name), nil
		}
		return claimed, nil, err
	}
	if o := sameIncarnation(found.Pod, ref, alert); o != nil {
		return claimed, o, nil
	}
	if found.Owners, err = p.owners(ctx, early, found.Pod); err != nil {
		return claimed, nil, err
	}
	if o, err := p.around(ctx, early, found); o != nil || err != nil {
		return claimed, o, err
	}
	target := found.target(p.level)
	return target, p.Protected(found), nil
}

// plausible declines what cannot be a pod, or could not be told from another pod, before any request.
func plausible(ref falco.PodRef) *response.Outcome {
	switch {
	case ref.Namespace == "" || ref.Name == "":
		return skip(response.NoTarget, "the alert names no pod")
	case len(validation.IsDNS1123Label(ref.Namespace)) > 0:
		return skip(response.InvalidTarget, "%.80q is no namespace name", ref.Namespace)
	case len(validation.IsDNS1123Subdomain(ref.Name)) > 0:
		return skip(response.InvalidTarget, "%.80q is no pod name", ref.Name)
	case len(ref.UIDs) == 0 && len(ref.ContainerIDs) == 0:
		return skip(response.Unverified, "the alert has neither k8s.pod.uid nor container.id, so pods of the same name cannot be told apart")
	}
	return nil
}

// read gets the pod and its namespace.
func (p *PodFinder) read(ctx context.Context, e early, ref falco.PodRef) (*Found, error) {
	found := &Found{Pod: &api.Pod{}}
	if err := p.client.Get(ctx, kube.Pods, ref.Namespace, ref.Name, &found.Manifest); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(found.Manifest, found.Pod); err != nil {
		return nil, fmt.Errorf("read pod %s/%s: %w", ref.Namespace, ref.Name, err)
	}
	namespace, err := read(ctx, p, e.namespace, kube.Namespaces, "", ref.Namespace)
	found.Namespace = &namespace
	return found, err
}

// sameIncarnation declines a pod that has the name but is not the one that raised the alert.
func sameIncarnation(pod *api.Pod, ref falco.PodRef, alert falco.Alert) *response.Outcome {
	for _, uid := range ref.UIDs {
		// Falco sees a static pod's UID as its kubelet made it; the API server keeps that one in an annotation.
		if uid != string(pod.UID) && uid != pod.Annotations["kubernetes.io/config.hash"] {
			// The answer goes to whoever asked: it must not tell the UID that would have been right.
			return skip(response.Replaced, "the pod has another UID than the alert's, %.80q", uid)
		}
	}
	if len(ref.UIDs) == 0 {
		ids := containerIDs(pod)
		for _, id := range ref.ContainerIDs {
			if !slices.ContainsFunc(ids, func(known string) bool { return strings.HasPrefix(known, id) }) {
				return skip(response.Replaced, "no container of the pod has the ID %s", id)
			}
		}
	}
	// The API server cuts creation times to seconds, so a pod created in the alert's own second passes.
	if pod.CreationTimestamp.After(alert.Time) {
		return skip(response.Replaced, "the pod was created at %s, after the alert of %s",
			pod.CreationTimestamp.UTC().Format("2006-01-02T15:04:05Z"), alert.Time.Format("2006-01-02T15:04:05.000Z"))
	}
	return nil
}

// containerIDs are the IDs of every container the pod has or lately had, without the runtime's scheme.
func containerIDs(pod *api.Pod) []string {
	var ids []string
	add := func(id string) {
		if _, bare, ok := strings.Cut(id, "://"); ok && bare != "" {
			ids = append(ids, bare)
		}
	}
	for _, list := range [][]api.ContainerStatus{
		pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for _, s := range list {
			add(s.ContainerID)
			for _, state := range []api.ContainerState{s.State, s.LastTerminationState} {
				if state.Terminated != nil {
					add(state.Terminated.ContainerID)
				}
			}
		}
	}
	return ids
}

// ownerResource is where a controller is read; kinds beyond these are not looked at.
func ownerResource(ref *metav1.OwnerReference) (kube.Resource, bool) {
	r, ok := map[string]kube.Resource{
		"apps/v1/Deployment": kube.Deployments, "apps/v1/ReplicaSet": kube.ReplicaSets, "apps/v1/StatefulSet": kube.StatefulSets,
		"apps/v1/DaemonSet": kube.DaemonSets, "batch/v1/Job": kube.Jobs, "batch/v1/CronJob": kube.CronJobs,
	}[ref.APIVersion+"/"+ref.Kind]
	return r, ok
}

// owners follows the controllers from the pod upwards.
func (p *PodFinder) owners(ctx context.Context, e early, pod *api.Pod) ([]Owner, error) {
	const highest = 4 // pod, Job, CronJob: no built-in chain is longer
	var owners []Owner
	ref := metav1.GetControllerOf(pod)
	for ref != nil && len(owners) < highest {
		resource, ok := ownerResource(ref)
		if !ok {
			break
		}
		owner, err := e.owner(ctx, resource, pod.Namespace, ref.Name)
		if apierrors.IsNotFound(err) || (err == nil && owner.UID != ref.UID) {
			break // the owner is gone; its pods are being collected
		}
		if err != nil {
			return nil, err
		}
		owner.Kind, owner.APIVersion, owner.resource = ref.Kind, ref.APIVersion, resource
		owners = append(owners, owner)
		ref = metav1.GetControllerOf(&owner.ObjectMeta)
	}
	return owners, nil
}

// around reads or demands what the level needs beside the pod.
func (p *PodFinder) around(ctx context.Context, e early, found *Found) (*response.Outcome, error) {
	switch p.level {
	case LevelNode:
		name := found.Pod.Spec.NodeName
		if name == "" {
			return skip(response.NotScheduled, "the pod has no node"), nil
		}
		node, err := e.node(ctx, name)
		if apierrors.IsNotFound(err) {
			return skip(response.Gone, "node %s does not exist any more", name), nil
		}
		if err != nil {
			return nil, err
		}
		found.Node = node
	case LevelOwner:
		if found.Top() == nil {
			return skip(response.NoOwner, "the pod has no controller that can be acted on"), nil
		}
	case LevelPod, LevelNamespace:
	default:
		return nil, response.PermanentError(fmt.Errorf("level is %q: want pod, node, namespace or owner", p.level))
	}
	return nil, nil //nolint:nilnil // Nothing declined, nothing wrong.
}

// Resource is the resource of the finder's level, for a change to the target.
func (p *PodFinder) Resource(found *Found) kube.Resource {
	switch p.level {
	case LevelNode:
		return kube.Nodes
	case LevelNamespace:
		return kube.Namespaces
	case LevelOwner:
		return found.Top().resource
	case LevelPod:
	}
	return kube.Pods
}

func skip(r response.Reason, format string, args ...any) *response.Outcome {
	o := response.Skip(r, format, args...)
	return &o
}
