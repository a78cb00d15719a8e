package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/kube/api"
)

// events is where the events of a namespace are listed.
const events kube.Resource = "api/v1/events"

// The bounds of a list of events. The API server keeps events for an hour and counts repeats.
const (
	maxEvents     = 500
	maxEventBytes = 4 << 20
)

// pod is the manifest as the API server has it now. If that is gone, or another's, it is as it was when it was verified.
func (c *collector) pod(ctx context.Context) (any, error) {
	verified := c.found.Pod
	raw, err := c.read(ctx, kube.Pods, verified.Namespace, verified.Name, verified.UID)
	if err != nil {
		return c.found.Manifest, fmt.Errorf("what is stored was read when the pod was verified: %w", err)
	}
	return raw, nil
}

// owners is the chain of controllers, the pod's own first.
func (c *collector) owners(ctx context.Context) (any, error) {
	chain, next := []any{}, metav1.GetControllerOf(c.found.Pod)
	var errs []error
	for i := range c.found.Owners {
		owner := &c.found.Owners[i]
		raw, err := c.read(ctx, owner.Resource(), c.found.Pod.Namespace, owner.Name, owner.UID)
		if err != nil {
			errs = append(errs, err)
			chain = append(chain, owner)
		} else {
			chain = append(chain, raw)
		}
		next = metav1.GetControllerOf(&owner.ObjectMeta)
	}
	if next != nil {
		errs = append(errs, fmt.Errorf("%s %s is not there, or of a kind that is not read", next.Kind, next.Name))
	}
	return chain, errors.Join(errs...)
}

// read is an object as the API server has it, if it is still the one with this UID.
func (c *collector) read(ctx context.Context, r kube.Resource, namespace, name string, uid types.UID) (any, error) {
	var raw json.RawMessage
	if err := c.client.Get(ctx, r, namespace, name, &raw); err != nil {
		return nil, err
	}
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if object.UID != uid {
		return nil, fmt.Errorf("another object has the name %s", name)
	}
	return raw, nil
}

// events are the events about the pod, by its UID.
func (c *collector) events(ctx context.Context) (any, error) {
	body, err := c.client.Stream(ctx, events, c.found.Pod.Namespace, "", "", url.Values{
		"fieldSelector": {"involvedObject.uid=" + string(c.found.Pod.UID)}, "limit": {strconv.Itoa(maxEvents)},
	})
	if err != nil {
		return nil, err
	}
	defer body.Close() //nolint:errcheck // It was read, or an error says why not.
	raw, err := io.ReadAll(io.LimitReader(body, maxEventBytes+1))
	if err != nil {
		return nil, err
	}
	var list metav1.PartialObjectMetadataList
	switch {
	case len(raw) > maxEventBytes:
		return nil, fmt.Errorf("they have more than %d bytes", maxEventBytes)
	case json.Unmarshal(raw, &list) != nil || list.Kind != "EventList":
		return nil, errors.New("the answer is no list of events")
	case list.Continue != "":
		return json.RawMessage(raw), fmt.Errorf("there are more than %d", maxEvents)
	}
	return json.RawMessage(raw), nil
}

// nodeFacts say which machine it was.
type nodeFacts struct {
	Name       string            `json:"name"`
	UID        types.UID         `json:"uid"`
	Created    metav1.Time       `json:"created"`
	ProviderID string            `json:"providerID,omitempty"`
	Labels     map[string]string `json:"labels"`
	Addresses  json.RawMessage   `json:"addresses"`
	NodeInfo   json.RawMessage   `json:"nodeInfo"`
}

func (c *collector) node(ctx context.Context) (any, error) {
	if c.found.Pod.Spec.NodeName == "" {
		return nil, nil //nolint:nilnil // A pod that was not scheduled has none.
	}
	var n api.Node
	if err := c.client.Get(ctx, kube.Nodes, "", c.found.Pod.Spec.NodeName, &n); err != nil {
		return nil, err
	}
	return nodeFacts{n.Name, n.UID, n.CreationTimestamp, n.Spec.ProviderID, n.Labels, n.Status.Addresses, n.Status.NodeInfo}, nil
}
