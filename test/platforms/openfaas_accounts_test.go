package platforms

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// openfaasNamespace is where OpenFaaS runs functions.
const openfaasNamespace = "openfaas-fn"

// withOpenFaaS is the test cluster's API server with the namespace of OpenFaaS's functions.
func withOpenFaaS(t *testing.T) *apiServer {
	t.Helper()
	s := newAPIServer(t, testkit.Cluster(t))
	namespace := parsed(t, []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: "+openfaasNamespace+"}\n"))
	if err := s.apply(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return s
}

// The API server takes the accounts, rights and tokens of both editions, and none is of another namespace.
func TestAPIServerTakesOpenFaaSAccounts(t *testing.T) {
	s := withOpenFaaS(t)
	for folder, file := range map[string]string{"deploy/openfaas": communityStack, "deploy/openfaas/pro": proStack} {
		t.Run(folder, func(t *testing.T) {
			objects := kustomized(t, folder)
			s.settle(t, objects)
			for _, o := range objects {
				if err := s.apply(t.Context(), o, metav1.DryRunAll); err != nil {
					t.Errorf("%s: %v", called(o), err)
				}
				if text, err := o.MarshalJSON(); err != nil || strings.Contains(string(text), `"namespace":"riposte"`) {
					t.Errorf("%s names the namespace riposte: %s, %v", called(o), text, err)
				}
			}
			// What the stack lists is there.
			for name, f := range stackOf(t, file) {
				account := "riposte-" + name
				if !slices.ContainsFunc(find(objects, "v1", "ServiceAccount"), func(o *unstructured.Unstructured) bool { return o.GetName() == account }) {
					t.Errorf("there is no account %s", account)
				}
				for _, secret := range f.Secrets {
					there := slices.ContainsFunc(find(objects, "v1", "Secret"), func(o *unstructured.Unstructured) bool { return o.GetName() == secret })
					if there != strings.HasSuffix(secret, "-account") {
						t.Errorf("%s lists the secret %s; it is made with the accounts: %t", name, secret, there)
					}
				}
			}
		})
	}
}

// In the Community Edition a function has the account whose token is in its secret: it does its job by the rights of its
// rbac.yaml, and keeps its Leases in the namespace of OpenFaaS's functions.
func TestOpenFaaSFunctionHasItsAccount(t *testing.T) {
	const name = "label"
	e, s := testkit.Cluster(t), withOpenFaaS(t)
	for _, o := range kustomized(t, "deploy/openfaas") {
		if o.GetName() != "riposte-"+name && !strings.HasPrefix(o.GetName(), "riposte-"+name+"-") {
			continue
		}
		if err := s.apply(t.Context(), o); err != nil {
			t.Fatalf("apply %s: %v", called(o), err)
		}
		t.Cleanup(func() {
			client, err := s.resource(o)
			if err == nil {
				err = client.Delete(context.WithoutCancel(t.Context()), o.GetName(), metav1.DeleteOptions{})
			}
			if err != nil && !apierrors.IsNotFound(err) {
				t.Errorf("clean up %s: %v", called(o), err)
			}
		})
	}
	s.awaits(t, name, map[string]any{"verb": "patch", "resource": "pods"})
	s.awaits(t, name, map[string]any{"verb": "create", "group": "coordination.k8s.io", "resource": "leases", "namespace": openfaasNamespace})

	stack := stackOf(t, communityStack)[name]
	if file := environmentOf(t, stack)["KUBECONFIG"]; file != mounted+"kubeconfig" {
		t.Errorf("KUBECONFIG is %q, want a file of the secret", file)
	}
	w, at := guarded(workFor(t, e, name), stack), port(t)
	// Claims and the account are those of the stack.
	p := started(t, testkit.Binary(t, name), at, "healthz", environOf(t, name, []string{
		"LISTEN_ADDRESS=127.0.0.1:" + at, "DRY_RUN=false", "BUDGET_WORKLOAD=off", "AUTH_TOKEN=" + w.token,
		"KUBECONFIG=" + filepath.Join(s.mounts(t, "riposte-"+name+"-account", e.Config.Host), "kubeconfig"),
	}))
	event := w.next().event
	event.Header.Set("Authorization", "Bearer "+w.token)
	if answer := post(t, p.url, event); answer.Verdict() != "200 applied" {
		t.Errorf("it is answered %q: %s", answer.Verdict(), answer.Body)
	}
	leases, err := s.client.Resource(schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}).
		Namespace(openfaasNamespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(leases.Items) == 0 {
		t.Errorf("it keeps no Lease in %s: %v", openfaasNamespace, err)
	}
}

// awaits waits until the API server's authorizer has seen what a function's account in openfaas-fn may do.
func (s *apiServer) awaits(t *testing.T, function string, attributes map[string]any) {
	t.Helper()
	reviews := s.client.Resource(schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "subjectaccessreviews"})
	testkit.Eventually(t, fmt.Sprintf("%s may %v", function, attributes), func(ctx context.Context) error {
		review, err := reviews.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
			"spec": map[string]any{"user": "system:serviceaccount:" + openfaasNamespace + ":riposte-" + function, "resourceAttributes": attributes},
		}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		if allowed, _, _ := unstructured.NestedBool(review.Object, "status", "allowed"); !allowed {
			return errors.New("it may not")
		}
		return nil
	})
}

// mounts writes the keys of a secret as files of a folder, as OpenFaaS mounts them, once Kubernetes has filled them in. The
// API server's address is that of the test cluster.
func (s *apiServer) mounts(t *testing.T, secret, server string) string {
	t.Helper()
	folder := t.TempDir()
	secrets := s.client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "secrets"}).Namespace(openfaasNamespace)
	testkit.Eventually(t, secret+" has a token", func(ctx context.Context) error {
		o, err := secrets.Get(ctx, secret, metav1.GetOptions{})
		if err != nil {
			return err
		}
		data, _, _ := unstructured.NestedStringMap(o.Object, "data")
		if data["token"] == "" || data["ca.crt"] == "" {
			return errors.New("it has none yet")
		}
		for key, value := range data {
			content, err := base64.StdEncoding.DecodeString(value)
			if err != nil {
				return err
			}
			text := strings.Replace(string(content), "https://kubernetes.default.svc", server, 1)
			if err := os.WriteFile(filepath.Join(folder, key), []byte(text), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
	return folder
}
