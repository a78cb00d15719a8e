package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

//nolint:gochecknoglobals // Names of resources; client-go has no constants for them.
var (
	nodesResource      = corev1.SchemeGroupVersion.WithResource("nodes")
	namespacesResource = corev1.SchemeGroupVersion.WithResource("namespaces")
	accountsResource   = corev1.SchemeGroupVersion.WithResource("serviceaccounts")
)

// pollInterval is the time between two looks at a condition of the start.
const pollInterval = 20 * time.Millisecond

// requestTimeout bounds one look: a component that accepts connections before it
// answers them must not hold up the next look.
const requestTimeout = 5 * time.Second

// waitFor waits until check finds no fault, a component ends, or ctx does.
func (c *Cluster) waitFor(ctx context.Context, what string, check func(context.Context) error) error {
	for {
		look, cancel := context.WithTimeout(ctx, requestTimeout)
		err := check(look)
		cancel()
		if err == nil {
			return nil
		}
		// A component that died explains more than what its absence causes.
		if failure := c.Err(); failure != nil {
			return failure
		}
		if pause(ctx, pollInterval) != nil {
			return fmt.Errorf("wait for %s: %w; last seen: %w", what, context.Cause(ctx), err)
		}
	}
}

// waitUntilReady waits for everything but the API server; kwok is nil where there is none.
func (c *Cluster) waitUntilReady(ctx context.Context, p *pki, e endpoints, kwok *port) error {
	roots := x509.NewCertPool()
	roots.AddCert(p.ca.certificate)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	type condition struct {
		what  string
		check func(context.Context) error
	}
	conditions := []condition{
		{"the controller manager", healthy(client, e.controllers.url()+"/healthz")},
		{"the scheduler", healthy(client, e.scheduler.url()+"/readyz")},
		{"the default service account", c.defaultAccount(metav1.NamespaceDefault)},
	}
	if kwok != nil {
		// kwok serves logs only, and begins to after it has begun to play the nodes.
		conditions = append(conditions, condition{"the nodes", c.nodesReady}, condition{"kwok", healthy(client, kwok.url()+"/healthz")})
	}
	for _, condition := range conditions {
		if err := c.waitFor(ctx, condition.what, condition.check); err != nil {
			return err
		}
	}
	return nil
}

// healthy returns a check of a component's health.
func healthy(client *http.Client, url string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, response.Status)
		}
		return nil
	}
}

// apiServerReady passes when the API server says that it is ready. It is asked with
// the authority that was made for it, so another server on its port does not pass.
func (c *Cluster) apiServerReady(ctx context.Context) error {
	_, err := c.get(ctx, "/readyz?verbose")
	return err
}

// serverVersion returns the version that the API server tells, like v1.36.3.
func (c *Cluster) serverVersion(ctx context.Context) (string, error) {
	body, err := c.get(ctx, "/version")
	if err != nil {
		return "", fmt.Errorf("ask the API server for its version: %w", err)
	}
	var version struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(body, &version); err != nil {
		return "", fmt.Errorf("ask the API server for its version: %w", err)
	}
	return version.GitVersion, nil
}

// get reads a path of the API server that is not a resource.
func (c *Cluster) get(ctx context.Context, path string) ([]byte, error) {
	client, err := rest.HTTPClientFor(c.config)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.Host+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %s", path, response.Status, body)
	}
	return body, nil
}

// defaultAccount returns a check that passes when the controllers have given the
// namespace its ServiceAccount, without which no pod is admitted.
func (c *Cluster) defaultAccount(namespace string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := c.client.Resource(accountsResource).Namespace(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	}
}

// nodesReady passes when every node is Ready and the controllers have noticed: a
// new node has a taint until they do.
func (c *Cluster) nodesReady(ctx context.Context) error {
	list, err := c.client.Resource(nodesResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, item := range list.Items {
		var node corev1.Node
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(item.Object, &node); err != nil {
			return fmt.Errorf("read node %s: %w", item.GetName(), err)
		}
		if err := nodeReady(&node); err != nil {
			return err
		}
	}
	return nil
}

func nodeReady(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return fmt.Errorf("node %s has the taint %s", node.Name, taint.Key)
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not Ready", node.Name)
}
