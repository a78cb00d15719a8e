package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/deploy/local/standin"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// sent is the trace that the sender of an alert has begun.
const sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// observe passes on to a collector what comes to the street's own address, where Knative exports to.
func (s *street) observe(t *testing.T, collector string) {
	t.Helper()
	to, err := url.Parse(collector)
	if err != nil {
		t.Fatal(err)
	}
	build := func(house http.Handler) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.houses[s.address] = house
	}
	build(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, Transport: &http.Transport{DisableKeepAlives: true}})
	t.Cleanup(func() { build(accepts()) })
}

// named is the first span of a service with this name.
func named(spans []testkit.Span, service, name string) *testkit.Span {
	i := slices.IndexFunc(spans, func(s testkit.Span) bool { return s.Service == service && s.Name == name })
	if i < 0 {
		return nil
	}
	return &spans[i]
}

// above are the services of a span and of those it came from, up to one whose parent nobody has exported.
func above(spans []testkit.Span, s testkit.Span) (services []string, root string) {
	for {
		if !slices.Contains(services, s.Service) {
			services = append(services, s.Service)
		}
		i := slices.IndexFunc(spans, func(p testkit.Span) bool { return p.ID == s.Parent })
		if i < 0 {
			return services, s.Parent
		}
		s = spans[i]
	}
}

// tree is how spans hang together, for people.
func tree(spans []testkit.Span) string {
	known := map[string]bool{}
	for _, s := range spans {
		known[s.ID] = true
	}
	var b strings.Builder
	var write func(parent string, depth int)
	write = func(parent string, depth int) {
		for _, s := range spans {
			if s.Parent == parent {
				fmt.Fprintf(&b, "%s%s: %s (%s)\n", strings.Repeat("  ", depth), s.Service, s.Name, s.Ended.Sub(s.Began).Round(10*time.Microsecond))
				write(s.ID, depth+1)
			}
		}
	}
	for _, s := range spans {
		if !known[s.Parent] {
			known[s.Parent] = true
			fmt.Fprintf(&b, "under %q\n", s.Parent)
			write(s.Parent, 1)
		}
	}
	return b.String()
}

// expectOneTrace demands that an alert's way is one tree of spans under the sender's: through what brings events to
// functions, delete-pod, each of its requests to the API server, its outcome, and slack, which tells of that.
func expectOneTrace(t *testing.T, c *testkit.Collector, carrier string) {
	t.Helper()
	complete := func() error {
		spans := c.Spans()
		for _, want := range [][2]string{
			{"riposte-delete-pod", "get pods"},
			{"riposte-delete-pod", "get namespaces"},
			{"riposte-delete-pod", "get deployments"},
			{"riposte-delete-pod", "delete pods"},
			{"riposte-delete-pod", "create events"},
			{"riposte-delete-pod", "response delete-pod"},
			{"riposte-slack", "response slack"},
			{"riposte-slack", "POST 127.0.0.1"},
		} {
			if named(spans, want[0], want[1]) == nil {
				return fmt.Errorf("%s has no span %q", want[0], want[1])
			}
		}
		for _, s := range spans {
			if _, root := above(spans, s); root != sent[36:52] {
				return fmt.Errorf("%s: %s hangs under %q, want the sender's", s.Service, s.Name, root)
			}
		}
		return unless(slices.ContainsFunc(spans, func(s testkit.Span) bool { return s.Service == carrier }), "%s has no span", carrier)
	}
	testkit.Eventually(t, "one trace is exported", func(context.Context) error { return complete() })
	spans := c.Spans()
	t.Logf("\n%s", tree(spans))
	for _, s := range spans {
		if s.Trace != sent[3:35] {
			t.Errorf("%s: %s is of the trace %s", s.Service, s.Name, s.Trace)
		}
		for key, value := range s.Attributes {
			if strings.Contains(key+value, "stand-in") || strings.Contains(value, "eyJ") || strings.Contains(value, "/services/") {
				t.Errorf("%s: %s has %s=%s", s.Service, s.Name, key, value)
			}
		}
	}
	acted, told := named(spans, "riposte-delete-pod", "response delete-pod"), named(spans, "riposte-slack", "response slack")
	if services, _ := above(spans, *told); !slices.Contains(services, carrier) {
		t.Errorf("the outcome came by %v, want %s among them", services, carrier)
	}
	// A Broker brings the outcome by itself, the router on behalf of the function: its span is linked, or above.
	if services, _ := above(spans, *told); !slices.Contains(told.Links, acted.ID) && !slices.Contains(services, acted.Service) {
		t.Errorf("the outcome came by %v and is linked with %v: want delete-pod's span, %s", services, told.Links, acted.ID)
	}
	for key, want := range map[string]string{"riposte.outcome": "applied", "riposte.target.kind": "Pod", "riposte.rule": "Drop and execute new binary in container"} {
		if acted.Attributes[key] != want {
			t.Errorf("%s is %q, want %q", key, acted.Attributes[key], want)
		}
	}
	for _, s := range spans {
		if s.Service == "riposte-delete-pod" && s.Kind == "client" && (s.Parent != acted.ID || s.Attributes["http.response.status_code"] == "") {
			t.Errorf("the request %+v is no child of the response, or has no status", s)
		}
	}
}

// exporting are the settings of a function that exports to a collector soon.
func exporting(c *testkit.Collector, settings ...string) []string {
	return append(settings, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_BSP_SCHEDULE_DELAY=100", "OTEL_METRIC_EXPORT_INTERVAL=200")
}

// expectMetrics demands what a function exports beside its spans, by the names that are documented.
func expectMetrics(t *testing.T, c *testkit.Collector) {
	t.Helper()
	testkit.Eventually(t, "the metrics are exported", func(context.Context) error {
		got := c.Metric("riposte-delete-pod", "riposte_responses_total")
		return unless(len(got) == 1 && got[0].Value == 1, "riposte_responses_total is %v", got)
	})
	if got := c.Metric("riposte-delete-pod", "riposte_responses_total")[0].Labels; got["outcome"] != "applied" || got["response"] != "delete-pod" || len(got) != 3 {
		t.Errorf("the labels are %v", got)
	}
}

func TestTrace(t *testing.T) {
	k := start(t)
	outside, err := standin.Start(t.Context(), func(standin.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = outside.Close() })
	triggers := "---\n" + file(t, "triggers", "delete-malware.yaml") + "---\n" + file(t, "triggers", "tell-outcomes.yaml")

	t.Run("1 through Knative's Broker", func(t *testing.T) {
		c := testkit.NewCollector(t)
		k.street.observe(t, c.URL)
		p := &place{knative: k, journal: &journal{}, namespace: k.env.Namespace(t)}
		manifests := within(p.namespace, promptBroker+triggers)
		called, sinks := k.namedServices(t, manifests)
		for _, name := range sinks {
			k.street.build(t, p.namespace, name, p.of(accepts()))
		}
		for _, name := range called {
			k.runFunction(t, p.journal, p.namespace, name, exporting(c, settingsOf(t, k.env, outside, name)...)...)
		}
		k.declare(t, manifests)
		pod := k.env.Deploy(t, testkit.Deployment(p.namespace, "web", 1))[0]
		request := alert(t, pod)
		request.Header.Set("Traceparent", sent)
		p.post(t.Context(), t, request)
		expectOneTrace(t, c, "knative")
		expectMetrics(t, c)
	})

	t.Run("2 through the router", func(t *testing.T) {
		c := testkit.NewCollector(t)
		namespace := k.env.Namespace(t)
		addresses := map[string]string{}
		gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := strings.TrimPrefix(r.URL.Path, "/function/")
			lead(func() string { return addresses[name] }).ServeHTTP(w, r)
		}))
		t.Cleanup(gateway.Close)
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "triggers.yaml"), []byte(triggers), 0o600); err != nil {
			t.Fatal(err)
		}
		run := func(name string, settings ...string) string {
			p, err := functions.Start(t.Context(), functions.Spec{
				Name: name, Binary: functions.Binary(testkit.Root(t), name), Log: t.Output(), Env: append([]string{"LISTEN_ADDRESS=127.0.0.1:0"}, exporting(c, settings...)...),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Stop)
			return p.Status().Address
		}
		for _, name := range []string{"delete-pod", "slack"} {
			addresses[name] = run(name, settingsOf(t, k.env, outside, name)...)
		}
		router := run("router", "AUTH=off", "TRIGGERS="+folder, "FUNCTION_URL="+gateway.URL+"/function/{function}")
		pod := k.env.Deploy(t, testkit.Deployment(namespace, "web", 1))[0]
		request := alert(t, pod)
		request.Header.Set("Ce-Traceparent", sent)
		if status := send(t.Context(), t, "http://"+router, request); status != http.StatusNoContent {
			t.Fatalf("the router answered %d", status)
		}
		expectOneTrace(t, c, "riposte-router")
		expectMetrics(t, c)
	})
}
