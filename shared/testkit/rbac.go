package testkit

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// Permission is one verb on one resource.
type Permission struct {
	Verb, Group string
	// Resource is a plural, with its subresource if any: pods/eviction.
	Resource string
}

// String is get pods or patch networkpolicies.networking.k8s.io.
func (p Permission) String() string {
	return strings.TrimSuffix(p.Verb+" "+p.Resource+"."+p.Group, ".")
}

func addPermissions(to map[Permission]bool, rules []rbacv1.PolicyRule) {
	for _, rule := range rules {
		for _, verb := range rule.Verbs {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					to[Permission{verb, group, resource}] = true
				}
			}
		}
	}
}

// CheckRBAC proves on the API server that the function's account may do what its rbac.yaml grants and nothing else.
// That the function needs each of these permissions is Main's to check, after all tests of the package.
func CheckRBAC(t *testing.T, function string) {
	t.Helper()
	t.Parallel()
	e := Cluster(t)
	a := e.Account(t, function)
	m, err := e.readManifest(function)
	if err != nil {
		t.Fatal(err)
	}
	granted, here := m.bound(), m.boundHere()
	for p := range m.all() {
		if strings.Contains(p.Verb+p.Group+p.Resource, "*") {
			t.Errorf("%s is granted: want each verb and resource by its name", p)
		}
	}
	for p := range a.rules(t) {
		if !granted[p] && !here[p] {
			t.Errorf("%s may %s, which its rbac.yaml does not bind", a.Name, p)
		}
	}
	asked := 0
	for _, p := range universe() {
		allowed, err := a.may(t.Context(), p, "")
		if err != nil {
			t.Fatalf("ask whether %s may %s: %v", a.Name, p, err)
		}
		if allowed != granted[p] {
			t.Errorf("%s may %s: %t, want %t", a.Name, p, allowed, granted[p])
		}
		if !granted[p] {
			asked++
		}
	}
	if asked < 30 {
		t.Errorf("only %d permissions were asked for that are not granted: want 30 or more", asked)
	}
}

// universe is what an attacker would like to have.
func universe() []Permission {
	var all []Permission
	for group, resources := range map[string][]string{
		"":                          {"pods", "nodes", "namespaces", "services", "secrets", "configmaps", "serviceaccounts", "pods/exec", "pods/eviction"},
		"apps":                      {"deployments", "replicasets", "statefulsets", "daemonsets"},
		"batch":                     {"jobs", "cronjobs"},
		"networking.k8s.io":         {"networkpolicies"},
		"coordination.k8s.io":       {"leases"},
		"rbac.authorization.k8s.io": {"clusterroles", "clusterrolebindings", "roles", "rolebindings"},
	} {
		for _, resource := range resources {
			for _, verb := range []string{"get", "list", "create", "update", "patch", "delete"} {
				all = append(all, Permission{verb, group, resource})
			}
		}
	}
	return append(all,
		Permission{"watch", "", "pods"}, Permission{"watch", "", "secrets"}, Permission{"deletecollection", "", "pods"},
		Permission{"create", "", "serviceaccounts/token"}, Permission{"get", "", "nodes/proxy"}, Permission{"patch", "", "pods/ephemeralcontainers"},
		Permission{"impersonate", "", "users"}, Permission{"impersonate", "", "groups"}, Permission{"impersonate", "", "serviceaccounts"},
		Permission{"bind", "rbac.authorization.k8s.io", "clusterroles"}, Permission{"escalate", "rbac.authorization.k8s.io", "clusterroles"},
		Permission{"create", "admissionregistration.k8s.io", "validatingwebhookconfigurations"},
		Permission{"approve", "certificates.k8s.io", "signers"}, Permission{"*", "*", "*"},
	)
}

// may asks the API server, as the account, about a permission in a namespace, or in all.
func (a *Account) may(ctx context.Context, p Permission, namespace string) (bool, error) {
	resource, subresource, _ := strings.Cut(p.Resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: p.Verb, Group: p.Group, Resource: resource, Subresource: subresource},
	}}
	err := send(ctx, a.client.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"), review, review)
	return review.Status.Allowed, err
}

// rules are all permissions the account has, as the API server tells it, but for those every account has: to ask about itself.
func (a *Account) rules(tb testing.TB) map[Permission]bool {
	tb.Helper()
	review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: a.Namespace}}
	if err := send(tb.Context(), a.client.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"), review, review); err != nil {
		tb.Fatalf("ask for the permissions of %s: %v", a.Name, err)
	}
	if review.Status.Incomplete {
		tb.Fatalf("ask for the permissions of %s: the API server does not know all: %s", a.Name, review.Status.EvaluationError)
	}
	has := map[Permission]bool{}
	for _, rule := range review.Status.ResourceRules {
		addPermissions(has, []rbacv1.PolicyRule{{Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources}})
	}
	maps.DeleteFunc(has, func(p Permission, _ bool) bool {
		return p.Verb == "create" && (p.Group == "authorization.k8s.io" || p.Group == "authentication.k8s.io") && strings.HasPrefix(p.Resource, "selfsubject")
	})
	return has
}

// use notes that a function was allowed something and used it.
func (e *Env) use(function string, p Permission) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.used[function] == nil {
		e.used[function] = map[Permission]bool{}
	}
	e.used[function][p] = true
}

// checkUsed compares what a function's rbac.yaml grants, in any of its roles, with what its tests used.
func (e *Env) checkUsed(function string) error {
	m, err := e.readManifest(function)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var unused []string
	for p := range m.all() {
		if !e.used[function][p] {
			unused = append(unused, p.String())
		}
	}
	if len(unused) == 0 {
		return nil
	}
	slices.Sort(unused)
	return fmt.Errorf("the rbac.yaml of %s grants what no test used: %s", function, strings.Join(unused, ", "))
}
