package layout_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// exceptions is one entry of a file of Falco's rules that appends exceptions to a rule.
// https://falco.org/docs/concepts/rules/exceptions/
type exceptions struct {
	Rule       string `json:"rule"`
	Exceptions []struct {
		Name   string     `json:"name"`
		Fields []string   `json:"fields"`
		Comps  []string   `json:"comps"`
		Values [][]string `json:"values"`
	} `json:"exceptions"`
	Override struct {
		Exceptions string `json:"exceptions"`
	} `json:"override"`
}

// auditRule is what a rule of Falco's k8saudit plugin reports of accounts: a verb on a resource.
type auditRule struct {
	resources, verbs []string
}

// auditRules are those rules of version 0.18 that can be about a ServiceAccount's own requests, as their conditions and
// macros say. Missing are those that leave all users out whose name begins with system: (Disallowed K8s User, Full K8s
// Administrative Access, K8s Namespace Deleted, K8s Secret Created and Deleted) or that are about system:anonymous.
// https://github.com/falcosecurity/plugins/blob/main/plugins/k8saudit/rules/k8s_audit_rules.yaml
func auditRules() map[string]auditRule {
	const everything = "*"
	create, modify := []string{"create"}, []string{"create", "update", "patch"}
	of := func(verbs []string, resources ...string) auditRule { return auditRule{resources, verbs} }
	rules := map[string]auditRule{
		"Attach/Exec Pod":                                         of([]string{"create", "get"}, "pods/exec", "pods/attach"),
		"port-forward":                                            of([]string{everything}, "pods/portforward", "services/portforward"),
		"EphemeralContainers Created":                             of(modify, "pods/ephemeralcontainers"),
		"Create NodePort Service":                                 of(create, "services"),
		"Create/Modify Configmap With Private Credentials":        of(modify, "configmaps"),
		"Create Disallowed Namespace":                             of(create, "namespaces"),
		"Service Account Created in Kube Namespace":               of(create, "serviceaccounts"),
		"System ClusterRole Modified/Deleted":                     of([]string{"create", "update", "patch", "delete"}, "roles", "clusterroles"),
		"Attach to cluster-admin Role":                            of(create, "clusterrolebindings"),
		"K8s Secret Get Successfully":                             of([]string{"get"}, "secrets"),
		"K8s Secret Get Unsuccessfully Tried":                     of([]string{"get"}, "secrets"),
		"Ingress Object without TLS Certificate Created":          of(create, "ingresses"),
		"Untrusted Node Successfully Joined the Cluster":          of(create, "nodes"),
		"Untrusted Node Unsuccessfully Tried to Join the Cluster": of(create, "nodes"),
		"All K8s Audit Events":                                    of([]string{everything}, everything),
	}
	for _, name := range []string{"Disallowed Pod", "Privileged Pod", "Sensitive Mount Pod", "HostNetwork Pod", "HostPid Pod", "HostIPC Pod"} {
		rules["Create "+name] = of(create, "pods")
	}
	rules["Pod Created in Kube Namespace"] = of(create, "pods")
	for _, name := range []string{"Wildcard", "Write Privileges", "Pod Exec"} {
		rules["ClusterRole With "+name+" Created"] = of(create, "roles", "clusterroles")
	}
	for kind, resource := range map[string]string{
		"Deployment": "deployments", "Service": "services", "ConfigMap": "configmaps", "Serviceaccount": "serviceaccounts", "Role": "roles",
		"ClusterRole": "clusterroles", "RoleBinding": "rolebindings", "ClusterRoleBinding": "clusterrolebindings",
	} {
		rules["K8s "+kind+" Created"], rules["K8s "+kind+" Deleted"] = of(create, resource), of([]string{"delete"}, resource)
	}
	rules["K8s Namespace Created"] = of(create, "namespaces")
	return rules
}

// reports says whether the rule reports something that the permissions allow.
func (r auditRule) reports(granted rbacv1.PolicyRule) bool {
	meet := func(some, others []string) bool {
		return slices.Contains(some, "*") || slices.Contains(others, "*") ||
			slices.ContainsFunc(some, func(s string) bool { return slices.Contains(others, s) })
	}
	return meet(r.resources, granted.Resources) && meet(r.verbs, granted.Verbs)
}

// Falco refuses to start with an exception that does not fit its rule; what is shipped has to be right by itself.
func TestFalcoExceptions(t *testing.T) {
	stable := map[string]auditRule{"Contact K8S API Server From Container": {}}
	for file, c := range map[string]struct {
		rules map[string]auditRule
		// fields are those that an exception may ask for, by which it is narrow enough.
		fields map[string]string
		want   []string
	}{
		"riposte-exceptions.yaml":          {stable, map[string]string{"k8s.ns.name": "riposte"}, slices.Collect(maps.Keys(stable))},
		"riposte-exceptions-k8saudit.yaml": {auditRules(), map[string]string{"ka.user.name": "system:serviceaccount:riposte:riposte-"}, reported(t)},
	} {
		t.Run(file, func(t *testing.T) {
			var all []exceptions
			if err := yaml.UnmarshalStrict([]byte(read(t, "config", "falco", file)), &all); err != nil {
				t.Fatal(err)
			}
			var excepted []string
			for _, e := range all {
				excepted = append(excepted, e.Rule)
				if _, known := c.rules[e.Rule]; !known {
					t.Errorf("Falco has no rule %q", e.Rule)
				}
				if e.Override.Exceptions != "append" || len(e.Exceptions) != 1 || e.Exceptions[0].Name != "riposte" {
					t.Fatalf("%s: want one exception named riposte, appended", e.Rule)
				}
				x := e.Exceptions[0]
				if len(x.Fields) == 0 || len(x.Comps) != len(x.Fields) || len(x.Values) == 0 {
					t.Fatalf("%s: %d fields, %d comps, %d values: want as many fields as comps", e.Rule, len(x.Fields), len(x.Comps), len(x.Values))
				}
				narrow := false
				for _, values := range x.Values {
					if len(values) != len(x.Fields) {
						t.Fatalf("%s: the values %q are not one for each of %q", e.Rule, values, x.Fields)
					}
					for i, field := range x.Fields {
						if x.Comps[i] != "=" && x.Comps[i] != "startswith" {
							t.Errorf("%s: %s is compared by %q", e.Rule, field, x.Comps[i])
						}
						narrow = narrow || c.fields[field] == values[i]
					}
				}
				if !narrow {
					t.Errorf("%s: the exception %+v is for more than Riposte", e.Rule, x)
				}
			}
			slices.Sort(excepted)
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, excepted); diff != "" {
				t.Errorf("what Riposte does and a rule reports, and what is excepted (-want +got):\n%s", diff)
			}
		})
	}
}

// reported are the rules that some function's permissions could make report it.
func reported(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	for _, name := range functions(t) {
		b, err := os.ReadFile(filepath.Join(root, "functions", name, "rbac.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(b), "\n---") {
			var role rbacv1.ClusterRole // A Role has the same rules.
			if err := yaml.Unmarshal([]byte(document), &role); err != nil {
				t.Fatal(err)
			}
			for _, granted := range role.Rules {
				for rule, what := range auditRules() {
					if what.reports(granted) {
						found[rule] = true
					}
				}
			}
		}
	}
	return slices.Collect(maps.Keys(found))
}
