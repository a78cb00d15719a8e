package layout_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/triggers"
)

// attributes are those of an event, by their names.
type attributes map[string]string

// manifest is func.yaml. A field that is not here is an error, as it is in the schema of func.
// https://github.com/knative/func/blob/v0.50.1/schema/func_yaml-schema.json
type manifest struct {
	SpecVersion string    `json:"specVersion"`
	Name        string    `json:"name"`
	Runtime     string    `json:"runtime"`
	Created     time.Time `json:"created"`
	Invoke      string    `json:"invoke"`
	Build       struct {
		Builder string `json:"builder"`
	} `json:"build"`
	Run struct {
		Envs []struct {
			Name  *string `json:"name"`
			Value *string `json:"value"`
		} `json:"envs"`
	} `json:"run"`
	Deploy struct {
		Namespace          string `json:"namespace"`
		ServiceAccountName string `json:"serviceAccountName"`
		HealthEndpoints    struct {
			Liveness  string `json:"liveness"`
			Readiness string `json:"readiness"`
		} `json:"healthEndpoints"`
		Labels []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"labels"`
		Options struct {
			Scale struct {
				Min    *int     `json:"min"`
				Max    int      `json:"max"`
				Metric string   `json:"metric"`
				Target *float64 `json:"target"`
			} `json:"scale"`
			Resources struct {
				Requests map[string]string `json:"requests"`
				Limits   struct {
					CPU         string `json:"cpu"`
					Memory      string `json:"memory"`
					Concurrency int    `json:"concurrency"`
				} `json:"limits"`
			} `json:"resources"`
		} `json:"options"`
		Subscriptions []struct {
			Source  string     `json:"source"`
			Filters attributes `json:"filters"`
		} `json:"subscriptions"`
	} `json:"deploy"`
}

// manifests are the functions' func.yaml, by their names.
func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	all := map[string]manifest{}
	for _, name := range functions(t) {
		var m manifest
		if err := yaml.UnmarshalStrict([]byte(read(t, "functions", name, "func.yaml")), &m); err != nil {
			t.Errorf("functions/%s/func.yaml: %v", name, err)
		}
		all[name] = m
	}
	return all
}

func TestFuncYAML(t *testing.T) {
	for name, m := range manifests(t) {
		t.Run(name, func(t *testing.T) {
			for _, p := range problems(name, m) {
				t.Errorf("func.yaml: %s", p)
			}
			dry := slices.ContainsFunc(m.Run.Envs, func(e struct {
				Name  *string `json:"name"`
				Value *string `json:"value"`
			},
			) bool {
				return e.Name != nil && *e.Name == "DRY_RUN" && e.Value != nil && *e.Value == "true"
			})
			if acts := strings.Contains(help(t, name), "  DRY_RUN "); acts && !dry {
				t.Error("func.yaml does not set DRY_RUN to true: what is shipped starts in dry run")
			}
		})
	}
}

var (
	funcName   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
	ourName    = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	aWhole     = regexp.MustCompile(`^\{\{ (secret|configMap):[a-z0-9]([-a-z0-9]*[a-z0-9])? \}\}$`)
	oneKey     = regexp.MustCompile(`^\{\{ (secret|configMap):riposte-[a-z0-9-]+:[-._a-zA-Z0-9]+ \}\}$`)
	visibility = "networking.knative.dev/visibility"
)

// problems are what func, Knative Serving or we have against a func.yaml.
func problems(name string, m manifest) (all []string) {
	complain := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	want := func(field string, got, want any) {
		if got != want {
			complain("%s is %v: want %v", field, got, want)
		}
	}
	if !funcName.MatchString(m.Name) {
		complain("name is %q: want a DNS label", m.Name)
	}
	want("name", m.Name, name)
	want("specVersion, the last one that func 0.50 migrates to,", m.SpecVersion, "0.36.0")
	want("created is a time", !m.Created.IsZero(), true)
	want("runtime", m.Runtime, "go")
	want("invoke", m.Invoke, "http")
	want("build.builder", m.Build.Builder, "host")
	want("deploy.namespace", m.Deploy.Namespace, "riposte")
	want("deploy.serviceAccountName", m.Deploy.ServiceAccountName, "riposte-"+name)
	want("deploy.healthEndpoints.liveness", m.Deploy.HealthEndpoints.Liveness, "/healthz")
	want("deploy.healthEndpoints.readiness", m.Deploy.HealthEndpoints.Readiness, "/readyz")

	seen := map[string]string{}
	for i, e := range m.Run.Envs {
		switch {
		case e.Value == nil:
			complain("run.envs[%d] has no value", i)
		case e.Name == nil && !aWhole.MatchString(*e.Value):
			complain("run.envs[%d] has no name and the value %q: want {{ configMap:NAME }} or {{ secret:NAME }}", i, *e.Value)
		case e.Name == nil:
			seen[*e.Value] = ""
		case !ourName.MatchString(*e.Name):
			complain("run.envs[%d] has the name %q: want capitals, digits and _", i, *e.Name)
		case strings.Contains(*e.Value, "{{") && !oneKey.MatchString(*e.Value):
			// {{ env:NAME }} is func's too: what is deployed would depend on who deploys it.
			complain("run.envs[%d] %s is %q: want a text, {{ secret:riposte-...:KEY }} or {{ configMap:riposte-...:KEY }}", i, *e.Name, *e.Value)
		default:
			if _, twice := seen[*e.Name]; twice {
				complain("run.envs[%d] is %s once more", i, *e.Name)
			}
			seen[*e.Name] = *e.Value
		}
	}
	if _, ok := seen["{{ configMap:riposte-settings }}"]; !ok {
		complain("run.envs is without {{ configMap:riposte-settings }}")
	}

	labels := map[string]string{}
	for i, l := range m.Deploy.Labels {
		for _, p := range slices.Concat(validation.IsQualifiedName(l.Key), validation.IsValidLabelValue(l.Value)) {
			complain("deploy.labels[%d] %s: %s: %s", i, l.Key, l.Value, p)
		}
		labels[l.Key] = l.Value
	}
	// NetworkPolicies and whoever looks for the pods select by the first two.
	want("label app.kubernetes.io/name", labels["app.kubernetes.io/name"], name)
	want("label app.kubernetes.io/part-of", labels["app.kubernetes.io/part-of"], "riposte")
	want("label "+visibility, labels[visibility], "cluster-local")

	o := m.Deploy.Options
	if o.Scale.Min == nil || *o.Scale.Min < 0 || o.Scale.Max < 1 || *o.Scale.Min > o.Scale.Max {
		complain("scale is from %v to %d: want 0 or more, and at least 1 to which it is scaled", o.Scale.Min, o.Scale.Max)
	}
	if o.Scale.Metric != "concurrency" && o.Scale.Metric != "rps" {
		complain("scale.metric is %q: want concurrency or rps", o.Scale.Metric)
	}
	if limit := o.Resources.Limits.Concurrency; limit < 1 || o.Scale.Target == nil || *o.Scale.Target < 0.01 || *o.Scale.Target > float64(limit) {
		complain("scale.target is %v and limits.concurrency %d: want a target below a limit", o.Scale.Target, limit)
	}
	quantity := func(field, text string) resource.Quantity {
		q, err := resource.ParseQuantity(text)
		if err != nil || q.Sign() <= 0 {
			complain("%s is %q: want a quantity", field, text)
		}
		return q
	}
	cpu, memory := quantity("limits.cpu", o.Resources.Limits.CPU), quantity("limits.memory", o.Resources.Limits.Memory)
	if cpu.Cmp(resource.MustParse("200m")) < 0 {
		complain("limits.cpu is %s: want 200m or more, or a start takes several periods of the scheduler", cpu.String())
	}
	if request := quantity("requests.cpu", o.Resources.Requests["cpu"]); request.Cmp(cpu) > 0 {
		complain("requests.cpu is %s, above the limit %s", request.String(), cpu.String())
	}
	if request := quantity("requests.memory", o.Resources.Requests["memory"]); request.Cmp(memory) > 0 {
		complain("requests.memory is %s, above the limit %s", request.String(), memory.String())
	}
	if own := quantity("GOMEMLIMIT", strings.TrimSuffix(seen["GOMEMLIMIT"], "B")); own.Cmp(memory) >= 0 {
		complain("GOMEMLIMIT is %s: want less than limits.memory, %s", seen["GOMEMLIMIT"], memory.String())
	}
	return all
}

// What is checked above is found where it is wrong.
func TestProblemsOfFuncYAML(t *testing.T) {
	good := read(t, "functions", "router", "func.yaml")
	for name, edit := range map[string][2]string{
		"a builder that needs an image":       {"builder: host", "builder: pack"},
		"an invocation that is not ours":      {"invoke: http", "invoke: cloudevent"},
		"no time of creation":                 {"created: 2026-11-21T00:00:00Z", "created: 0001-01-01T00:00:00Z"},
		"another account":                     {"serviceAccountName: riposte-router", "serviceAccountName: riposte-slack"},
		"a probe that func-go answers itself": {"liveness: /healthz", "liveness: /health/liveness"},
		"a whole ConfigMap with a name":       {`- value: "{{ configMap:riposte-settings }}"`, `- {name: ALL, value: "{{ configMap:riposte-settings }}"}`},
		"a key without a name":                {"name: AUTH_TOKEN\n      value", "value"},
		"a name that no shell takes":          {"name: K_SINK", "name: k sink"},
		"a name without a value":              {"name: RESPONSE_TIMEOUT\n      value: 25s", "name: RESPONSE_TIMEOUT"},
		"a name twice":                        {"name: RESPONSE_TIMEOUT", "name: K_SINK"},
		"a value of who deploys":              {"{{ secret:riposte-router:token }}", "{{ env:TOKEN }}"},
		"somebody's Secret":                   {"{{ secret:riposte-router:token }}", "{{ secret:admin:token }}"},
		"a label without its name":            {"key: app.kubernetes.io/name", "key: name"},
		"a label's key that is none":          {"key: app.kubernetes.io/part-of", "key: app kubernetes"},
		"an address outside of the cluster":   {"value: cluster-local", "value: public"},
		"a scale that ends below its begin":   {"max: 5", "max: 0"},
		"a metric that there is not":          {"metric: concurrency", "metric: cpu"},
		"a target above the limit":            {"target: 100", "target: 501"},
		"no limit of concurrency":             {"concurrency: 500", "concurrency: 0"},
		"a request that is no quantity":       {"cpu: 50m", "cpu: 50 m"},
		"a request above the limit":           {"memory: 96Mi", "memory: 96Gi"},
		"a processor that is too slow":        {`cpu: "1"`, "cpu: 100m"},
		"a limit that Go does not know of":    {"value: 220MiB", "value: 1GiB"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Count(good, edit[0]) == 0 {
				t.Fatalf("functions/router/func.yaml has no %q", edit[0])
			}
			var m manifest
			if err := yaml.UnmarshalStrict([]byte(strings.Replace(good, edit[0], edit[1], 1)), &m); err != nil {
				t.Fatal(err)
			}
			if got := problems("router", m); len(got) == 0 {
				t.Errorf("%q in place of %q is no problem", edit[1], edit[0])
			}
		})
	}
}

// takes is whether func's Trigger of a subscription lets the event through: all attributes equal.
func (want attributes) takes(e attributes) bool {
	for name, value := range want {
		if e[name] != value {
			return false
		}
	}
	return true
}

func (want attributes) event() event.Event {
	e := event.New()
	e.SetID("1")
	e.SetSource("falco.org")
	for name, value := range want {
		if name == "type" {
			e.SetType(value)
		} else {
			e.SetExtension(name, value)
		}
	}
	return e
}

// Values that no subscription and no trigger names, for what is not named.
const (
	otherRule     = "A rule that no trigger names"
	otherResponse = "a-function-of-your-own"
)

// responses are the functions of whose outcomes slack tells by its subscriptions. One that is added need not be here: a
// function's change touches its own folder.
func responses() []string {
	return []string{"collect-evidence", "delete-pod", "isolate", "label", "lambda", "release", "slack", "taint", otherResponse}
}

// events are what can come by the Broker, as far as triggers and subscriptions look at it: each rule that a trigger names with
// every other attribute.
func events(t *testing.T) []attributes {
	t.Helper()
	rules := map[string]bool{otherRule: true}
	files, err := filepath.Glob(filepath.Join(root, "triggers", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`exact: \{rule: ([^}]+)\}`).FindAllStringSubmatch(string(content), -1) {
			rules[m[1]] = true
		}
	}
	if len(rules) < 20 {
		t.Fatalf("the triggers name %d rules: they are not read", len(rules))
	}
	all := []attributes{
		{"type": "dev.knative.sources.ping"}, {"type": "dev.riposte.release.v1"}, {"type": "com.example.other"},
	}
	for rule := range rules {
		for _, source := range []string{"syscall", "syscalls", "k8s_audit", "aws_cloudtrail", "internal"} {
			for _, priority := range []string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Debug"} {
				for _, kind := range []string{"falco.rule.output.v1", "dev.riposte.alert.v1"} {
					all = append(all, attributes{"type": kind, "rule": rule, "eventsource": source, "priority": priority})
				}
			}
			for _, response := range responses() {
				for _, outcome := range []string{"applied", "unchanged", "skipped", "refused", "dryrun", "failed"} {
					e := attributes{
						"type": "dev.riposte.response.v1", "rule": rule, "eventsource": source, "priority": "Critical",
						"response": response, "outcome": outcome,
					}
					all = append(all, e)
					if outcome == "refused" { // No other outcome has it.
						again := maps.Clone(e)
						again["repeat"] = "true"
						all = append(all, again)
					}
				}
			}
		}
	}
	return all
}

// sayable is whether equality can say what a trigger says of the event. What it cannot is in docs/knative-functions.md: the
// eventsource of old Falco, which begins like today's; refusals, of which only the first is told; and the outcomes of all
// functions but one.
func sayable(e attributes) bool {
	return e["eventsource"] != "syscalls" && e["outcome"] != "refused" && e["response"] != otherResponse
}

// func makes a Trigger of each subscription, so `func deploy` alone has to bring about what triggers/ does: never more, and no
// less than equality can say.
func TestSubscriptionsSayWhatTriggersSay(t *testing.T) {
	set, err := triggers.LoadDir(filepath.Join(root, "triggers"))
	if err != nil {
		t.Fatal(err)
	}
	functions, events := manifests(t), events(t)
	called := make([]map[string]bool, len(events)) // by the triggers
	for i, e := range events {
		called[i] = map[string]bool{}
		for _, trigger := range set.Select(t.Context(), e.event()) {
			called[i][trigger.Function] = true
		}
	}
	for name, m := range functions {
		t.Run(name, func(t *testing.T) {
			taken := make([]int, len(m.Deploy.Subscriptions))
			more, less := 0, 0
			for i, e := range events {
				some := false
				for j, s := range m.Deploy.Subscriptions {
					if s.Filters.takes(e) {
						some = true
						taken[j]++
					}
				}
				switch {
				case some && !called[i][name]:
					if more++; more == 1 {
						t.Errorf("subscriptions let %v through, and no trigger does", e)
					}
				case !some && called[i][name] && sayable(e):
					if less++; less == 1 {
						t.Errorf("no subscription lets %v through, and a trigger does: add\n    - {source: default, filters: %v}", e, flow(e))
					}
				}
			}
			if more > 1 || less > 1 {
				t.Errorf("there are %d events too many and %d too few", more, less)
			}
			for j, s := range m.Deploy.Subscriptions {
				if s.Source != "default" {
					t.Errorf("subscription %v is to the Broker %q: want default, as the triggers", s.Filters, s.Source)
				}
				if taken[j] == 0 {
					t.Errorf("subscription %v lets no event through that there is", s.Filters)
				}
				for _, other := range m.Deploy.Subscriptions[:j] {
					if maps.Equal(s.Filters, other.Filters) {
						t.Errorf("subscription %v is there twice", s.Filters)
					}
				}
			}
		})
	}
}

// flow is the event's attributes as a subscription would have them.
func flow(e attributes) string {
	parts := make([]string, 0, len(e))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		parts = append(parts, name+": "+e[name])
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// What Falcosidekick really sent goes to the same functions by either.
func TestSubscriptionsOfCapturedAlerts(t *testing.T) {
	set, err := triggers.LoadDir(filepath.Join(root, "triggers"))
	if err != nil {
		t.Fatal(err)
	}
	captures, err := filepath.Glob(filepath.Join(root, "test", "captures", "*", "cloudevents.http"))
	if err != nil || len(captures) < 20 {
		t.Fatalf("found %d captures: %v", len(captures), err)
	}
	header := regexp.MustCompile(`(?im)^ce-(type|rule|eventsource|priority): (.*?)\r?$`)
	functions := manifests(t)
	for _, file := range captures {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(strings.ReplaceAll(string(content), "\r\n", "\n"), "\n\n")
		e := attributes{}
		for _, m := range header.FindAllStringSubmatch(head, -1) {
			e[strings.ToLower(m[1])] = m[2]
		}
		if e["eventsource"] == "syscalls" {
			continue
		}
		var want, got []string
		for _, trigger := range set.Select(t.Context(), e.event()) {
			want = append(want, trigger.Function)
		}
		for name, m := range functions {
			for _, s := range m.Deploy.Subscriptions {
				if s.Filters.takes(e) {
					got = append(got, name)
				}
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v goes to %v by subscriptions, want %v", filepath.Base(filepath.Dir(file)), e, got, want)
		}
	}
}
