package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// numbered is an alert that can be told from others.
func numbered(i int) []byte {
	return fmt.Appendf(nil, `{"uuid":"u","output":"o","priority":"Notice","rule":"rule %d","time":"2026-01-01T00:00:00Z","output_fields":{"a":1},"source":"syscall"}`, i)
}

// sink stands for the router behind an input: it keeps the alerts it is handed, by rule, and what it has to dead-letter.
type sink struct {
	mu        sync.Mutex
	taken     map[string]int
	discarded []string
	// answer, where set, is asked for each alert; gate, where set, holds it until the gate closes.
	answer func(rule string, attempt int) error
	gate   chan struct{}
	// held gets a value for each alert that comes to the gate.
	held chan string
	// refusals is how many dead letters fail first.
	refusals int
}

func newSink() *sink { return &sink{taken: map[string]int{}, held: make(chan string, 10_000)} }

func (s *sink) take(_ context.Context, events []serve.Event) (report, error) {
	for _, e := range events {
		alert, err := falco.Decode(e.Data)
		if err != nil {
			return report{}, response.InvalidError(err)
		}
		s.mu.Lock()
		s.taken[alert.Rule]++
		attempt, answer, gate := s.taken[alert.Rule], s.answer, s.gate
		s.mu.Unlock()
		if gate != nil {
			s.held <- alert.Rule
			<-gate
		}
		if answer != nil {
			if err := answer(alert.Rule, attempt); err != nil {
				return report{}, err
			}
		}
	}
	return report{}, nil
}

func (s *sink) discard(_ context.Context, raw []byte, why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if why == nil {
		return errors.New("discarded without a reason")
	}
	if s.refusals > 0 {
		s.refusals--
		return errors.New("the dead-letter destination is away")
	}
	s.discarded = append(s.discarded, string(raw))
	return nil
}

// counts are the alerts taken, the number of times each, and what was discarded.
func (s *sink) counts() (map[string]int, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.taken), slices.Clone(s.discarded)
}

func (s *sink) different() int {
	taken, _ := s.counts()
	return len(taken)
}

// awaitHeld waits until so many alerts are at the gate.
func (s *sink) awaitHeld(t *testing.T, count int) []string {
	t.Helper()
	var rules []string
	for range count {
		select {
		case rule := <-s.held:
			rules = append(rules, rule)
		case <-time.After(patience):
			t.Fatalf("%d alerts are at the gate, want %d", len(rules), count)
		}
	}
	return rules
}

// input is an input of NATS that runs.
type input struct {
	*natsInput
	metrics *prometheus.Registry
	log     *lines
	cancel  context.CancelFunc
	ended   chan struct{}
}

// configured is an input that does not run yet, with short pauses.
func configured(t *testing.T, s *sink, environ map[string]string) *input {
	t.Helper()
	var c natsConfig
	if err := config.Load(environ, &c); err != nil {
		t.Fatal(err)
	}
	in := &input{metrics: prometheus.NewRegistry(), log: &lines{}, ended: make(chan struct{})}
	host := serve.Host{Log: slog.New(slog.NewJSONHandler(in.log, nil)), Metrics: in.metrics}
	var err error
	if in.natsInput, err = newNATSInput(c, host, s.take, s.discard); err != nil {
		t.Fatal(err)
	}
	in.reconnect, in.again = growing(5*time.Millisecond, 50*time.Millisecond), growing(5*time.Millisecond, 20*time.Millisecond)
	return in
}

// run starts an input, which ends with the test.
func run(t *testing.T, in *input) *input {
	t.Helper()
	var ctx context.Context
	ctx, in.cancel = context.WithCancel(t.Context())
	go func() {
		defer close(in.ended)
		if err := in.run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	t.Cleanup(func() {
		in.cancel()
		in.awaitEnd(t)
	})
	return in
}

// taking runs an input and waits until it takes messages.
func taking(t *testing.T, s *sink, environ map[string]string) *input {
	t.Helper()
	in := run(t, configured(t, s, environ))
	eventually(t, "ready", func() bool { return in.ready() == nil })
	return in
}

func (in *input) awaitEnd(t *testing.T) {
	t.Helper()
	select {
	case <-in.ended:
	case <-time.After(patience):
		t.Fatal("the input does not end")
	}
}

// number is the value of a counter.
func (in *input) number(t *testing.T, name, result string) int {
	t.Helper()
	families, err := in.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (result == "" || m.GetLabel()[0].GetValue() == result) {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	t.Fatalf("there is no metric %s of %s", name, result)
	return 0
}

func (in *input) results(t *testing.T) map[string]int {
	t.Helper()
	results := map[string]int{}
	for _, result := range []string{resultDelivered, resultAgain, resultDiscarded, resultLost} {
		if n := in.number(t, "riposte_router_nats_messages_total", result); n > 0 {
			results[result] = n
		}
	}
	return results
}

// lines is a log that can be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// publish stores messages in the stream, and tries until each is stored.
func publish(t *testing.T, js jetstream.JetStream, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		eventually(t, "published", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := js.Publish(ctx, fmt.Sprintf("falco.notice.rule_%d", i), numbered(i), jetstream.WithMsgID(fmt.Sprint(i)))
			return err == nil
		})
	}
}

// state is what the server knows of a consumer.
func state(t *testing.T, js jetstream.JetStream) *jetstream.ConsumerInfo {
	t.Helper()
	var info *jetstream.ConsumerInfo
	eventually(t, "the server tells of the consumer", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		consumer, err := js.Consumer(ctx, "ALERTS", "riposte-router")
		if err == nil {
			info = consumer.CachedInfo()
		}
		return err == nil
	})
	return info
}

// awaitDone waits until the server has nothing left for the consumer. It learns of new messages a moment after they are
// published: await first that they are taken.
func awaitDone(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	eventually(t, "all acknowledged", func() bool {
		info := state(t, js)
		return info.NumPending == 0 && info.NumAckPending == 0
	})
}

// overJetStream are the settings of an input of the stream ALERTS.
func overJetStream(s *natsServer, further ...string) map[string]string {
	environ := map[string]string{"NATS_URL": s.url(), "NATS_STREAM": "ALERTS"}
	for i := 0; i < len(further); i += 2 {
		environ[further[i]] = further[i+1]
	}
	return environ
}

// header makes headers of names and values.
func header(pairs ...string) nats.Header {
	h := nats.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h[pairs[i]] = []string{pairs[i+1]}
	}
	return h
}
