package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
)

func TestClusterForRealNodesHasNone(t *testing.T) {
	t.Parallel()
	c, err := Start(t.Context(), Options{Binary: one.binary, RealNodes: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	nodes, err := c.client.Resource(nodesResource).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 0 {
		t.Errorf("there are %v (%v), want no nodes", nodes, err)
	}
	for _, p := range c.processes {
		if p.name == "kwok" {
			t.Error("kwok runs")
		}
	}
}

func TestRealNodesMustBeTheOnlyOnes(t *testing.T) {
	t.Parallel()
	for name, options := range map[string]Options{
		"nodes of kwok":        {Nodes: 1},
		"a control-plane node": {ControlPlaneNode: true},
	} {
		t.Run(name, func(t *testing.T) {
			options.Binary, options.RealNodes = one.binary, true
			if c, err := Start(t.Context(), options); err == nil {
				t.Errorf("it started; stopping it says %v", c.Stop())
			}
		})
	}
}

func TestUserIsWhoTheKubeconfigSays(t *testing.T) {
	t.Parallel()
	path, err := one.UserKubeconfig("system:node:somewhere", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	review := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}}
	answer, err := client.Resource(authenticationv1.SchemeGroupVersion.WithResource("selfsubjectreviews")).Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var who authenticationv1.SelfSubjectReview
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(answer.Object, &who); err != nil {
		t.Fatal(err)
	}
	user := who.Status.UserInfo
	if user.Username != "system:node:somewhere" || len(user.Groups) == 0 || user.Groups[0] != "system:nodes" {
		t.Errorf("the user is %+v", user)
	}
}

func TestServingCertificateIsTheServers(t *testing.T) {
	t.Parallel()
	address := net.IPv4(192, 0, 2, 7)
	files, err := one.ServingCertificate("somewhere", address)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(files.ClientCA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	served, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"somewhere": true, address.String(): true, "elsewhere": false} {
		if _, err := served.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots}); (err == nil) != want {
			t.Errorf("as %s: %v, want it trusted: %t", name, err, want)
		}
	}
}

func TestAttachedClusterGivesNoKeys(t *testing.T) {
	t.Parallel()
	c, err := Attach(one.Kubeconfig, one.binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := c.UserKubeconfig("somebody"); !errors.Is(err, errForeign) {
		t.Errorf("it gives a kubeconfig: %v", err)
	}
	if _, err := c.ServingCertificate("somewhere"); !errors.Is(err, errForeign) {
		t.Errorf("it gives a certificate: %v", err)
	}
}
