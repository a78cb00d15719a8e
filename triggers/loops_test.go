package triggers

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cloudevents/sdk-go/v2/event"
)

// functions are all there are, also those that no shipped Trigger names.
func functions(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("..", "functions"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != "router" { // It answers nothing of its own.
			names = append(names, e.Name())
		}
	}
	if len(names) < 6 {
		t.Fatalf("functions/ has %v", names)
	}
	return names
}

// Whichever function answers, its outcome ends at functions whose outcomes nobody takes, long before the hops run out.
func TestShippedTriggersMakeNoLoop(t *testing.T) {
	set, err := LoadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	next := map[string][]string{}
	for _, from := range functions(t) {
		for _, trigger := range set.Triggers() {
			if trigger.takesOutcomeOf(t.Context(), from) {
				next[from] = append(next[from], trigger.Function)
			}
		}
	}
	if !slices.Contains(next["delete-pod"], "slack") {
		t.Errorf("outcomes of delete-pod reach %v: the check sees nothing", next["delete-pod"])
	}
	var follow func(way []string) int
	follow = func(way []string) int {
		longest := len(way)
		for _, to := range next[way[len(way)-1]] {
			if slices.Contains(way, to) {
				t.Errorf("an outcome of %s comes back: %s", to, strings.Join(append(way, to), " -> "))
				continue
			}
			longest = max(longest, follow(append(slices.Clone(way), to)))
		}
		return longest
	}
	for _, from := range functions(t) {
		if hops := follow([]string{from}); hops > 4 {
			t.Errorf("outcomes of %s are answered %d times over: want 4 or fewer, half of what any function takes", from, hops)
		}
	}
}

// What Riposte does can be what Falco finds next. By the shipped Triggers such an alert reaches nobody who acts: those
// about the API server's audit log tell people at most.
func TestShippedTriggersActOnNoAuditAlert(t *testing.T) {
	set, err := LoadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	tellers := []string{"slack"}
	rules := []string{
		"Attach/Exec Pod", "EphemeralContainers Created", "port-forward", "Create Privileged Pod", "Create HostNetwork Pod", "K8s Deployment Deleted",
		"K8s ConfigMap Created", "Create/Modify Configmap With Private Credentials", "K8s Secret Get Successfully", "System ClusterRole Modified/Deleted",
		"K8s RoleBinding Deleted", "K8s ClusterRoleBinding Deleted", "All K8s Audit Events",
	}
	for _, trigger := range set.Triggers() { // A rule of another source may have the same name.
		choices := map[string][]string{}
		collect(trigger.Manifest.Spec.Filters, choices, newSet())
		rules = append(rules, choices["rule"]...)
	}
	slices.Sort(rules)
	told := 0
	for _, rule := range slices.Compact(rules) {
		for _, priority := range vocabulary("priority") {
			for _, kind := range []string{TypeFalco, TypeAlert} {
				e := event.New()
				e.SetID("a")
				e.SetType(kind)
				e.SetSource("https://falco.org")
				for name, value := range map[string]string{
					"rule": rule, "priority": priority, "eventsource": "k8s_audit", "hostname": "node-1", "k8snamespace": "shop", "k8spod": "web-1",
					"ruleslug": slugOf(rule), "tags": "k8s",
				} {
					e.SetExtension(name, value)
				}
				for _, trigger := range set.Select(t.Context(), e) {
					if told++; !slices.Contains(tellers, trigger.Function) && rule != "Riposte canary" {
						t.Errorf("%q, %s, of the audit log reaches %s by the Trigger %s", rule, priority, trigger.Function, trigger.Name)
					}
				}
			}
		}
	}
	if told == 0 {
		t.Error("no audit alert reaches anybody: the check sees nothing")
	}
}

// The check finds what goes around whatever the filters leave out, and lets be what cannot.
func TestLoadFindsLoops(t *testing.T) {
	trigger := func(function string, filters ...string) string {
		return fmt.Sprintf("apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata: {name: to-%s, namespace: riposte}\nspec:\n  broker: default\n"+
			"  filters:\n    - exact: {type: %s}\n%s  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: %s}}\n",
			function, TypeOutcome, strings.Join(filters, ""), function)
	}
	for name, c := range map[string]struct {
		manifests []string
		loop      bool
	}{
		"its own outcomes":                      {[]string{trigger("a")}, true},
		"all but its own":                       {[]string{trigger("a", "    - not: {exact: {response: a}}\n")}, false},
		"each other's":                          {[]string{trigger("a", "    - exact: {response: b}\n"), trigger("b", "    - exact: {response: a}\n")}, true},
		"all but repeats":                       {[]string{trigger("a", "    - cesql: NOT EXISTS repeat OR repeat != 'true'\n")}, true},
		"repeats alone":                         {[]string{trigger("a", "    - cesql: EXISTS repeat AND repeat = 'true'\n")}, true},
		"all that are no repeats, in cesql":     {[]string{trigger("a", "    - cesql: NOT EXISTS repeat\n")}, true},
		"all but those with a word of somebody": {[]string{trigger("a", "    - cesql: NOT EXISTS team OR team != 'shop'\n")}, true},
		"all but those of a namespace":          {[]string{trigger("a", "    - cesql: NOT EXISTS k8snamespace OR k8snamespace != 'shop'\n")}, true},
		"all but applied and refused":           {[]string{trigger("a", "    - not: {exact: {outcome: applied}}\n", "    - not: {exact: {outcome: refused}}\n")}, true},
		"all but those of a rule":               {[]string{trigger("a", "    - not: {exact: {rule: Some Rule}}\n")}, true},
		"the first alone":                       {[]string{trigger("a", "    - exact: {hops: '1'}\n")}, false},
		"early ones alone":                      {[]string{trigger("a", "    - cesql: hops < 3\n")}, false},
		"late ones alone":                       {[]string{trigger("a", "    - cesql: hops > 2\n")}, true},
		"all but the first":                     {[]string{trigger("a", "    - not: {exact: {hops: '1'}}\n")}, true},
		"another's early ones":                  {[]string{trigger("a", "    - exact: {response: b}\n"), trigger("b", "    - exact: {response: a}\n", "    - cesql: hops < 3\n")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(fstest.MapFS{"all.yaml": {Data: []byte(strings.Join(c.manifests, "---\n"))}})
			if found := err != nil && strings.Contains(err.Error(), "would call"); found != c.loop {
				t.Errorf("a loop is found: %t, want %t: %v", found, c.loop, cmp.Or(err, fmt.Errorf("no error")))
			}
		})
	}
}
