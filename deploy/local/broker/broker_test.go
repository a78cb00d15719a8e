package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/triggers"
)

// names is the network of all tests: Knative's clients are made of
// http.DefaultTransport and kept for the life of the process.
var names = broker.NewNetwork()

func TestMain(m *testing.M) {
	http.DefaultTransport = names.Transport()
	os.Exit(m.Run())
}

const soon = 10 * time.Second

const manifest = `
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: default, namespace: riposte, annotations: {messaging.knative.dev/async-handler: "%s"}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: alerts, namespace: riposte}
spec:
  broker: default
  filters:
    - exact: {type: falco.rule.output.v1, rule: Drop and execute new binary in container}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: delete-pod}}
  delivery:
    retry: 2
    backoffPolicy: exponential
    backoffDelay: PT0.1S
    deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead-letter}}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: outcomes, namespace: riposte}
spec:
  broker: default
  filters:
    - exact: {type: dev.riposte.response.v1}
    - not: {exact: {response: slack}}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: slack}}
`

// bench is a Broker with two functions and what it reported.
type bench struct {
	t         *testing.T
	broker    *broker.Broker
	accepted  chan broker.Accepted
	rejected  chan broker.Rejected
	calling   chan broker.Attempt
	delivered chan broker.Delivery
	dead      chan broker.DeadLetter
}

func start(t *testing.T, set *triggers.Set, functions map[string]http.HandlerFunc) *bench {
	t.Helper()
	b := &bench{
		t: t, accepted: make(chan broker.Accepted, 100), rejected: make(chan broker.Rejected, 100),
		calling: make(chan broker.Attempt, 100), delivered: make(chan broker.Delivery, 100), dead: make(chan broker.DeadLetter, 100),
	}
	for name, handler := range functions {
		server := httptest.NewServer(handler)
		host := name + ".riposte.svc.cluster.local"
		names.Set(host, server.Listener.Addr().String())
		t.Cleanup(func() {
			names.Set(host, "")
			server.CloseClientConnections()
			server.Close()
		})
	}
	var err error
	b.broker, err = broker.Start(t.Context(), broker.Options{
		Triggers: set, Network: names, Log: logOf(t),
		Hooks: broker.Hooks{
			Accepted:     func(a broker.Accepted) { b.accepted <- a },
			Rejected:     func(r broker.Rejected) { b.rejected <- r },
			Calling:      func(a broker.Attempt) { b.calling <- a },
			Delivered:    func(d broker.Delivery) { b.delivered <- d },
			DeadLettered: func(d broker.DeadLetter) { b.dead <- d },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.broker.Close() })
	return b
}

// testLog is a test's log while the test runs: what a Broker began, it may end later.
type testLog struct {
	mu sync.Mutex
	to io.Writer
}

func logOf(t *testing.T) *testLog {
	t.Helper()
	l := &testLog{to: t.Output()}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.to = io.Discard
	})
	return l
}

func (l *testLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(line)
}

func load(t *testing.T, text string) *triggers.Set {
	t.Helper()
	set, err := triggers.Load(fstest.MapFS{"all.yaml": {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(soon):
		t.Fatalf("no %T came", *new(T))
		panic("unreachable")
	}
}

func none[T any](t *testing.T, c <-chan T) {
	t.Helper()
	select {
	case v := <-c:
		t.Fatalf("unexpected %T: %+v", v, v)
	default:
	}
}

// capture posts the bytes that Falcosidekick sent to the Broker.
func (b *bench) capture(name string) (status int) {
	b.t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "test", "captures", name, "cloudevents.http"))
	if err != nil {
		b.t.Fatal(err)
	}
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.post(request.Header, request.Body, "")
}

func (b *bench) post(header http.Header, body io.Reader, host string) (status int) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.broker.URL("riposte", "default"), body)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header, request.Host = header, host
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// outcome answers as a function does.
func outcome(function string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		in, err := cehttp.NewEventFromHTTPRequest(r)
		if err != nil {
			http.Error(w, "not an event", http.StatusBadRequest)
			return
		}
		e := event.New()
		e.SetID("outcome of " + in.ID())
		e.SetType(triggers.TypeOutcome)
		e.SetSource("/functions/" + function)
		e.SetExtension("response", function)
		e.SetExtension("outcome", "applied")
		_ = e.SetData("application/json", map[string]string{"outcome": "applied"})
		_ = cehttp.WriteResponseWriter(r.Context(), binding.ToMessage(&e), http.StatusOK, w)
	}
}

func answer(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, status) }
}

const critical = "03-drop-and-execute-critical"

func TestReplyGoesBackIntoTheBroker(t *testing.T) {
	var got *http.Request
	var body []byte
	arrived := make(chan struct{}, 1)
	b := start(t, load(t, fmt.Sprintf(manifest, "true")), map[string]http.HandlerFunc{
		"delete-pod": func(w http.ResponseWriter, r *http.Request) {
			got = r.Clone(context.WithoutCancel(r.Context()))
			body, _ = io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			outcome("delete-pod")(w, r)
			arrived <- struct{}{}
		},
		"slack": outcome("slack"),
	})
	if status := b.capture(critical); status != http.StatusAccepted {
		t.Fatalf("the broker answered %d", status)
	}
	alert := next(t, b.accepted)
	if alert.Parent != "" || alert.Event.Type() != triggers.TypeFalco || len(alert.Decisions) != 2 {
		t.Errorf("accepted %+v", alert)
	}
	if d := alert.Decisions[0]; !d.Matched || d.Trigger != "alerts" || d.Function != "delete-pod" {
		t.Errorf("decided %+v", d)
	}
	if d := alert.Decisions[1]; d.Matched || d.Reason == "" {
		t.Errorf("decided %+v", d)
	}
	first := next(t, b.calling)
	delivery := next(t, b.delivered)
	if first.Function != "delete-pod" || first.Key != alert.Key || first.Number != 1 {
		t.Errorf("called %+v", first)
	}
	if delivery.Status != http.StatusOK || delivery.Reply == nil || delivery.Again || delivery.Duration <= 0 {
		t.Errorf("delivered %+v", delivery)
	}
	next(t, arrived)
	raw, _ := os.ReadFile("../../../test/captures/" + critical + "/cloudevents.http")
	if _, sent, _ := bytes.Cut(raw, []byte("\r\n\r\n")); !bytes.Equal(body, sent) {
		t.Error("the function did not get the bytes that were sent")
	}
	if got.Host != "delete-pod.riposte.svc.cluster.local" || got.Header.Get("Prefer") != "reply" ||
		got.Header.Get("Ce-Rule") != "Drop and execute new binary in container" || got.Header.Get("Ce-Knativebrokerttl") != "" {
		t.Errorf("the function got %v %v", got.Host, got.Header)
	}

	reply := next(t, b.accepted)
	if reply.Parent != alert.Key || reply.Event.ID() != delivery.Reply.ID() || reply.Event.Type() != triggers.TypeOutcome {
		t.Errorf("the outcome came back as %+v", reply)
	}
	if told := next(t, b.delivered); told.Function != "slack" || told.Key != reply.Key || told.Status != http.StatusOK {
		t.Errorf("then delivered %+v", told)
	}
	// The outcome of slack itself comes back too, and no trigger takes it.
	last := next(t, b.accepted)
	for _, d := range last.Decisions {
		if d.Matched {
			t.Errorf("the outcome of slack fires %s", d.Trigger)
		}
	}
	none(t, b.delivered)
	none(t, b.dead)
}

func TestServerErrorsAreTriedAgain(t *testing.T) {
	calls := 0
	b := start(t, load(t, fmt.Sprintf(manifest, "false")), map[string]http.HandlerFunc{
		"delete-pod": func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls < 3 {
				answer(http.StatusInternalServerError, "the API server is away")(w, r)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		},
	})
	if status := b.capture(critical); status != http.StatusAccepted {
		t.Fatalf("the broker answered %d", status)
	}
	for number := 1; number <= 3; number++ {
		d := next(t, b.delivered)
		failed := number < 3
		if d.Number != number || d.Again != failed || (d.Status == http.StatusInternalServerError) != failed ||
			(d.Answer == "the API server is away") != failed {
			t.Errorf("attempt %d: %+v", number, d)
		}
		if failed && d.In != 100*time.Millisecond<<(number-1) {
			t.Errorf("attempt %d is followed by another in %s", number, d.In)
		}
	}
	none(t, b.dead)
}

func TestClientErrorsGoToTheDeadLetterAtOnce(t *testing.T) {
	b := start(t, load(t, fmt.Sprintf(manifest, "true")), map[string]http.HandlerFunc{
		"delete-pod": answer(http.StatusBadRequest, "rule is missing"),
	})
	b.capture(critical)
	d := next(t, b.delivered)
	if d.Number != 1 || d.Again || d.Status != http.StatusBadRequest || d.Answer != "rule is missing" {
		t.Errorf("delivered %+v", d)
	}
	dead := next(t, b.dead)
	if dead.Key != d.Key || dead.Function != "delete-pod" || dead.Status != http.StatusBadRequest || dead.Answer != "rule is missing" ||
		dead.Destination != "http://delete-pod.riposte.svc.cluster.local" {
		t.Errorf("dead letter %+v", dead)
	}
	if dead.Event.Type() != triggers.TypeFalco {
		t.Errorf("the dead letter is a %s", dead.Event.Type())
	}
	none(t, b.delivered)
}

// Knative's dispatcher panics at an answer of more than 768 bytes.
func TestLongAnswersAreCut(t *testing.T) {
	for _, length := range []int{768, 769, 100_000} {
		b := start(t, load(t, fmt.Sprintf(manifest, "true")), map[string]http.HandlerFunc{
			"delete-pod": func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, strings.Repeat("x", length))
			},
		})
		b.capture(critical)
		if dead := next(t, b.dead); dead.Answer != strings.Repeat("x", 768) {
			t.Errorf("of %d bytes the dead letter has %d", length, len(dead.Answer))
		}
	}
}

func TestTriggerWithoutDeadLetterHasTheBrokers(t *testing.T) {
	const sink = "deadLetterSink: {ref: {apiVersion: v1, kind: Service, name: dead-letter}}"
	text := strings.Replace(fmt.Sprintf(manifest, "true"), "    "+sink+"\n", "", 1)
	text = strings.Replace(text, "\n---", "\nspec: {delivery: {"+sink+"}}\n---", 1)
	b := start(t, load(t, text), map[string]http.HandlerFunc{"delete-pod": answer(http.StatusBadRequest, "rule is missing")})
	b.capture(critical)
	if dead := next(t, b.dead); dead.Function != "delete-pod" || dead.Answer != "rule is missing" {
		t.Errorf("dead letter %+v", dead)
	}
}

func TestFunctionThatIsNotThere(t *testing.T) {
	b := start(t, load(t, fmt.Sprintf(manifest, "true")), nil)
	b.capture(critical)
	for number := 1; number <= 3; number++ {
		d := next(t, b.delivered)
		if d.Status != http.StatusInternalServerError || d.Again != (number < 3) || !strings.Contains(d.Answer, "delete-pod.riposte") {
			t.Errorf("attempt %d: %+v", number, d)
		}
	}
	if dead := next(t, b.dead); dead.Status != http.StatusInternalServerError {
		t.Errorf("dead letter %+v", dead)
	}
}

func TestAnswerThatIsNoEvent(t *testing.T) {
	b := start(t, load(t, fmt.Sprintf(manifest, "true")), map[string]http.HandlerFunc{
		"delete-pod": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "deleted") },
	})
	b.capture(critical)
	for number := 1; number <= 3; number++ {
		if d := next(t, b.delivered); d.Status != http.StatusBadGateway || d.Answer == "" || d.Reply != nil {
			t.Errorf("attempt %d: %+v", number, d)
		}
	}
	next(t, b.dead)
}

func TestAsyncBrokerAnswersBeforeTheFunction(t *testing.T) {
	release := make(chan struct{})
	b := start(t, load(t, fmt.Sprintf(manifest, "true")), map[string]http.HandlerFunc{
		"delete-pod": func(w http.ResponseWriter, _ *http.Request) {
			<-release
			w.WriteHeader(http.StatusNoContent)
		},
	})
	if status := b.capture(critical); status != http.StatusAccepted {
		t.Errorf("the broker answered %d", status)
	}
	next(t, b.calling)
	none(t, b.delivered)
	close(release)
	next(t, b.delivered)
}

func TestRefusedRequests(t *testing.T) {
	b := start(t, load(t, fmt.Sprintf(manifest, "true")), nil)
	good := http.Header{
		"Ce-Id": {"1"}, "Ce-Type": {"t"}, "Ce-Source": {"/s"}, "Ce-Specversion": {"1.0"}, "Content-Type": {"application/json"},
	}
	for name, tc := range map[string]struct {
		header http.Header
		host   string
		body   string
		want   int
	}{
		"another host":    {good, "attacker.example", "{}", http.StatusForbidden},
		"localhost":       {good, "localhost:1", "{}", http.StatusAccepted},
		"no event":        {http.Header{"Content-Type": {"application/json"}}, "", "{}", http.StatusBadRequest},
		"half an event":   {http.Header{"Ce-Id": {"1"}, "Ce-Specversion": {"1.0"}}, "", "{}", http.StatusBadRequest},
		"two megabytes":   {good, "", `"` + strings.Repeat("x", 2<<20) + `"`, http.StatusRequestEntityTooLarge},
		"broken envelope": {http.Header{"Content-Type": {"application/cloudevents+json"}}, "", "{", http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			if got := b.post(tc.header.Clone(), strings.NewReader(tc.body), tc.host); got != tc.want {
				t.Errorf("the broker answered %d, want %d", got, tc.want)
			}
			if tc.want >= http.StatusBadRequest && tc.host == "" {
				next(t, b.rejected)
			}
		})
	}
}

// Every capture calls exactly the functions of the triggers that match it, through
// Knative's own filter handler.
func TestCapturesThroughTheShippedTriggers(t *testing.T) {
	set, err := triggers.LoadDir("../../../triggers", "../../../deploy/knative/brokers/in-memory")
	if err != nil {
		t.Fatal(err)
	}
	functions := map[string]http.HandlerFunc{}
	for _, name := range set.Functions() {
		functions[name] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	}
	b := start(t, set, functions)
	files, err := filepath.Glob("../../../test/captures/*/cloudevents.http")
	if err != nil || len(files) < 20 {
		t.Fatalf("found %d captures: %v", len(files), err)
	}
	for _, file := range files {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			b.t = t
			b.capture(name)
			var want, got []string
			for _, d := range next(t, b.accepted).Decisions {
				if d.Matched {
					want = append(want, d.Trigger)
				}
			}
			for range want {
				got = append(got, next(t, b.delivered).Trigger)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("called %v, want %v", got, want)
			}
			none(t, b.delivered)
		})
	}
}
