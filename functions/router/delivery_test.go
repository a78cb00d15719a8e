package function

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

func TestFailingFunctions(t *testing.T) {
	tests := map[string]struct {
		function []http.HandlerFunc
		calls    int
		code     string // of the dead letter; empty where there must be none
		data     string
	}{
		"one that works the second time":           {[]http.HandlerFunc{answers(500, "later"), answers(204, "")}, 2, "", ""},
		"one that never works":                     {[]http.HandlerFunc{answers(500, "never")}, 3, "500", "never"},
		"one that cannot act on the event":         {[]http.HandlerFunc{answers(400, "no pod")}, 1, "400", "no pod"},
		"one that an operator must look at":        {[]http.HandlerFunc{answers(422, "no right")}, 1, "422", "no right"},
		"one that takes no such caller":            {[]http.HandlerFunc{answers(401, "who?")}, 1, "401", "who?"},
		"one that is not there yet":                {[]http.HandlerFunc{answers(404, "starting"), answers(204, "")}, 2, "", ""},
		"one that answers no event":                {[]http.HandlerFunc{answers(200, "<html>")}, 3, "502", "the received response body is not a CloudEvent: unknown Message encoding"},
		"one that answers half an event":           {[]http.HandlerFunc{answers(200, "{}", "Ce-Specversion", "1.0", "Ce-Id", "1")}, 3, "502", "the received response body is not a CloudEvent: event is not valid: "},
		"one that answers what no header has":      {[]http.HandlerFunc{answers(200, `{"specversion":"1.0","id":"1","source":"/s","type":"t","x":"a\nb"}`, "Content-Type", "application/cloudevents+json")}, 3, "502", "the received response body is not a CloudEvent: event has the attribute Ce-X"},
		"one that answers more than headers have":  {[]http.HandlerFunc{answers(200, `{"specversion":"1.0","id":"1","source":"/s","type":"t","x":"`+strings.Repeat("a", 40_000)+`"}`, "Content-Type", "application/cloudevents+json")}, 3, "502", "the received response body is not a CloudEvent: event has attributes of 40"},
		"one that answers without an end":          {[]http.HandlerFunc{answers(200, strings.Repeat("x", 2<<20))}, 3, "502", "the answer was cut off, or has more than 1048576 bytes"},
		"one that sends elsewhere":                 {[]http.HandlerFunc{answers(307, "", "Location", "/function/label")}, 1, "307", "dispatch error: "},
		"one that sends to a page":                 {[]http.HandlerFunc{answers(302, "", "Location", "/function/label")}, 1, "302", "dispatch error: "},
		"one that says more than an attribute has": {[]http.HandlerFunc{answers(400, strings.Repeat("y", 2000))}, 1, "400", strings.Repeat("y", 768)},
		"one that hangs up":                        {[]http.HandlerFunc{func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }}, 3, "500", "dispatch error: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.function("delete-pod", test.function...)
			s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)))
			body := alertAt(t, 1)
			s.expect(t, 204, body)
			if calls := g.got("delete-pod"); len(calls) != test.calls {
				t.Errorf("the function got %d calls, want %d", len(calls), test.calls)
			}
			if len(g.got("label")) != 0 {
				t.Error("a redirect was followed")
			}
			dead := g.got("dead")
			if test.code == "" {
				if len(dead) != 0 {
					t.Errorf("%d dead letters", len(dead))
				}
				return
			}
			if len(dead) != 1 {
				t.Fatalf("%d dead letters, want one", len(dead))
			}
			h := dead[0].header
			data, err := base64.StdEncoding.DecodeString(h.Get("Ce-Knativeerrordata"))
			if err != nil || !strings.HasPrefix(string(data), test.data) || h.Get("Ce-Knativeerrorcode") != test.code || h.Get("Ce-Knativeerrordest") != g.URL+"/function/delete-pod" {
				t.Errorf("the dead letter has %s %s %q (%v)", h.Get("Ce-Knativeerrorcode"), h.Get("Ce-Knativeerrordest"), data, err)
			}
			if string(dead[0].body) != string(body) || h.Get("Ce-Type") != alerts || h.Get("Ce-Id") != g.got("delete-pod")[0].header.Get("Ce-Id") {
				t.Errorf("the dead letter is not the event: %v %s", h, dead[0].body)
			}
		})
	}
}

func TestUnreachableFunction(t *testing.T) {
	gone, g := newGateway(t), newGateway(t)
	gone.Close()
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "FUNCTION_URL", gone.URL+"/function/{function}")
	s.expect(t, 204, alertAt(t, 1))
	if dead := g.got("dead"); len(dead) != 1 || dead[0].header.Get("Ce-Knativeerrorcode") != "500" {
		t.Errorf("dead letters: %v", dead)
	}
}

func TestNoDeadLetterMeansFiveHundred(t *testing.T) {
	gone := newGateway(t)
	gone.Close()
	tests := map[string][]string{
		"one that cannot be reached": {"DEAD_LETTER_URL", gone.URL},
		"none":                       {"DEAD_LETTER_URL", ""},
	}
	for name, settings := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t)
			g.function("delete-pod", answers(400, "no"))
			s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), settings...)
			s.expect(t, 500, alertAt(t, 1))
			if got := s.metric(t, `riposte_router_deliveries_total{function="delete-pod",result="failed"}`); got != "1" {
				t.Errorf("failed deliveries: %q", got)
			}
		})
	}
}

func TestTriggersOwnDeadLetter(t *testing.T) {
	g := newGateway(t)
	g.function("delete-pod", answers(400, "no"))
	own := quick + ", deadLetterSink: {uri: " + g.URL + "/own}"
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, own)), "DEAD_LETTER_URL", "")
	s.expect(t, 204, alertAt(t, 1))
	if len(g.got("own")) != 1 {
		t.Errorf("the Trigger's dead-letter sink got %d events", len(g.got("own")))
	}
}

// A 429 with Retry-After holds back every call of that function, and of no other.
func TestRetryAfterHoldsTheDestination(t *testing.T) {
	g := newGateway(t)
	asked := make(chan struct{})
	g.function("delete-pod", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
		close(asked)
	}, answers(204, ""))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick), manifest("label", alerts, quick)))
	var group sync.WaitGroup
	group.Go(func() { s.post(t, alertAt(t, 1)) })
	<-asked
	eventually(t, "the first delivery waits", func() bool {
		return s.metric(t, `riposte_router_waiting{function="delete-pod"}`) == "1"
	})
	group.Go(func() { s.post(t, alertAt(t, 2)) })
	eventually(t, "label has both", func() bool { return len(g.got("label")) == 2 })
	if calls := g.got("delete-pod"); len(calls) != 1 {
		t.Errorf("delete-pod was called %d times while it asked for rest", len(calls))
	}
	group.Wait()
	for _, c := range g.got("delete-pod")[1:] {
		if pause := c.at.Sub(g.got("delete-pod")[0].at); pause < 950*time.Millisecond {
			t.Errorf("called again after %s", pause)
		}
	}
}

// A 429 about one event alone holds that event back, and no other of the function.
func TestDeferredEventHoldsNoOther(t *testing.T) {
	g := newGateway(t)
	var calls atomic.Int64
	asked := make(chan struct{})
	g.function("delete-pod", func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.Header().Set(serve.DeferredHeader, "true")
			w.WriteHeader(http.StatusTooManyRequests)
			close(asked)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)))
	began := time.Now()
	var group sync.WaitGroup
	group.Go(func() { s.expect(t, 204, alertAt(t, 1)) })
	<-asked
	s.expect(t, 204, alertAt(t, 2))
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("the other event took %s", took)
	}
	group.Wait()
	if took := time.Since(began); took < 950*time.Millisecond || calls.Load() != 3 {
		t.Errorf("the first event was delivered after %s, with %d calls in all", took, calls.Load())
	}
}

// Neither a function that hangs nor one that fails delays another one.
func TestSlowFunctionBesideFastOne(t *testing.T) {
	g := newGateway(t)
	released := make(chan struct{})
	g.function("slow", hangsUntil(released))
	s := routing(t, g, folder(t, manifest("slow", alerts, quick), manifest("fast", alerts, quick)), "FUNCTION_CONCURRENCY", "2", "FUNCTION_QUEUE", "3")
	var group sync.WaitGroup
	for n := range 5 {
		group.Go(func() { s.post(t, alertAt(t, n)) })
	}
	eventually(t, "fast has all, slow as many as it may", func() bool { return len(g.got("fast")) == 5 && len(g.got("slow")) == 2 })
	eventually(t, "three wait", func() bool { return s.metric(t, `riposte_router_waiting{function="slow"}`) == "3" })
	s.expect(t, 204, alertAt(t, 100)) // The sixth fits nowhere.
	dead := g.got("dead")
	if len(dead) != 1 || dead[0].header.Get("Ce-Knativeerrorcode") != "503" {
		t.Fatalf("dead letters: %v", dead)
	}
	if why, _ := base64.StdEncoding.DecodeString(dead[0].header.Get("Ce-Knativeerrordata")); !strings.Contains(string(why), "slow: 5 deliveries to it are under way already (FUNCTION_") {
		t.Errorf("the dead letter says %q", why)
	}
	close(released)
	group.Wait()
	if len(g.got("slow")) != 5 || len(g.got("dead")) != 1 {
		t.Errorf("slow got %d, the dead letter %d", len(g.got("slow")), len(g.got("dead")))
	}
}

// A delivery that waits for its next attempt takes no place among the calls.
func TestWaitingTakesNoCall(t *testing.T) {
	g := newGateway(t)
	g.function("delete-pod", answers(500, ""), answers(204, ""))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, "retry: 1, backoffPolicy: exponential, backoffDelay: PT2S, timeout: PT10S")), "FUNCTION_CONCURRENCY", "1")
	var group sync.WaitGroup
	group.Go(func() { s.post(t, alertAt(t, 1)) })
	eventually(t, "the first waits", func() bool { return s.metric(t, `riposte_router_waiting{function="delete-pod"}`) == "1" })
	begin := time.Now()
	s.expect(t, 204, alertAt(t, 2))
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the second took %s", took)
	}
	group.Wait()
}

func TestSenderHangsUp(t *testing.T) {
	g := newGateway(t)
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)))
	ctx, hangUp := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, strings.NewReader(string(alertAt(t, 1))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token16)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if answer, err := s.server.Client().Do(r); err == nil {
			_ = answer.Body.Close()
		}
	}()
	eventually(t, "the function is called", func() bool { return len(g.got("delete-pod")) == 1 })
	hangUp()
	<-gone
	eventually(t, "the router notices", func() bool { return s.metric(t, `riposte_router_events_total{result="failed"}`) == "1" })
	// The same event again joins the delivery that goes on.
	var group sync.WaitGroup
	group.Go(func() { s.expect(t, 204, alertAt(t, 1)) })
	close(released)
	group.Wait()
	if calls := g.got("delete-pod"); len(calls) > 2 {
		t.Errorf("the function got %d calls", len(calls))
	}
	eventually(t, "the delivery ends", func() bool {
		return s.metric(t, `riposte_router_deliveries_total{function="delete-pod",result="delivered"}`) != ""
	})
}

// An id is no proof that two alerts are one: CloudTrail's times are in whole seconds, and ids can be guessed.
func TestSameIDWithOtherData(t *testing.T) {
	for name, settings := range map[string][]string{"in memory": nil, "with a journal": {"JOURNAL_URL", "file://" + t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			released := make(chan struct{})
			g.function("delete-pod", hangsUntil(released))
			s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), settings...)
			first := alertAt(t, 1)
			second := []byte(strings.Replace(string(first), "cart-0", "cart-1", 1))
			var group sync.WaitGroup
			group.Go(func() { s.post(t, first) })
			eventually(t, "the first is called for", func() bool { return len(g.got("delete-pod")) == 1 })
			group.Go(func() { s.post(t, second) })
			eventually(t, "the second is called for", func() bool { return len(g.got("delete-pod")) == 2 })
			close(released)
			group.Wait()
			calls := g.got("delete-pod")
			if calls[0].header.Get("Ce-Id") != calls[1].header.Get("Ce-Id") || string(calls[0].body) != string(first) || string(calls[1].body) != string(second) {
				t.Errorf("the function got %s and %s", calls[0].body, calls[1].body)
			}
		})
	}
}

// A panic, of a library for instance, fails the one delivery that it happened in.
func TestPanics(t *testing.T) {
	tests := map[string]struct {
		breakIt func(*engine)
		says    string
	}{
		"in the call":  {func(e *engine) { e.caller = caller{} }, "no attempt of 3 succeeded"},
		"in matching":  {func(e *engine) { e.table.Load().set = nil }, "internal error"},
		"on the way":   {func(e *engine) { e.table.Load().named["riposte/to-delete-pod"].destination = nil }, "internal error"},
		"at the grave": {func(e *engine) { e.graveyard = &deadStore{} }, "internal error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.function("delete-pod", answers(400, "no"))
			e, err := newEngine(output{
				Triggers: folder(t, manifest("delete-pod", alerts, quick)), FunctionURL: g.URL + "/function/{function}",
				Concurrency: 1, Queue: 1, Timeout: 10 * time.Second,
			}, serve.Host{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Tracer: noop.Tracer{}})
			if err != nil {
				t.Fatal(err)
			}
			test.breakIt(e)
			for n := range 4 { // More than there are places.
				_, err := e.take(t.Context(), []serve.Event{{Event: response.Event{Type: falco.TypeFalcosidekick, Data: alertAt(t, n)}}})
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("the error is %v", err)
				}
			}
			if held := e.held.Load(); held != 0 {
				t.Errorf("%d bytes are held", held)
			}
			e.tasks.drain(time.Second) // Would not end with a task left.
		})
	}
}

func TestSenderWaitsNoLongerThanItIsTold(t *testing.T) {
	g := newGateway(t)
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "RESPONSE_TIMEOUT", "1s")
	_, text := s.expect(t, 500, alertAt(t, 1))
	if !strings.Contains(text, "no end of the deliveries after 1s; they go on") {
		t.Errorf("answered %q", text)
	}
	close(released)
	eventually(t, "the delivery goes on", func() bool {
		return s.metric(t, `riposte_router_deliveries_total{function="delete-pod",result="delivered"}`) == "1"
	})
}

func TestOutcomesAreFedBack(t *testing.T) {
	g := newGateway(t)
	g.function("delete-pod", outcomes("delete-pod"))
	g.function("slack", answers(204, ""))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick), manifest("slack", done, quick, "    - exact: {response: delete-pod}\n")))
	header, _ := s.expect(t, 204, alertAt(t, 1))
	calls := g.got("slack")
	if len(calls) != 1 || calls[0].header.Get("Ce-Source") != "/functions/delete-pod" || calls[0].header.Get("Ce-Outcome") != "applied" {
		t.Fatalf("slack got %v", calls)
	}
	if timing := header.Get("Server-Timing"); !strings.Contains(timing, `delete-pod;dur=`) || !strings.Contains(timing, `slack;dur=`) {
		t.Errorf("Server-Timing is %q", timing)
	}
	// The outcome of a function elsewhere comes in by itself.
	s.expect(t, 204, calls[0].body, "Ce-Specversion", "1.0", "Ce-Id", "other", "Ce-Source", "/other", "Ce-Type", done, "Content-Type", "application/json")
	calls = g.got("slack")
	if len(calls) != 2 || string(calls[1].body) != string(calls[0].body) || calls[1].header.Get("Ce-Id") != calls[0].header.Get("Ce-Id") || calls[1].header.Get("Ce-Source") != "/functions/delete-pod" {
		t.Errorf("slack got %v", calls)
	}
}

// A function whose outcomes say that they are another's escapes the check of the Triggers. It is stopped.
func TestAnswersToAnswersEnd(t *testing.T) {
	g := newGateway(t)
	g.function("start", outcomes("echo"))
	g.function("ping", outcomes("echo"))
	s := routing(t, g, folder(t, manifest("start", alerts, quick), manifest("ping", done, quick, "    - exact: {response: echo}\n")))
	s.expect(t, 204, alertAt(t, 1))
	var hops []string // The functions here do not count, so the router does.
	for _, call := range append(g.got("start"), g.got("ping")...) {
		hops = append(hops, call.header.Get("Ce-Hops"))
	}
	if diff := cmp.Diff([]string{"", "1", "2", "3", "4", "5", "6", "7"}, hops); diff != "" {
		t.Errorf("hops of the calls (-want +got):\n%s", diff)
	}
	dead := g.got("dead")
	if len(dead) != 1 || dead[0].header.Get("Ce-Knativeerrorcode") != "508" || dead[0].header.Get("Ce-Type") != done || dead[0].header.Get("Ce-Hops") != "8" {
		t.Errorf("dead letters: %v", dead)
	}
}

// What came from elsewhere, and says that it was answered often, is not begun anew.
func TestHopsComeInWithTheEvent(t *testing.T) {
	g := newGateway(t)
	g.function("start", outcomes("echo"))
	g.function("ping", outcomes("echo"))
	s := routing(t, g, folder(t, manifest("start", alerts, quick), manifest("ping", done, quick, "    - exact: {response: echo}\n")))
	s.expect(t, 204, alertAt(t, 1), "Ce-Specversion", "1.0", "Ce-Id", "a", "Ce-Source", "/other", "Ce-Type", alerts, "Ce-Hops", "5", "Content-Type", "application/json")
	var hops []string
	for _, call := range append(g.got("start"), g.got("ping")...) {
		hops = append(hops, call.header.Get("Ce-Hops"))
	}
	if diff := cmp.Diff([]string{"5", "6", "7"}, hops); diff != "" {
		t.Errorf("hops of the calls (-want +got):\n%s", diff)
	}
}

func TestTriggersChangeWhileEventsAreDelivered(t *testing.T) {
	g := newGateway(t)
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	dir := folder(t, manifest("delete-pod", alerts, quick))
	s := routing(t, g, dir)
	var group sync.WaitGroup
	group.Go(func() { s.expect(t, 204, alertAt(t, 1)) })
	eventually(t, "the function is called", func() bool { return len(g.got("delete-pod")) == 1 })
	rewrite(t, dir, "this is: [no manifest")
	eventually(t, "the bad set is noticed", func() bool { return s.metric(t, "riposte_router_triggers_stale") == "1" })
	rewrite(t, dir, manifest("label", alerts, quick))
	eventually(t, "the good set is used", func() bool {
		return s.metric(t, "riposte_router_triggers_stale") == "0" && s.metric(t, "riposte_router_triggers_generation") == "2"
	})
	s.expect(t, 204, alertAt(t, 2))
	if len(g.got("label")) != 1 || len(g.got("delete-pod")) != 1 {
		t.Errorf("label got %d, delete-pod %d", len(g.got("label")), len(g.got("delete-pod")))
	}
	close(released)
	group.Wait()
}

func TestSink(t *testing.T) {
	g := newGateway(t)
	g.function("broker", answers(202, ""))
	s := routing(t, g, "", "K_SINK", g.URL+"/broker", "K_CE_OVERRIDES", `{"extensions": {"tenant": "blue"}}`)
	body := alertAt(t, 1)
	header, _ := s.expect(t, 204, body)
	calls := g.got("broker")
	if len(calls) != 1 || calls[0].header.Get("Ce-Tenant") != "blue" || string(calls[0].body) != string(body) {
		t.Errorf("the broker got %v", calls)
	}
	if timing := header.Get("Server-Timing"); !strings.Contains(timing, "sink;dur=") {
		t.Errorf("Server-Timing is %q", timing)
	}
	g.function("broker", answers(400, "no such broker"))
	s.expect(t, 204, alertAt(t, 2))
	if dead := g.got("dead"); len(dead) != 1 || dead[0].header.Get("Ce-Tenant") != "blue" {
		t.Errorf("dead letters: %v", dead)
	}
}

func TestSinkWithItsOwnAuthority(t *testing.T) {
	g := newGateway(t)
	broker := httptest.NewTLSServer(answers(202, ""))
	t.Cleanup(broker.Close)
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: broker.Certificate().Raw}))
	routing(t, g, "", "K_SINK", broker.URL, "K_CA_CERTS", authority).expect(t, 204, alertAt(t, 1))
	if len(g.got("dead")) != 0 {
		t.Errorf("dead letters: %v", g.got("dead"))
	}
}

// Only what can be dead-lettered no more fills the router, so that senders are asked to come back.
func TestTooMuchAtOnce(t *testing.T) {
	g := newGateway(t)
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	g.function("dead", hangsUntil(released))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, patient)))
	var group sync.WaitGroup
	const size = 50_000
	large := strings.Repeat("x", size)
	for n := range maxHeld / size {
		group.Go(func() { s.post(t, []byte(strings.Replace(string(alertAt(t, n)), "<x>", large, 1))) })
	}
	eventually(t, "the router is full", func() bool {
		status, header, _ := s.post(t, []byte("{}"))
		return status == 429 && header.Get("Retry-After") == "1"
	})
	close(released)
	group.Wait()
	s.expect(t, 204, alertAt(t, 5000))
}

// A function that hangs fills its share of the memory with large events, not that of others.
func TestSlowFunctionWithLargeEvents(t *testing.T) {
	g := newGateway(t)
	released := make(chan struct{})
	g.function("slow", hangsUntil(released))
	s := routing(t, g, folder(t, manifest("slow", alerts, patient), manifest("fast", alerts, quick)))
	var group sync.WaitGroup
	large := strings.Repeat("x", 1<<20-1000)
	const many = maxHeld>>20 + 2
	for n := range many {
		group.Go(func() {
			s.expect(t, 204, []byte(strings.Replace(string(alertAt(t, n)), "<x>", large, 1)))
		})
		eventually(t, "fast has it", func() bool { return len(g.got("fast")) == n+1 })
	}
	s.expect(t, 204, []byte(strings.Replace(string(alertAt(t, many)), "<x>", large, 1)))
	close(released)
	group.Wait()
	dead := len(g.got("dead"))
	if slow := len(g.got("slow")); slow < 10 || slow+dead != many+1 {
		t.Errorf("slow got %d, the dead letter %d, of %d", slow, dead, many+1)
	}
}

func TestManySendersAtOnce(t *testing.T) {
	g := newGateway(t)
	g.function("delete-pod", outcomes("delete-pod"))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick), manifest("slack", done, quick, "    - exact: {response: delete-pod}\n")))
	var group sync.WaitGroup
	for sender := range 20 {
		group.Go(func() {
			for n := range 20 {
				s.expect(t, 204, alertAt(t, sender*1000+n))
			}
		})
	}
	group.Wait()
	if len(g.got("delete-pod")) != 400 || len(g.got("slack")) != 400 {
		t.Errorf("delete-pod got %d, slack %d", len(g.got("delete-pod")), len(g.got("slack")))
	}
	if got := s.metric(t, `riposte_router_events_total{result="delivered"}`); got != fmt.Sprint(400) {
		t.Errorf("delivered events: %q", got)
	}
}
