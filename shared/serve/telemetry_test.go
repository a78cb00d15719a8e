package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/telemetry/otlp"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// Three contexts of traces: two of the same one.
const (
	sent     = "00-11111111111111111111111111111111-1111111111111111-01"
	brokers  = "00-11111111111111111111111111111111-2222222222222222-01"
	foreign  = "00-33333333333333333333333333333333-3333333333333333-01"
	unwanted = "00-44444444444444444444444444444444-4444444444444444-00"
)

// observed is a running function that exports to a collector.
func observed(t *testing.T, r response.Responder, environ map[string]string) (*serve.Function, *testkit.Collector) {
	t.Helper()
	c := testkit.NewCollector(t)
	all := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL}
	maps.Copy(all, environ)
	return start(t, r, all), c
}

// take hands a request to a function.
func take(t *testing.T, f *serve.Function, r *http.Request) reply {
	t.Helper()
	a := testkit.Send(t, f, r, nil)
	return reply{a.Status, a.Header, a.Body}
}

// exported are the spans of a function that has ended.
func exported(t *testing.T, f *serve.Function, c *testkit.Collector) []testkit.Span {
	t.Helper()
	if err := f.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c.Spans()
}

func alertEvent(t *testing.T, traceparent string) string {
	t.Helper()
	extension := ""
	if traceparent != "" {
		extension = `"traceparent":"` + traceparent + `","tracestate":"vendor=x",`
	}
	return `{"specversion":"1.0","id":"1","source":"falco.org","type":"` + falco.TypeFalcosidekick + `",` + extension + `"data":` + string(testkit.Find(t, "01").Alert) + `}`
}

func TestSpans(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header, binary, structured string // traceparent: of HTTP, of an event in binary mode, of one in structured mode
		parent                     string // none: a new trace
		links                      []string
		dropped                    bool
	}{
		"the first of its trace":                   {},
		"an event in binary mode":                  {binary: sent, parent: sent},
		"an event in structured mode":              {structured: sent, parent: sent},
		"a header alone":                           {header: brokers, parent: brokers},
		"a broker's header and the event's own":    {header: brokers, binary: sent, parent: brokers, links: []string{strings.Repeat("1", 16)}},
		"a header of another trace":                {header: foreign, structured: sent, parent: sent, links: []string{strings.Repeat("3", 16)}},
		"a trace that is not recorded":             {header: unwanted, dropped: true, parent: unwanted},
		"a traceparent that is none":               {header: "x", binary: "y"},
		"a traceparent of a version of the future": {binary: "cc" + sent[2:] + "-what", parent: sent},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, c := observed(t, &recorder{}, nil)
			request := testkit.Find(t, "01").CloudEvent(t, "http://function.example")
			if test.structured != "" {
				request = post(t, "http://function.example", "application/cloudevents+json", []byte(alertEvent(t, test.structured)))
			}
			for name, value := range map[string]string{"Traceparent": test.header, "Ce-Traceparent": test.binary} {
				if value != "" {
					request.Header.Set(name, value)
				}
			}
			e, _ := outcome(t, take(t, f, request))
			carried, _ := e.Extensions()["traceparent"].(string)
			spans := exported(t, f, c)
			if test.dropped {
				if len(spans) > 0 || carried[3:35] != test.parent[3:35] || !strings.HasSuffix(carried, "-00") {
					t.Errorf("%d spans, the outcome is of %q", len(spans), carried)
				}
				return
			}
			if len(spans) != 1 {
				t.Fatalf("%d spans, want 1", len(spans))
			}
			s := spans[0]
			if want := "00-" + s.Trace + "-" + s.ID + "-01"; carried != want {
				t.Errorf("the outcome's traceparent is %q, want %q", carried, want)
			}
			if test.parent == "" && s.Parent != "" {
				t.Errorf("the parent is %q, want none", s.Parent)
			}
			if test.parent != "" && (s.Trace != test.parent[3:35] || s.Parent != test.parent[36:52]) {
				t.Errorf("the span is of %s under %s, want %s", s.Trace, s.Parent, test.parent)
			}
			if !slices.Equal(s.Links, test.links) {
				t.Errorf("the links are %v, want %v", s.Links, test.links)
			}
			if test.structured != "" && e.Extensions()["tracestate"] != "vendor=x" {
				t.Errorf("the outcome's tracestate is %v", e.Extensions()["tracestate"])
			}
		})
	}
}

func TestWhatSpansSay(t *testing.T) {
	t.Parallel()
	target := response.Target{Kind: "Pod", Namespace: "shop", Name: "cart-0", UID: "u"}
	tests := map[string]struct {
		outcome response.Outcome
		err     error
		failed  bool
		want    map[string]string
	}{
		"applied": {outcome: response.Outcome{Verdict: response.Applied, Message: "done", Target: target}, want: map[string]string{
			"riposte.rule": "Terminal shell in container", "riposte.outcome": "applied", "riposte.reason": "", "riposte.target.kind": "Pod",
			"riposte.target.namespace": "shop", "riposte.target.name": "cart-0",
		}},
		"refused":  {outcome: response.Refuse(response.StaticPod, "no"), want: map[string]string{"riposte.outcome": "refused", "riposte.reason": "static-pod"}},
		"failed":   {outcome: response.Outcome{Verdict: response.Failed, Reason: response.FunctionError, Message: "it failed"}, failed: true, want: map[string]string{"riposte.outcome": "failed"}},
		"an error": {err: response.TransientError(errors.New("busy\r\n\x1b"), 0), failed: true, want: map[string]string{"error.type": "transient"}},
		"a bug":    {err: errors.New("bug"), failed: true, want: map[string]string{"error.type": "unknown"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, c := observed(t, &recorder{respond: func(context.Context, falco.Alert) (response.Outcome, error) { return test.outcome, test.err }}, nil)
			request := testkit.Find(t, "01").CloudEvent(t, "http://function.example")
			id, source := request.Header.Get("Ce-Id"), request.Header.Get("Ce-Source")
			take(t, f, request)
			spans := exported(t, f, c)
			if len(spans) != 1 {
				t.Fatalf("%d spans, want 1", len(spans))
			}
			s := spans[0]
			if s.Name != "response recorder" || s.Kind != "server" || s.Service != "riposte-recorder" || s.Failed != test.failed {
				t.Errorf("the span is %+v", s)
			}
			test.want["riposte.response"], test.want["cloudevents.event_id"] = "recorder", id
			test.want["cloudevents.event_source"], test.want["cloudevents.event_type"] = source, falco.TypeFalcosidekick
			for key, want := range test.want {
				if got, ok := s.Attributes[key]; got != want || !ok {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			if strings.ContainsAny(s.StatusMessage, "\r\n\x1b") {
				t.Errorf("the status says %q", s.StatusMessage)
			}
		})
	}
}

func TestABatchHasATraceForEachEvent(t *testing.T) {
	t.Parallel()
	f, c := observed(t, &recorder{}, nil)
	body := "[" + alertEvent(t, sent) + "," + strings.Replace(alertEvent(t, foreign), `"id":"1"`, `"id":"2"`, 1) + "," + alertEvent(t, "") + "]"
	answer := take(t, f, post(t, "http://function.example", "application/cloudevents-batch+json", []byte(body)))
	var outcomes []map[string]any
	if err := json.Unmarshal(answer.body, &outcomes); err != nil || len(outcomes) != 3 {
		t.Fatalf("%v, %d outcomes", err, len(outcomes))
	}
	spans := exported(t, f, c)
	if len(spans) != 3 || spans[0].Parent != sent[36:52] || spans[1].Parent != foreign[36:52] || spans[2].Parent != "" {
		t.Fatalf("the spans are %+v", spans)
	}
	for i, s := range spans {
		if want := "00-" + s.Trace + "-" + s.ID + "-01"; outcomes[i]["traceparent"] != want {
			t.Errorf("outcome %d is of %v, want %v", i, outcomes[i]["traceparent"], want)
		}
	}
}

// What comes in goes out, so that the next function that does export continues the trace.
func TestTraceGoesThroughAFunctionThatExportsNothing(t *testing.T) {
	t.Parallel()
	f := start(t, &recorder{}, nil)
	for name, want := range map[string]string{"with a trace": sent, "without": ""} {
		t.Run(name, func(t *testing.T) {
			e, _ := outcome(t, take(t, f, post(t, "http://function.example", "application/cloudevents+json", []byte(alertEvent(t, want)))))
			if got, _ := e.Extensions()["traceparent"].(string); got != want {
				t.Errorf("the outcome is of %q, want %q", got, want)
			}
		})
	}
	payload, err := f.Lambda(t.Context(), []byte(alertEvent(t, sent)))
	if err != nil || !bytes.Contains(encode(t, payload), []byte(sent)) {
		t.Errorf("%v, the outcome of an invocation is %s", err, encode(t, payload))
	}
}

// The second function takes the outcome of the first.
func TestTraceGoesOnWithTheOutcome(t *testing.T) {
	t.Parallel()
	first, c := observed(t, &recorder{}, nil)
	second := define("second", &recorder{})
	if err := second.Start(t.Context(), map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL, "LOG_LEVEL": "ERROR"}); err != nil {
		t.Fatal(err)
	}
	answer := take(t, first, testkit.Find(t, "01").CloudEvent(t, "http://function.example"))
	request := post(t, "http://function.example", "", answer.body)
	request.Header = answer.header
	outcome(t, take(t, second, request))
	exported(t, first, c)
	spans := exported(t, second, c)
	if len(spans) != 2 || spans[0].Service != "riposte-recorder" || spans[1].Service != "riposte-second" || spans[1].Trace != spans[0].Trace || spans[1].Parent != spans[0].ID {
		t.Errorf("the spans are %+v", spans)
	}
}

func TestExportedMetrics(t *testing.T) {
	t.Parallel()
	f, c := observed(t, &recorder{respond: func(_ context.Context, a falco.Alert) (response.Outcome, error) {
		target := response.Target{Kind: "Pod", Namespace: "the-namespace", Name: "the-pod"}
		if a.Priority == falco.Critical {
			return response.Outcome{}, response.TransientError(errors.New("busy"), 0)
		}
		return response.Outcome{Verdict: response.Applied, Message: "done", Target: target}, nil
	}}, map[string]string{"MIN_PRIORITY": "Notice"})
	for _, capture := range []string{"01", "02", "29", "31", "34", "37", "45", "53"} {
		take(t, f, forms["Falco's own JSON"](t, testkit.Find(t, capture), "http://function.example"))
	}
	exported(t, f, c)

	want := map[string][]string{
		"riposte_responses_total": {"outcome", "reason", "response"}, "riposte_response_errors_total": {"kind", "response"},
		"riposte_refusals_total": {"guardrail"}, "riposte_response_duration_seconds": {"response"}, "riposte_alert_age_seconds": {},
	}
	for _, name := range c.Names("riposte-recorder") {
		points := c.Metric("riposte-recorder", name)
		for _, p := range points {
			labels := []string{}
			for label, value := range p.Labels {
				labels = append(labels, label)
				if strings.Contains(value, "the-") {
					t.Errorf("%s has the label %s=%q", name, label, value)
				}
			}
			slices.Sort(labels)
			if expected, ours := want[name]; ours && !slices.Equal(labels, expected) {
				t.Errorf("%s has the labels %v, want %v", name, labels, expected)
			}
		}
	}
	values := map[string]float64{}
	for name := range want {
		for _, p := range c.Metric("riposte-recorder", name) {
			key := name
			for _, label := range want[name] {
				key += " " + p.Labels[label]
			}
			values[key] = p.Value
		}
	}
	for key, count := range map[string]float64{
		"riposte_responses_total refused below-min-priority recorder": 1, "riposte_response_errors_total transient recorder": 1,
		"riposte_refusals_total sane-alert": 2, "riposte_response_duration_seconds recorder": 8, "riposte_alert_age_seconds": 7,
	} {
		if values[key] != count {
			t.Errorf("%s is %v, want %v; all are %v", key, values[key], count, values)
		}
	}
}

// hanging is an endpoint that accepts connections and says nothing.
func hanging(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

func TestNoAnswerWaitsForACollector(t *testing.T) {
	endpoints := map[string]string{"none": "", "one that hangs": hanging(t), "one that is gone": "http://127.0.0.1:1"}
	mean := map[string]time.Duration{}
	const alerts = 200
	for _, name := range []string{"none", "one that hangs", "one that is gone"} {
		environ := map[string]string{"CLAIMS": "none"}
		if endpoints[name] != "" {
			environ["OTEL_EXPORTER_OTLP_ENDPOINT"], environ["OTEL_BSP_SCHEDULE_DELAY"] = endpoints[name], "1"
		}
		f := start(t, &recorder{}, environ)
		began := time.Now()
		for range alerts {
			if answer := take(t, f, testkit.Find(t, "01").CloudEvent(t, "http://function.example")); answer.status != http.StatusOK {
				t.Fatalf("with %s, the status is %d: %s", name, answer.status, answer.body)
			}
		}
		mean[name] = time.Since(began) / alerts
		began = time.Now()
		if err := f.Stop(t.Context()); err != nil {
			t.Errorf("with %s, the end: %v", name, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("with %s, the end took %s", name, took)
		}
	}
	t.Logf("an answer takes %v", mean)
	for name, took := range mean {
		if took > mean["none"]+5*time.Millisecond {
			t.Errorf("with %s an answer takes %s, without a collector %s", name, took, mean["none"])
		}
	}
}

func TestProgramExportsWhatIsPending(t *testing.T) {
	slack := startSlack(t, nil)
	for name, test := range map[string]struct {
		endpoint func(*testkit.Collector) string
		spans    []string
	}{
		"to a collector":    {func(c *testkit.Collector) string { return c.URL }, []string{"POST 127.0.0.1", "response slack"}},
		"to one that hangs": {func(*testkit.Collector) string { return hanging(t) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := testkit.NewCollector(t)
			p := run(t, "LISTEN_ADDRESS=127.0.0.1:0", "MAX_ALERT_AGE=0", "SLACK_WEBHOOK_URL="+slack.url, "OTEL_EXPORTER_OTLP_ENDPOINT="+test.endpoint(c))
			address, _ := p.await(t, "listening")["address"].(string)
			request := testkit.Find(t, "01").CloudEvent(t, "http://"+address)
			request.Header.Set("Ce-Traceparent", sent)
			outcome(t, send(t, request))
			if line := p.await(t, "response"); line["trace_id"] != sent[3:35] || line["span_id"] == nil {
				t.Errorf("the log has no trace: %v", line)
			}
			began := time.Now()
			p.signal(t, syscall.SIGTERM)
			if status := p.status(t); status != 0 {
				t.Errorf("exit status is %d, want 0", status)
			}
			if took := time.Since(began); took > 6*time.Second {
				t.Errorf("the end took %s", took)
			}
			var names []string
			for _, s := range c.Spans() {
				if names = append(names, s.Name); s.Trace != sent[3:35] {
					t.Errorf("%s is of the trace %s", s.Name, s.Trace)
				}
				for key, value := range s.Attributes {
					if strings.Contains(value, "secret") {
						t.Errorf("%s of %s is %s", key, s.Name, value)
					}
				}
			}
			slices.Sort(names)
			if !slices.Equal(names, test.spans) {
				t.Errorf("the spans are %v, want %v", names, test.spans)
			}
			if metric := c.Metric("riposte-slack", "riposte_responses_total"); (len(metric) == 1) != (test.spans != nil) {
				t.Errorf("riposte_responses_total is %v", metric)
			}
		})
	}
}

func TestBootstrapExportsEachInvocation(t *testing.T) {
	slack := startSlack(t, nil)
	c := testkit.NewCollector(t)
	settings := append(coverage(), "MAX_ALERT_AGE=0", "DEDUP_WINDOW=0", "CLAIMS=memory", "SLACK_WEBHOOK_URL="+slack.url)
	lambda := testkit.StartLambda(t, program(t), append(settings, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL)...)
	for i, capture := range []string{"01", "05"} {
		if answer := lambda.Invoke(t, testkit.Find(t, capture).Alert); answer.Error != nil {
			t.Fatal(answer.Error)
		}
		if got := len(c.Spans()); got != 2*(i+1) { // The process stands still from now on: what is not there does not come.
			t.Errorf("%d spans after invocation %d, want %d", got, i, 2*(i+1))
		}
		if got := c.Metric("riposte-slack", "riposte_responses_total"); len(got) != 1 || got[0].Value != float64(i+1) {
			t.Errorf("riposte_responses_total is %v after invocation %d", got, i)
		}
	}
	lambda = testkit.StartLambda(t, program(t), append(settings, "OTEL_EXPORTER_OTLP_ENDPOINT="+hanging(t))...)
	// The first waits for the collector, and the others do not wait again. On a busy machine one of them may be slow, and not all.
	const waits = 450 * time.Millisecond
	least := time.Hour
	for i := range 10 {
		began := time.Now()
		if answer := lambda.Invoke(t, testkit.Find(t, []string{"01", "05"}[i%2]).Alert); answer.Error != nil {
			t.Fatal(answer.Error)
		}
		if took := time.Since(began); i > 0 {
			least = min(least, took)
		}
	}
	if least > waits {
		t.Errorf("with a collector that hangs every invocation takes %s or longer", least)
	}
}

func TestProgramRefusesBadTelemetrySettings(t *testing.T) {
	p := run(t, "SLACK_WEBHOOK_URL=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_TRACES_SAMPLER=sometimes", "LISTEN_ADDRESS=127.0.0.1:0")
	var said []string
	for line := range p.lines {
		text, _ := line["text"].(string)
		said = append(said, text)
	}
	all := strings.Join(said, "\n")
	if status := p.status(t); status != 2 || !strings.Contains(all, "OTEL_EXPORTER_OTLP_PROTOCOL") || !strings.Contains(all, "OTEL_TRACES_SAMPLER") {
		t.Errorf("exit status %d, it says %s", status, all)
	}
}

func TestTelemetrySettingsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", "observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `OTEL_.*$").FindAllString(string(page), -1)
	var want []string
	for _, p := range config.Params(new(otlp.Settings)) {
		standard := "(none)"
		if p.Default != "" {
			standard = "`" + p.Default + "`"
		}
		kind := p.Type
		if len(p.Allowed) > 0 {
			kind = strings.Join(p.Allowed, ` \| `)
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s |", p.Name, kind, standard, p.Help))
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("docs/observability.md (-settings +page):\n%s", diff)
	}
	var help bytes.Buffer
	spec := serve.Define(serve.Info{Name: "x"}, func(struct{}, response.Settings) (response.Responder, error) { return nil, io.EOF })
	if err := spec.Help(&help); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(help.String(), "OTEL_EXPORTER_OTLP_ENDPOINT") || strings.Contains(help.String(), "OTEL_BSP") {
		t.Errorf("--help says %s", &help)
	}
}
