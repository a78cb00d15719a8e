package triggers_test

import (
	"bufio"
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"go.uber.org/zap"
	"knative.dev/eventing/pkg/eventfilter"
	"knative.dev/eventing/pkg/eventfilter/subscriptionsapi"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/triggers"
)

// sample is one request and whether it must fire a trigger.
type sample struct {
	Capture  string `json:"capture"`
	Outcome  string `json:"outcome"`
	Rule     string `json:"rule"`
	Priority string `json:"priority"`
	Source   string `json:"source"`
	Type     string `json:"type"`
}

func (s sample) name() string {
	parts := []string{s.Capture, s.Outcome, s.Type, s.Source, s.Priority, s.Rule}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ", ")
}

// event is the sample as a Broker gets it: the bytes of the request, through the
// SDK's HTTP binding.
func (s sample) event(t *testing.T) event.Event {
	t.Helper()
	file := filepath.Join("testdata", "outcomes", s.Outcome+".http")
	if s.Capture != "" {
		file = filepath.Join("..", "test", "captures", s.Capture, "cloudevents.http")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	e := parse(t, raw)
	for _, change := range []struct{ header, field, from, to string }{
		{"Ce-Rule: ", `"rule":`, extension(e, "rule"), s.Rule},
		{"Ce-Priority: ", `"priority":`, extension(e, "priority"), s.Priority},
		{"Ce-Eventsource: ", `"source":`, extension(e, "eventsource"), s.Source},
		{"Ce-Type: ", "", e.Type(), s.Type},
	} {
		if change.to == "" {
			continue
		}
		raw = replace(t, raw, change.header+change.from+"\r\n", change.header+change.to+"\r\n")
		if change.field != "" {
			raw = replace(t, raw, change.field+`"`+change.from+`"`, change.field+`"`+change.to+`"`)
		}
	}
	return parse(t, raw)
}

func extension(e event.Event, name string) string {
	value, _ := e.Extensions()[name].(string)
	return value
}

func replace(t *testing.T, raw []byte, from, to string) []byte {
	t.Helper()
	if n := bytes.Count(raw, []byte(from)); n != 1 {
		t.Fatalf("%q stands %d times in the request, want once", from, n)
	}
	return bytes.Replace(raw, []byte(from), []byte(to), 1)
}

// parse reads a request as a server does. Its Content-Length is made right first,
// since replacements change it.
func parse(tb testing.TB, raw []byte) event.Event {
	tb.Helper()
	head, body, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "Content-Length: ") {
			lines[i] = "Content-Length: " + strconv.Itoa(len(body))
		}
	}
	whole := strings.Join(lines, "\r\n") + "\r\n\r\n" + string(body)
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(whole)))
	if err != nil {
		tb.Fatal(err)
	}
	e, err := cehttp.NewEventFromHTTPRequest(request)
	if err != nil {
		tb.Fatal(err)
	}
	return *e
}

func shipped(t *testing.T) *triggers.Set {
	t.Helper()
	set, err := triggers.LoadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// readSamples reads the files of samples/, by the trigger they are named for.
//
// A sample is one of the requests in test/captures, as Falcosidekick sent it, or an outcome in testdata/outcomes,
// as a function answered. Where there is no capture of a rule, the rule, the priority or the source of another
// is replaced in its headers and in its body.
func readSamples(t *testing.T) map[string]samples {
	t.Helper()
	files, err := filepath.Glob("samples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]samples{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var s samples
		if err := yaml.UnmarshalStrict(raw, &s); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".yaml")] = s
	}
	return all
}

type samples struct {
	Fires  []sample `json:"fires"`
	Silent []sample `json:"silent"`
}

func TestSamples(t *testing.T) {
	samples := readSamples(t)
	set := shipped(t)
	byName := map[string]*triggers.Trigger{}
	for _, trigger := range set.Triggers() {
		byName[trigger.Name] = trigger
		if s := samples[trigger.Name]; len(s.Fires) == 0 || len(s.Silent) == 0 {
			t.Errorf("trigger %s needs a sample that fires it and one that does not", trigger.Name)
		}
	}
	for name, s := range samples {
		if byName[name] == nil {
			t.Errorf("there are samples for trigger %s, which does not exist", name)
			continue
		}
		for want, list := range map[bool][]sample{true: s.Fires, false: s.Silent} {
			for _, sample := range list {
				t.Run(name+"/"+sample.name(), func(t *testing.T) {
					e := sample.event(t)
					if got := decision(t, set, e, name); got.Matched != want || (got.Reason == "") != want {
						t.Errorf("matched %v (%s), want %v", got.Matched, got.Reason, want)
					}
					if got := knative(t, byName[name], e); got != want {
						t.Errorf("Knative's broker filter says %v, want %v", got, want)
					}
				})
			}
		}
	}
}

func decision(t *testing.T, set *triggers.Set, e event.Event, name string) triggers.Decision {
	t.Helper()
	for _, d := range set.Match(t.Context(), e) {
		if d.Trigger == name {
			return d
		}
	}
	t.Fatalf("no decision of trigger %s", name)
	return triggers.Decision{}
}

// knative evaluates the manifest as Knative's broker-filter does. Its filters are
// not cleaned up: that panics while they reorder themselves.
func knative(t *testing.T, trigger *triggers.Trigger, e event.Event) bool {
	t.Helper()
	filter := subscriptionsapi.CreateSubscriptionsAPIFilters(zap.NewNop(), trigger.Manifest.Spec.Filters)
	return filter.Filter(t.Context(), e) != eventfilter.FailFilter
}

// Every capture decides the same here and in Knative's broker-filter.
func TestMatchAgreesWithKnative(t *testing.T) {
	set := shipped(t)
	files, err := filepath.Glob("../test/captures/*/*cloudevents.http")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d captures: %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e := parse(t, raw)
		for i, d := range set.Match(t.Context(), e) {
			if want := knative(t, set.Triggers()[i], e); d.Matched != want {
				t.Errorf("%s, trigger %s: matched %v, Knative says %v", file, d.Trigger, d.Matched, want)
			}
		}
	}
}

// Every response is called by a trigger, and every trigger calls a function. What is no response, such as the router, is
// called by those who send alerts.
func TestFunctionsHaveTriggers(t *testing.T) {
	entries, err := os.ReadDir("../functions")
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() {
			folders = append(folders, entry.Name())
		}
	}
	called := shipped(t).Functions()
	for _, name := range folders {
		handler, err := os.ReadFile(filepath.Join("../functions", name, "handler.go"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(handler, []byte("serve.Define(")) && !slices.Contains(called, name) {
			t.Errorf("no trigger calls the function %s", name)
		}
	}
	for _, name := range called {
		if !slices.Contains(folders, name) {
			t.Errorf("a trigger calls %s, for which there is no folder in functions/", name)
		}
	}
}

// A shipped trigger tries again with pauses and keeps what cannot be delivered.
func TestShippedDelivery(t *testing.T) {
	for _, trigger := range shipped(t).Triggers() {
		d := trigger.Manifest.Spec.Delivery
		if d == nil || d.DeadLetterSink == nil || d.Retry == nil || *d.Retry == 0 || d.BackoffPolicy == nil ||
			*d.BackoffPolicy != "exponential" || d.Timeout == nil {
			t.Errorf("trigger %s needs retries, exponential back-off, a time-out and a dead letter of its own", trigger.Name)
		}
		if trigger.Manifest.Labels["eventing.knative.dev/broker"] != trigger.Broker || trigger.Namespace != "riposte" {
			t.Errorf("trigger %s needs the namespace riposte and its broker's label", trigger.Name)
		}
	}
}

func TestReasons(t *testing.T) {
	set := shipped(t)
	for name, tc := range map[string]struct {
		sample  sample
		trigger string
		want    string
	}{
		"another rule": {
			sample{Capture: "01-terminal-shell-k8s-default"},
			"delete-malware",
			`rule is "Terminal shell in container", which is not among the 5 it names`,
		},
		"another source": {
			sample{Capture: "12-cloudtrail-console-login-no-mfa"},
			"delete-malware",
			`eventsource is "aws_cloudtrail" and does not start with "syscall"`,
		},
		"an outcome": {
			sample{Outcome: "delete-pod-applied"},
			"delete-malware",
			`type is "dev.riposte.response.v1", which is not among the 2 it names`,
		},
		"left out": {
			sample{Outcome: "slack-applied"},
			"tell-outcomes",
			`response is "slack", which is left out`,
		},
		"an alert where outcomes are taken": {
			sample{Capture: "03-drop-and-execute-critical"},
			"tell-outcomes",
			`type is "falco.rule.output.v1", not "dev.riposte.response.v1"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decision(t, set, tc.sample.event(t), tc.trigger).Reason; got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDialects(t *testing.T) {
	set, err := triggers.Load(os.DirFS("testdata/good"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		sample sample
		want   []string
	}{
		"a shell":                {sample{Capture: "01-terminal-shell-k8s-default"}, []string{"exact", "presence"}},
		"a critical":             {sample{Capture: "03-drop-and-execute-critical"}, []string{"legacy", "nested", "presence"}},
		"without a hostname":     {sample{Capture: "43-old-falco-no-hostname-tags-source"}, []string{"exact"}},
		"the API":                {sample{Capture: "06-contact-k8s-api"}, []string{"nested", "presence"}},
		"the API, at debug":      {sample{Capture: "06-contact-k8s-api", Priority: "Debug"}, []string{"presence"}},
		"an outcome":             {sample{Outcome: "delete-pod-applied"}, []string{"outcomes"}},
		"an outcome of no worth": {sample{Outcome: "label-skipped"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, d := range set.Match(t.Context(), tc.sample.event(t)) {
				if d.Matched {
					got = append(got, d.Trigger)
				} else if d.Reason == "" {
					t.Errorf("trigger %s gives no reason", d.Trigger)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("matched %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRouterAttributes(t *testing.T) {
	set, err := triggers.Load(os.DirFS("testdata/good"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		attributes map[string]string
		want       bool
	}{
		"all that it names": {map[string]string{"k8snamespace": "payments", "tags": "a,network,b", "ruleslug": "x"}, true},
		"another namespace": {map[string]string{"k8snamespace": "shop", "tags": "network", "ruleslug": "x"}, false},
		"no namespace":      {map[string]string{"tags": "network", "ruleslug": "x"}, false},
		"no tags":           {map[string]string{"k8snamespace": "payments", "ruleslug": "x"}, false},
		"what is left out":  {map[string]string{"k8snamespace": "payments", "tags": "network", "ruleslug": "terminal_shell_in_container"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := sample{Capture: "06-contact-k8s-api", Type: triggers.TypeAlert}.event(t)
			for name, value := range tc.attributes {
				e.SetExtension(name, value)
			}
			got := slices.ContainsFunc(set.Select(t.Context(), e), func(t *triggers.Trigger) bool { return t.Name == "router" })
			if d := decision(t, set, e, "router"); got != tc.want || d.Matched != tc.want {
				t.Errorf("selected %v, matched %v (%s), want %v", got, d.Matched, d.Reason, tc.want)
			}
		})
	}
}

func TestSubscribers(t *testing.T) {
	set, err := triggers.Load(os.DirFS("testdata/good"))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, trigger := range set.Triggers() {
		got[trigger.Name] = trigger.Function + " " + trigger.Subscriber.String()
	}
	for name, want := range map[string]string{
		"exact":    "exact http://exact.riposte.svc.cluster.local/",
		"legacy":   "127.0.0.1:9001 http://127.0.0.1:9001/",
		"nested":   "nested http://nested.other.svc.cluster.local",
		"presence": "presence http://presence.riposte.svc.cluster.local",
	} {
		if got[name] != want {
			t.Errorf("trigger %s: got %q, want %q", name, got[name], want)
		}
	}
}

// Many events at once get the same answers as one.
func TestMatchConcurrently(t *testing.T) {
	set := shipped(t)
	e := sample{Capture: "03-drop-and-execute-critical"}.event(t)
	want := set.Match(t.Context(), e)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 200 {
				if got := set.Match(t.Context(), e); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
					return
				}
			}
		})
	}
	group.Wait()
}

// What acts on the surroundings of a pod finds them through the pod: a rule that has the pod deleted as well would
// let the faster function decide.
func TestNoRuleDeletesThePodThatOthersNeed(t *testing.T) {
	byRule := map[string][]string{}
	for _, trigger := range shipped(t).Triggers() {
		for _, filter := range trigger.Manifest.Spec.Filters {
			for _, one := range filter.Any {
				if rule := one.Exact["rule"]; rule != "" {
					byRule[rule] = append(byRule[rule], trigger.Function)
				}
			}
		}
	}
	if len(byRule["Drop and execute new binary in container"]) == 0 {
		t.Fatal("no rule was found in the manifests")
	}
	for rule, functions := range byRule {
		if slices.Contains(functions, "delete-pod") && (slices.Contains(functions, "taint") || slices.Contains(functions, "isolate")) {
			t.Errorf("%q goes to %v", rule, functions)
		}
	}
}
