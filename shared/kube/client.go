// Package kube is how a function reaches the Kubernetes API: a small client that can be told to change nothing, the Leases that
// records are kept in, and the meaning of the API server's errors. What an alert is about is found by shared/target.
//
// The client is a REST client, not a generated clientset: the clientset links every API
// group and triples a function's binary and start-up. The types of core/v1 alone cost three megabytes, so a function that
// only keeps its claims here does not link them.
package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/telemetry"
)

// Settings are the settings of every function that acts on Kubernetes.
type Settings struct {
	Kubeconfig string `env:"KUBECONFIG" help:"Path of a kubeconfig; unset means the ServiceAccount of the pod."`
	Cluster    string `env:"KUBE_CLUSTER" help:"An EKS cluster instead of a kubeconfig: eks:NAME, or eks: and its ARN; the function's AWS role is who it is there."`
	guard.Protection
}

// Resource is the path of a kind in the API, without its namespace.
type Resource string

// The resources functions deal with.
const (
	Pods            Resource = "api/v1/pods"
	Nodes           Resource = "api/v1/nodes"
	Namespaces      Resource = "api/v1/namespaces"
	Services        Resource = "api/v1/services"
	Deployments     Resource = "apis/apps/v1/deployments"
	ReplicaSets     Resource = "apis/apps/v1/replicasets"
	StatefulSets    Resource = "apis/apps/v1/statefulsets"
	DaemonSets      Resource = "apis/apps/v1/daemonsets"
	Jobs            Resource = "apis/batch/v1/jobs"
	CronJobs        Resource = "apis/batch/v1/cronjobs"
	NetworkPolicies Resource = "apis/networking.k8s.io/v1/networkpolicies"
	// Events are what "kubectl describe" shows at the end.
	Events Resource = "apis/events.k8s.io/v1/events"
)

// Plural is the resource's name in a path: pods.
func (r Resource) Plural() string { return string(r[strings.LastIndexByte(string(r), '/')+1:]) }

// APIVersion is what an object of the resource says of itself: v1, apps/v1.
func (r Resource) APIVersion() string {
	group := string(r[:strings.LastIndexByte(string(r), '/')])
	return group[strings.IndexByte(group, '/')+1:]
}

// Path is the path of a collection, or of one object.
func (r Resource) Path(namespace, name string) string {
	group := string(r[:strings.LastIndexByte(string(r), '/')])
	p := "/" + group
	if namespace != "" {
		p += "/namespaces/" + namespace
	}
	p += "/" + r.Plural()
	if name != "" {
		p += "/" + name
	}
	return p
}

// Client reads and writes objects. Its errors are classified: response.KindOf.
type Client struct {
	rest    *rest.RESTClient
	dryRun  bool
	manager string
}

// maxRetries bounds how often a request the API server answered with Retry-After (429 and 5xx) is
// sent again, after the time it asked for and within the deadline of the alert.
const maxRetries = 3

// Connect makes a client from the kubeconfig, for the EKS cluster, or from the pod's ServiceAccount. It does not
// fall back to ~/.kube/config: a function never acts on a cluster nobody named. It touches no network.
func Connect(s Settings, common response.Settings, manager string) (*Client, error) {
	config, err := s.restConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "riposte/" + manager
	return NewClient(config, common.DryRun, manager)
}

func (s Settings) restConfig() (*rest.Config, error) {
	switch {
	case s.Kubeconfig != "" && s.Cluster != "":
		return nil, fmt.Errorf("KUBECONFIG is %q and KUBE_CLUSTER is %q: want one of them", s.Kubeconfig, s.Cluster)
	case s.Cluster != "":
		return eksConfig(s.Cluster)
	case s.Kubeconfig == "":
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("KUBECONFIG and KUBE_CLUSTER are not set and there is no ServiceAccount: want one of them (%w)", err)
		}
		return config, nil
	}
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: strings.Split(s.Kubeconfig, ":")}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("KUBECONFIG is %q: want a readable kubeconfig (%w)", s.Kubeconfig, err)
	}
	return config, nil
}

// NewClient makes a client for the API server of config. With dryRun every change is sent with
// dryRun=All: authorization, admission and preconditions are exercised and nothing is stored.
// manager is the field manager of every change.
func NewClient(config *rest.Config, dryRun bool, manager string) (*Client, error) {
	config = rest.CopyConfig(config)
	// The API server's own priority and fairness decides who waits; client-go's default of 5 requests
	// a second would hold up a burst of alerts for half a minute.
	config.QPS = -1
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.GroupVersion = &schema.GroupVersion{}
	config.Wrap(telemetry.Kubernetes)
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"}) // errors arrive as metav1.Status
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make the Kubernetes client: %w", err)
	}
	return &Client{rest: client, dryRun: dryRun, manager: manager}, nil
}

// Get reads one object into into. namespace is empty for cluster-scoped objects.
func (c *Client) Get(ctx context.Context, r Resource, namespace, name string, into any) error {
	return c.do(ctx, c.rest.Get().AbsPath(r.Path(namespace, name)), into, "get", r, namespace, name)
}

// List reads all objects of a namespace into into.
func (c *Client) List(ctx context.Context, r Resource, namespace string, into any) error {
	return c.do(ctx, c.rest.Get().AbsPath(r.Path(namespace, "")), into, "list", r, namespace, "")
}

// ListLabelled reads the objects with these labels into into, of a namespace or, where that is empty, of all.
func (c *Client) ListLabelled(ctx context.Context, r Resource, namespace, selector string, into any) error {
	return c.do(ctx, c.rest.Get().AbsPath(r.Path(namespace, "")).Param("labelSelector", selector), into, "list", r, namespace, "")
}

// Create stores object.
func (c *Client) Create(ctx context.Context, r Resource, namespace string, object any) error {
	req := c.change(c.rest.Post().AbsPath(r.Path(namespace, "")))
	return c.send(ctx, req, object, nil, "create", r, namespace, "")
}

// CreateOnce stores object, or fails: nothing is sent again.
func (c *Client) CreateOnce(ctx context.Context, r Resource, namespace, name string, object any) error {
	req := c.change(c.rest.Post().AbsPath(r.Path(namespace, ""))).MaxRetries(0)
	return c.sendOnce(ctx, req, object, "create", r, namespace, name)
}

// Merge sends a JSON merge patch (RFC 7396). A metadata.uid (IsReplaced) or resourceVersion in it is a precondition.
// The object as it is afterwards is read into into, unless that is nil.
func (c *Client) Merge(ctx context.Context, r Resource, namespace, name string, patch, into any) error {
	req := c.change(c.rest.Patch(types.MergePatchType).AbsPath(r.Path(namespace, name)))
	return c.send(ctx, req, patch, into, "patch", r, namespace, name)
}

// Apply is a server-side apply under its own field manager. A metadata.uid in the configuration is a precondition: IsReplaced.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/
func (c *Client) Apply(ctx context.Context, r Resource, namespace, name, manager string, force bool, configuration, into any) error {
	req := c.rest.Patch(types.ApplyPatchType).AbsPath(r.Path(namespace, name)).Param("fieldManager", manager)
	if force {
		req = req.Param("force", "true")
	}
	if c.dryRun {
		req = req.Param("dryRun", metav1.DryRunAll)
	}
	return c.send(ctx, req, configuration, into, "apply", r, namespace, name)
}

// Delete removes an object if the preconditions hold. IsReplaced says that the UID's does not.
func (c *Client) Delete(ctx context.Context, r Resource, namespace, name string, options metav1.DeleteOptions) error {
	return c.send(ctx, c.rest.Delete().AbsPath(r.Path(namespace, name)), c.deletion(options), nil, "delete", r, namespace, name)
}

// Evict asks for a pod's eviction once: 429 means that a PodDisruptionBudget forbids it now.
// https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/
func (c *Client) Evict(ctx context.Context, namespace, name string, options metav1.DeleteOptions) error {
	deletion := c.deletion(options)
	eviction := policyv1.Eviction{
		TypeMeta:      metav1.TypeMeta{APIVersion: "policy/v1", Kind: "Eviction"},
		ObjectMeta:    metav1.ObjectMeta{Namespace: namespace, Name: name},
		DeleteOptions: &deletion,
	}
	req := c.change(c.rest.Post().AbsPath(Pods.Path(namespace, name), "eviction")).MaxRetries(0)
	return c.sendOnce(ctx, req, eviction, "evict", Pods, namespace, name)
}

// deletion completes the options; they travel in the body, where the API server ignores dryRun in the query.
func (c *Client) deletion(options metav1.DeleteOptions) metav1.DeleteOptions {
	options.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}
	if c.dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return options
}

// change adds what every change carries in its query.
func (c *Client) change(r *rest.Request) *rest.Request {
	r = r.Param("fieldManager", c.manager)
	if c.dryRun {
		r = r.Param("dryRun", metav1.DryRunAll)
	}
	return r
}

func (c *Client) send(ctx context.Context, r *rest.Request, body, into any, verb string, res Resource, namespace, name string) error {
	return c.write(ctx, r.MaxRetries(maxRetries), body, into, verb, res, namespace, name)
}

func (c *Client) sendOnce(ctx context.Context, r *rest.Request, body any, verb string, res Resource, namespace, name string) error {
	return c.write(ctx, r.SetHeader("Content-Type", runtime.ContentTypeJSON), body, nil, verb, res, namespace, name)
}

func (c *Client) write(ctx context.Context, r *rest.Request, body, into any, verb string, res Resource, namespace, name string) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", verb, res.Plural(), err)
	}
	err = c.doOnce(ctx, r.Body(b), into, verb, res, namespace, name)
	return c.settle(ctx, err, wantedUID(b), res, namespace, name)
}

func (c *Client) do(ctx context.Context, r *rest.Request, into any, verb string, res Resource, namespace, name string) error {
	return c.doOnce(ctx, r.MaxRetries(maxRetries), into, verb, res, namespace, name)
}

func (c *Client) doOnce(ctx context.Context, r *rest.Request, into any, verb string, res Resource, namespace, name string) error {
	// client-go's own log lines are none of the function's, and say nothing that the error does not.
	ctx = klog.NewContext(ctx, klog.Logger{})
	result := r.Do(ctx) // not DoRaw, which loses what the API server says about an error
	err := result.Error()
	if err == nil {
		err = decode(result, into)
	}
	return describe(err, verb, res, namespace, name)
}

// decode reads an answer into into, unless that is nil. An answer that is no object of the API is none of the API
// server's, so it says nothing about whether the request was carried out.
func decode(result rest.Result, into any) error {
	raw, err := result.Raw()
	if err != nil {
		return err
	}
	if into == nil {
		into = new(struct{})
	}
	kind, err := kindOf(raw)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	switch {
	case err != nil:
		return fmt.Errorf("read the answer: %w", err)
	case kind == "":
		return errors.New("read the answer: it is no object of the API")
	}
	return nil
}

// kindOf is what an object says that it is. The API server says so at its beginning, which is all that is read then.
func kindOf(raw []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := d.Token(); err == nil && begin == json.Delim('{') {
		if name, err := d.Token(); err == nil && name == "kind" {
			if kind, err := d.Token(); err == nil {
				kind, _ := kind.(string)
				return kind, nil
			}
		}
	}
	var object metav1.TypeMeta
	err := json.Unmarshal(raw, &object)
	return object.Kind, err
}

// describe says what was attempted and classifies the cause.
func describe(err error, verb string, r Resource, namespace, name string) error {
	if err == nil {
		return nil
	}
	what := strings.Trim(namespace+"/"+name, "/")
	err = fmt.Errorf("%s %s %s: %w", verb, r.Plural(), what, err)
	if known := (*response.Error)(nil); errors.As(err, &known) {
		return err // On the way to the API server: eksCluster knows why.
	}
	return classify(err)
}
