package function

import (
	"context"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// bare are events without what led to them.
func bare(events []serve.Event) []response.Event {
	var out []response.Event
	for _, e := range events {
		out = append(out, e.Event)
	}
	return out
}

const (
	sent = "00-11111111111111111111111111111111-1111111111111111-01"
	// ofDeletePod is a filter that takes its outcomes alone.
	ofDeletePod = "    - exact: {response: delete-pod}\n"

	foreign = "00-33333333333333333333333333333333-3333333333333333-01"
)

// traced starts a router that exports to a collector, and gives a function that ends it and returns its spans by name.
func traced(t *testing.T, g *gateway, dir string, more ...string) (*started, func() map[string][]testkit.Span) {
	t.Helper()
	c := testkit.NewCollector(t)
	s := routing(t, g, dir, append(more, "OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)...)
	return s, func() map[string][]testkit.Span {
		t.Helper()
		stop(t, s)
		spans := map[string][]testkit.Span{}
		for _, span := range c.Spans() {
			spans[span.Name] = append(spans[span.Name], span)
		}
		if got := c.Metric("riposte-router", "riposte_router_events_total"); len(got) == 0 {
			t.Errorf("riposte_router_events_total is not exported, but %v", c.Names("riposte-router"))
		}
		return spans
	}
}

// stop ends a router, which exports what is pending.
func stop(t *testing.T, s *started) {
	t.Helper()
	stopper, ok := s.Function.(interface {
		Stop(ctx context.Context) error
	})
	if !ok {
		t.Fatal("the router cannot be stopped")
	}
	if err := stopper.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// parentOf is the traceparent of a span.
func parentOf(s testkit.Span) string { return "00-" + s.Trace + "-" + s.ID + "-01" }

func TestTraceGoesOn(t *testing.T) {
	tests := map[string]struct {
		header []string
		parent string
		links  int
	}{
		"an alert is the first of its trace":        {},
		"the header is the parent":                  {header: []string{"Traceparent", sent}, parent: sent},
		"the event's is the parent":                 {header: []string{"Ce-Traceparent", sent}, parent: sent},
		"a header of another trace is linked":       {header: []string{"Ce-Traceparent", sent, "Traceparent", foreign}, parent: sent, links: 1},
		"a traceparent that is none counts nothing": {header: []string{"Ce-Traceparent", "x", "Traceparent", "y"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.function("delete-pod", answers(503, ""), outcomes("delete-pod"))
			g.function("slack", answers(204, ""))
			s, spans := traced(t, g, folder(t, manifest("delete-pod", alerts, quick), manifest("slack", done, quick, ofDeletePod)))
			header := append([]string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/sidekick", "Ce-Type", "falco.rule.output.v1", "Content-Type", "application/json"}, test.header...)
			s.expect(t, 204, alertAt(t, 1), header...)
			got := spans()
			route, attempts, told := got["route"], got["deliver delete-pod"], got["deliver slack"]
			if len(route) != 1 || len(attempts) != 2 || len(told) != 1 {
				t.Fatalf("the spans are %+v", got)
			}
			if test.parent != "" && (route[0].Trace != test.parent[3:35] || route[0].Parent != test.parent[36:52]) || test.parent == "" && route[0].Parent != "" {
				t.Errorf("the event's span is of %s under %q, want %q", route[0].Trace, route[0].Parent, test.parent)
			}
			if len(route[0].Links) != test.links {
				t.Errorf("the links are %v", route[0].Links)
			}
			calls := g.got("delete-pod")
			for i, a := range attempts {
				if a.Trace != route[0].Trace || a.Parent != route[0].ID || a.Kind != "client" {
					t.Errorf("attempt %d is %+v, want a child of %+v", i, a, route[0])
				}
				if header := calls[i].header; header.Get("Traceparent") != parentOf(a) || header.Get("Ce-Traceparent") != parentOf(route[0]) {
					t.Errorf("attempt %d has the header %q and the attribute %q", i, header.Get("Traceparent"), header.Get("Ce-Traceparent"))
				}
			}
			if status := attempts[0].Attributes["http.response.status_code"]; status != "503" || !attempts[0].Failed || attempts[1].Failed {
				t.Errorf("the attempts are %+v", attempts)
			}
			if a := attempts[1].Attributes; a["riposte.function"] != "delete-pod" || a["riposte.attempt"] != "2" || a["riposte.trigger"] != "riposte/to-delete-pod" {
				t.Errorf("the attributes are %v", a)
			}
			// This function says nothing of traces: its answer belongs to what it answers.
			if told[0].Trace != route[0].Trace || told[0].Parent != route[0].ID || g.got("slack")[0].header.Get("Traceparent") != parentOf(told[0]) {
				t.Errorf("the outcome's delivery is %+v", told[0])
			}
			if route[0].Attributes["riposte.result"] != "delivered" || route[0].Attributes["riposte.rule"] == "" || route[0].Attributes["cloudevents.event_source"] != "/sidekick" {
				t.Errorf("the event's span says %v", route[0].Attributes)
			}
		})
	}
}

// A function of ours gives its outcome the trace of what it did: what comes next belongs to that.
func TestTraceGoesOnFromTheAnswer(t *testing.T) {
	g := newGateway(t)
	inside := ""
	g.function("delete-pod", func(w http.ResponseWriter, r *http.Request) {
		inside = r.Header.Get("Traceparent")[:36] + "aaaaaaaaaaaaaaaa-01"
		w.Header().Set("Ce-Traceparent", inside)
		w.Header().Set("Ce-Tracestate", "vendor=x")
		outcomes("delete-pod")(w, r)
	})
	g.function("slack", answers(204, ""))
	s, spans := traced(t, g, folder(t, manifest("delete-pod", alerts, quick), manifest("slack", done, quick, ofDeletePod)))
	s.expect(t, 204, alertAt(t, 1))
	got := spans()["deliver slack"]
	if len(got) != 1 || got[0].Trace != inside[3:35] || got[0].Parent != "aaaaaaaaaaaaaaaa" {
		t.Errorf("the outcome's delivery is %+v, want a child of %s", got, inside)
	}
	if h := g.got("slack")[0].header; h.Get("Ce-Traceparent") != inside || h.Get("Ce-Tracestate") != "vendor=x" || h.Get("Tracestate") != "vendor=x" {
		t.Errorf("the second function gets %v", h)
	}
}

// A router that exports nothing hands on what it gets, and makes nothing up.
func TestTraceGoesThrough(t *testing.T) {
	for name, test := range map[string][2]string{"with a trace": {sent, sent}, "without": {"", ""}} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.function("delete-pod", outcomes("delete-pod"))
			g.function("slack", answers(204, ""))
			s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick), manifest("slack", done, quick, ofDeletePod)))
			s.expect(t, 204, alertAt(t, 1), "Traceparent", test[0])
			for _, function := range []string{"delete-pod", "slack"} {
				if h := g.got(function)[0].header; h.Get("Traceparent") != test[1] || h.Get("Ce-Traceparent") != test[1] {
					t.Errorf("%s gets %q and %q, want %q", function, h.Get("Traceparent"), h.Get("Ce-Traceparent"), test[1])
				}
			}
		})
	}
}

func TestTraceToASink(t *testing.T) {
	g := newGateway(t)
	s, spans := traced(t, g, "", "K_SINK", g.URL+"/broker")
	s.expect(t, 204, alertAt(t, 1), "Traceparent", sent)
	got := spans()
	if len(got["route"]) != 1 || len(got["deliver sink"]) != 1 || g.got("broker")[0].header.Get("Traceparent") != parentOf(got["deliver sink"][0]) {
		t.Errorf("the spans are %+v", got)
	}
	if h := g.got("broker")[0].header; h.Get("Ce-Traceparent") != parentOf(got["route"][0]) {
		t.Errorf("the sink gets %q", h.Get("Ce-Traceparent"))
	}
}

// What a router has left behind belongs to the trace it came with, and so does a dead letter.
func TestTraceIsInTheJournal(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	g.function("delete-pod", hangsUntil(nil))
	triggers := folder(t, manifest("delete-pod", alerts, "retry: 0, timeout: PT1M"))
	settings := map[string]string{
		"AUTH": "off", "TRIGGERS": triggers, "FUNCTION_URL": g.URL + "/function/{function}", "DEAD_LETTER_URL": g.URL + "/dead", "JOURNAL_URL": "file://" + dir,
	}
	p := runProgram(t, settings)
	if status := p.post(t, alertAt(t, 1), "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", alerts, "Ce-Traceparent", sent); status != 202 {
		t.Fatalf("answered %d", status)
	}
	eventually(t, "the function is called", func() bool { return len(g.got("delete-pod")) == 1 })
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // Killed.
	text, err := os.ReadFile(copies(t, dir)[0])
	if err != nil || !regexp.MustCompile(`"traceparent":"`+sent+`"`).Match(text) {
		t.Errorf("%v, the copy is %s", err, text)
	}
	g.function("delete-pod", answers(400, ""))
	c := testkit.NewCollector(t)
	settings["OTEL_EXPORTER_OTLP_ENDPOINT"] = c.URL
	next := runProgram(t, settings)
	eventually(t, "the journal is empty", func() bool { return len(copies(t, dir)) == 0 })
	if err := next.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := next.Wait(); err != nil {
		t.Fatal(err)
	}
	spans := c.Spans()
	if len(spans) != 1 || spans[0].Name != "deliver delete-pod" || spans[0].Trace != sent[3:35] || spans[0].Parent != sent[36:52] {
		t.Errorf("the spans are %+v", spans)
	}
	if dead := g.got("dead"); len(dead) != 1 || dead[0].header.Get("Ce-Traceparent") != sent {
		t.Errorf("the dead letters are %v", dead)
	}
}

func TestTraceOfAsynchronousCalls(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	g.function("delete-pod", outcomes("delete-pod"))
	g.function("slack", answers(204, ""))
	c := testkit.NewCollector(t)
	s := asynchronous(t, g, dir, []string{manifest("delete-pod", alerts, quick), manifest("slack", done, quick, ofDeletePod)},
		"OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	s.expect(t, 202, alertAt(t, 1), "Traceparent", sent)
	eventually(t, "the outcome is delivered", func() bool { return len(g.got("slack")) == 1 && len(copies(t, dir)) == 0 })
	for _, function := range []string{"delete-pod", "slack"} {
		if h := g.got(function)[0].header; h.Get("Traceparent")[3:35] != sent[3:35] || h.Get("Ce-Traceparent")[3:35] != sent[3:35] {
			t.Errorf("%s gets %q and %q", function, h.Get("Traceparent"), h.Get("Ce-Traceparent"))
		}
	}
}

func TestTraceFromNATS(t *testing.T) {
	var got []serve.Event
	n := natsInput{take: func(_ context.Context, events []serve.Event) (report, error) {
		got = events
		return report{}, nil
	}}
	for name, header := range map[string]nats.Header{
		"a header":      {"traceparent": {sent}},
		"the event's":   {"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-type": {alerts}, "ce-source": {"/a"}, "ce-traceparent": {sent}},
		"Go's spelling": {"Traceparent": {sent}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := n.offer(t.Context(), header, alertAt(t, 1)); err != nil || len(got) != 1 {
				t.Fatal(err)
			}
			if parent := got[0].Origin.Parent; parent.TraceID().String() != sent[3:35] || parent.SpanID().String() != sent[36:52] {
				t.Errorf("the parent is %v", parent)
			}
		})
	}
}

func TestTraceOfABatch(t *testing.T) {
	g := newGateway(t)
	g.function("delete-pod", answers(204, ""))
	s, spans := traced(t, g, folder(t, manifest("delete-pod", alerts, quick)))
	one := func(id, traceparent, data string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/s","type":"` + alerts + `","traceparent":"` + traceparent + `","data":` + data + `}`
	}
	body := "[" + one("1", sent, string(alertAt(t, 1))) + "," + one("2", foreign, string(alertAt(t, 2))) + "," + one("3", foreign, "{}") + "]"
	s.expect(t, 400, []byte(body), "Content-Type", "application/cloudevents-batch+json")
	got := spans()
	var parents []string
	failed := 0
	for _, r := range got["route"] {
		parents = append(parents, r.Parent)
		if r.Failed {
			failed++
		}
	}
	slices.Sort(parents)
	want := []string{sent[36:52], foreign[36:52], foreign[36:52]}
	if !slices.Equal(parents, want) || failed != 1 {
		t.Errorf("the parents are %v, want %v; %d failed, want 1", parents, want, failed)
	}
	for _, d := range got["deliver delete-pod"] {
		if !strings.Contains(sent+foreign, d.Trace) {
			t.Errorf("a delivery is of the trace %s", d.Trace)
		}
	}
}

func TestNoSenderWaitsForACollector(t *testing.T) {
	g := newGateway(t)
	g.function("delete-pod", answers(204, ""))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	for n := range 50 {
		s.expect(t, 204, alertAt(t, n))
	}
}
