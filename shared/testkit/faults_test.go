package testkit

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsAreReadAsRBACDoes(t *testing.T) {
	t.Parallel()
	for path, tc := range map[string]struct {
		method string
		want   string // the request, then the permission
	}{
		"/api/v1/namespaces/shop/pods/cart-0":                          {"GET", "get pods shop/cart-0, get pods"},
		"/api/v1/namespaces/shop/pods":                                 {"GET", "list pods shop, list pods"},
		"/api/v1/namespaces/shop/pods?watch=true":                      {"GET", "list pods shop, list pods"},
		"/api/v1/namespaces/shop/pods/cart-0/eviction":                 {"POST", "create pods/eviction shop/cart-0, create pods/eviction"},
		"/api/v1/namespaces/shop":                                      {"GET", "get namespaces shop, get namespaces"},
		"/api/v1/namespaces":                                           {"GET", "list namespaces, list namespaces"},
		"/api/v1/nodes/n1":                                             {"PATCH", "patch nodes n1, patch nodes"},
		"/apis/apps/v1/namespaces/shop/deployments/web":                {"GET", "get deployments shop/web, get deployments.apps"},
		"/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies":   {"POST", "create networkpolicies shop, create networkpolicies.networking.k8s.io"},
		"/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/x": {"DELETE", "delete networkpolicies shop/x, delete networkpolicies.networking.k8s.io"},
		"/api/v1/namespaces/shop/secrets":                              {"DELETE", "deletecollection secrets shop, deletecollection secrets"},
	} {
		r := parseRequest(httptest.NewRequest(tc.method, path, nil), nil)
		if got := r.String() + ", " + r.Permission.String(); got != tc.want {
			t.Errorf("%s %s is %q, want %q", tc.method, path, got, tc.want)
		}
	}
}

func TestDryRunsAreRecognised(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		method, path, body string
		want               bool
	}{
		"a patch":                             {http.MethodPatch, "/api/v1/nodes/n?dryRun=All", "{}", true},
		"a patch for real":                    {http.MethodPatch, "/api/v1/nodes/n", `{"dryRun":["All"]}`, false},
		"a deletion":                          {http.MethodDelete, "/api/v1/nodes/n", `{"dryRun":["All"]}`, true},
		"a deletion that says so in vain":     {http.MethodDelete, "/api/v1/nodes/n?dryRun=All", `{}`, false},
		"a creation that says it another way": {http.MethodPost, "/api/v1/nodes?dryRun=true", "{}", false},
	} {
		r := parseRequest(httptest.NewRequest(tc.method, tc.path, strings.NewReader(tc.body)), []byte(tc.body))
		if got := r.DryRun(); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}

func TestFaultsFitSomeRequests(t *testing.T) {
	t.Parallel()
	p := &Proxy{}
	first := p.Inject(&Fault{Verb: "delete", Resource: "pods", After: 1, Times: 1})
	second := p.Inject(&Fault{Resource: "pods"})
	var got []string
	for _, verb := range []string{"delete", "delete", "delete", "get"} {
		switch p.take(&Request{Permission: Permission{Verb: verb, Resource: "pods"}}) {
		case first:
			got = append(got, verb+" first")
		case second:
			got = append(got, verb+" second")
		default:
			got = append(got, verb+" none")
		}
	}
	if p.take(&Request{Permission: Permission{Verb: "get", Resource: "nodes"}}) != nil {
		t.Error("a fault of pods fits nodes")
	}
	if diff := cmp.Diff([]string{"delete second", "delete first", "delete second", "get second"}, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}
