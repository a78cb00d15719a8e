package testkit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/yaml"
)

// ownNamespace is where the functions' ServiceAccounts are.
const ownNamespace = "riposte"

// tokenSeconds outlasts any run of tests.
const tokenSeconds = int64(6 * 60 * 60)

// Account is a ServiceAccount that a function runs under.
type Account struct {
	// Function is the function whose permissions it has.
	Function string
	// Namespace and Name are those of the ServiceAccount.
	Namespace, Name string

	env      *Env
	token    string
	client   *rest.RESTClient
	bindings []*rbacv1.ClusterRoleBinding // of an account made for one test
}

// manifest is an rbac.yaml.
type manifest struct {
	documents []map[string]any
	account   corev1.ServiceAccount
	roles     map[string]rbacv1.ClusterRole
	bindings  []rbacv1.ClusterRoleBinding
	// local are the rules that are bound in the account's own namespace.
	local      []rbacv1.PolicyRule
	localRoles map[string]rbacv1.Role
}

// readManifest reads the rbac.yaml of a function.
func (e *Env) readManifest(function string) (*manifest, error) {
	content, err := os.ReadFile(filepath.Join(e.root, "functions", function, "rbac.yaml"))
	if err != nil {
		return nil, fmt.Errorf("read the permissions of %s: %w", function, err)
	}
	m := &manifest{roles: map[string]rbacv1.ClusterRole{}, localRoles: map[string]rbacv1.Role{}}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err == nil {
			err = m.add(document)
		}
		if err != nil {
			return nil, fmt.Errorf("read the permissions of %s: %w", function, err)
		}
	}
}

func (m *manifest) add(document []byte) error {
	var object map[string]any
	if err := yaml.Unmarshal(document, &object); err != nil || len(object) == 0 {
		return err
	}
	m.documents = append(m.documents, object)
	switch kind := object["kind"]; kind {
	case "ServiceAccount":
		return yaml.UnmarshalStrict(document, &m.account)
	case "ClusterRole":
		var role rbacv1.ClusterRole
		err := yaml.UnmarshalStrict(document, &role)
		m.roles[role.Name] = role
		return err
	case "ClusterRoleBinding":
		var binding rbacv1.ClusterRoleBinding
		err := yaml.UnmarshalStrict(document, &binding)
		m.bindings = append(m.bindings, binding)
		return err
	case "Role":
		var role rbacv1.Role
		err := yaml.UnmarshalStrict(document, &role)
		m.localRoles[role.Name] = role
		return err
	case "RoleBinding":
		var binding rbacv1.RoleBinding
		err := yaml.UnmarshalStrict(document, &binding)
		m.local = append(m.local, m.localRoles[binding.RoleRef.Name].Rules...)
		return err
	default:
		return fmt.Errorf("kind is %v: want ServiceAccount, ClusterRole, ClusterRoleBinding, Role or RoleBinding", kind)
	}
}

// bound are the permissions of the account as the file binds them.
func (m *manifest) bound() map[Permission]bool {
	granted := map[Permission]bool{}
	for _, b := range m.bindings {
		addPermissions(granted, m.roles[b.RoleRef.Name].Rules)
	}
	return granted
}

// boundHere are the permissions of the account in its own namespace alone.
func (m *manifest) boundHere() map[Permission]bool {
	granted := map[Permission]bool{}
	addPermissions(granted, m.local)
	return granted
}

// all are the permissions of every role in the file, bound or not.
func (m *manifest) all() map[Permission]bool {
	granted := m.boundHere()
	for _, r := range m.roles {
		addPermissions(granted, r.Rules)
	}
	return granted
}

// Account is the ServiceAccount of a function as its rbac.yaml makes it, applied to the cluster.
func (e *Env) Account(tb testing.TB, function string) *Account {
	tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if a := e.accounts[function]; a != nil {
		return a
	}
	m, err := e.readManifest(function)
	if err != nil {
		tb.Fatal(err)
	}
	e.apply(tb, map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ownNamespace}})
	for _, document := range m.documents {
		e.apply(tb, document)
	}
	a := e.authenticate(tb, function, m.account.Namespace, m.account.Name)
	a.awaitPermissions(tb, m.bound(), "")
	a.awaitPermissions(tb, m.boundHere(), ownNamespace)
	e.accounts[function] = a
	return a
}

// AccountWith is a new ServiceAccount, bound to these ClusterRoles of the function's rbac.yaml: all that a deployment
// with other settings would bind, or nothing at all.
func (e *Env) AccountWith(tb testing.TB, function string, roles ...string) *Account {
	tb.Helper()
	e.Account(tb, function) // the roles have to exist
	m, err := e.readManifest(function)
	if err != nil {
		tb.Fatal(err)
	}
	granted := map[Permission]bool{}
	for _, role := range roles {
		if _, ok := m.roles[role]; !ok {
			tb.Fatalf("the rbac.yaml of %s has no ClusterRole %s", function, role)
		}
		addPermissions(granted, m.roles[role].Rules)
	}
	a := e.newAccount(tb, function, roles...)
	a.awaitPermissions(tb, granted, "")
	return a
}

// AdminAccount is a new ServiceAccount that may do everything, for tests of what functions are made of.
func (e *Env) AdminAccount(tb testing.TB) *Account {
	tb.Helper()
	a := e.newAccount(tb, "", "cluster-admin")
	a.awaitPermissions(tb, map[Permission]bool{{"*", "*", "*"}: true}, "")
	return a
}

// newAccount makes a ServiceAccount and binds it to these ClusterRoles.
func (e *Env) newAccount(tb testing.TB, function string, roles ...string) *Account {
	tb.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace(tb), Name: "function"}}
	e.Create(tb, account)
	a := e.authenticate(tb, function, account.Namespace, account.Name)
	for _, role := range roles {
		binding := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: account.Namespace + "-" + role},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
		}
		e.Create(tb, binding)
		e.removeAfterwards(tb, binding)
		a.bindings = append(a.bindings, binding)
	}
	return a
}

// Unbind takes every permission from the account while functions run under it.
func (a *Account) Unbind(tb testing.TB) {
	tb.Helper()
	for _, binding := range a.bindings {
		a.env.Delete(tb, binding)
	}
	Eventually(tb, a.Namespace+"/"+a.Name+" may do nothing", func(ctx context.Context) error {
		allowed, err := a.may(ctx, Permission{Verb: "get", Resource: "pods"}, "")
		if err == nil && allowed {
			err = errors.New("it may")
		}
		return err
	})
}

// ServiceAccountKubeconfig is the path of a kubeconfig of the function's account, straight to the API server.
func (e *Env) ServiceAccountKubeconfig(tb testing.TB, function string) string {
	tb.Helper()
	ca := e.Config.CAData
	if len(ca) == 0 && e.Config.CAFile != "" {
		content, err := os.ReadFile(e.Config.CAFile)
		if err != nil {
			tb.Fatalf("read the authority of the test cluster: %v", err)
		}
		ca = content
	}
	return e.Account(tb, function).kubeconfig(tb, e.Config.Host, ca)
}

// apply is a server-side apply of a document of an rbac.yaml: test binaries may do so at once.
func (e *Env) apply(tb testing.TB, document map[string]any) {
	tb.Helper()
	kind, _ := document["kind"].(string)
	metadata, _ := document["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	path := map[string]string{
		"Namespace":          "/api/v1/namespaces/",
		"ServiceAccount":     "/api/v1/namespaces/" + ownNamespace + "/serviceaccounts/",
		"Role":               "/apis/rbac.authorization.k8s.io/v1/namespaces/" + ownNamespace + "/roles/",
		"RoleBinding":        "/apis/rbac.authorization.k8s.io/v1/namespaces/" + ownNamespace + "/rolebindings/",
		"ClusterRole":        "/apis/rbac.authorization.k8s.io/v1/clusterroles/",
		"ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/",
	}[kind] + name
	r := e.client.Patch(types.ApplyPatchType).AbsPath(path).Param("fieldManager", fieldManager).Param("force", "true")
	if err := send(tb.Context(), r, document, nil); err != nil {
		tb.Fatalf("apply %s %s: %v", kind, name, err)
	}
}

// authenticate asks for a token of a ServiceAccount, as kubectl create token does.
func (e *Env) authenticate(tb testing.TB, function, namespace, name string) *Account {
	tb.Helper()
	seconds := tokenSeconds
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	path := "/api/v1/namespaces/" + namespace + "/serviceaccounts/" + name + "/token"
	if err := send(tb.Context(), e.client.Post().AbsPath(path), request, request); err != nil {
		tb.Fatalf("ask for a token of %s/%s: %v", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(e.Config)
	config.BearerToken = request.Status.Token
	client, err := newRESTClient(config)
	if err != nil {
		tb.Fatal(err)
	}
	return &Account{Function: function, Namespace: namespace, Name: name, env: e, token: request.Status.Token, client: client}
}

// awaitPermissions waits until the API server's authorizer has seen the bindings.
func (a *Account) awaitPermissions(tb testing.TB, granted map[Permission]bool, namespace string) {
	tb.Helper()
	for p := range granted {
		Eventually(tb, fmt.Sprintf("%s/%s may %s", a.Namespace, a.Name, p), func(ctx context.Context) error {
			allowed, err := a.may(ctx, p, namespace)
			if err == nil && !allowed {
				err = errors.New("it may not")
			}
			return err
		})
	}
}

// kubeconfig writes a kubeconfig of the account for an API server.
func (a *Account) kubeconfig(tb testing.TB, server string, ca []byte) string {
	tb.Helper()
	c := clientcmdapi.NewConfig()
	c.Clusters["test"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}
	c.AuthInfos["test"] = &clientcmdapi.AuthInfo{Token: a.token}
	c.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "test"}
	c.CurrentContext = "test"
	path := filepath.Join(tb.TempDir(), strings.ReplaceAll(a.Name, "/", "-")+".kubeconfig")
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		tb.Fatalf("write the kubeconfig of %s: %v", a.Name, err)
	}
	return path
}
