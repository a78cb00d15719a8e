package function

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/riposte-dev/riposte/shared/response"
)

// The server is restarted in the middle of a thousand messages. Nothing is lost, and nothing is taken twice but what was
// not acknowledged at that moment.
func TestServerRestartsInTheMiddle(t *testing.T) {
	const all, before, held = 1000, 400, 8
	s, server := newSink(), startNATS(t)
	in := taking(t, s, overJetStream(server, "NATS_CONCURRENCY", fmt.Sprint(held)))
	_, js := server.client(t)
	publish(t, js, 0, before-held)
	eventually(t, "those taken", func() bool { return s.different() == before-held })
	awaitDone(t, js)
	s.mu.Lock()
	s.gate = make(chan struct{})
	s.mu.Unlock()
	publish(t, js, before-held, before+50)
	atGate := s.awaitHeld(t, held)

	server.stop(t, syscall.SIGTERM)
	eventually(t, "not ready", func() bool { return in.ready() != nil })
	server.start(t)
	published := make(chan struct{})
	go func() {
		defer close(published)
		publish(t, js, before+50, all)
	}()
	close(s.gate)
	<-published
	eventually(t, "all taken", func() bool { return s.different() == all })
	awaitDone(t, js)
	taken, discarded := s.counts()
	var twice, unexpected []string
	for rule, count := range taken {
		switch {
		case count > 1 && slices.Contains(atGate, rule):
			twice = append(twice, rule)
		case count > 1:
			unexpected = append(unexpected, rule)
		}
	}
	t.Logf("%d messages, %d unacknowledged at the restart: %d taken, %d of those %d twice, %d others twice",
		all, held, len(taken), len(twice), held, len(unexpected))
	if len(unexpected) > 0 || len(discarded) > 0 {
		t.Errorf("taken twice although acknowledged: %q; discarded: %q", unexpected, discarded)
	}
}

// The server is killed while the router works at full speed and somebody publishes. It writes acknowledgements down
// late, so that some messages are taken again; nothing is lost.
func TestServerKilledAtFullSpeed(t *testing.T) {
	const all = 1000
	s, server := newSink(), startNATS(t)
	in := configured(t, s, overJetStream(server))
	in.ackWait = time.Second // After that a message comes again whose acknowledgement was lost.
	run(t, in)
	eventually(t, "ready", func() bool { return in.ready() == nil })
	_, js := server.client(t)
	published := make(chan struct{})
	go func() {
		defer close(published)
		publish(t, js, 0, all)
	}()
	for _, at := range []int{250, 600} {
		eventually(t, "some taken", func() bool { return s.different() >= at })
		server.stop(t, syscall.SIGKILL)
		server.start(t)
	}
	<-published
	eventually(t, "all taken", func() bool { return s.different() == all })
	awaitDone(t, js)
	taken, _ := s.counts()
	again := 0
	for _, count := range taken {
		again += count - 1
	}
	t.Logf("%d messages, the server killed twice: %d taken, %d repeats", all, len(taken), again)
}

func TestMessagesThatFail(t *testing.T) {
	transient := response.TransientError(errors.New("the function is away"), 0)
	poison := `{"rule":` // No alert, in no form.
	tests := map[string]struct {
		messages []*nats.Msg
		answer   func(rule string, attempt int) error
		refusals int
		taken    map[string]int
		results  map[string]int
		dead     []string
	}{
		"three failures, then delivered": {
			messages: []*nats.Msg{{Data: numbered(1)}},
			answer: func(_ string, attempt int) error {
				if attempt <= 3 {
					return transient
				}
				return nil
			},
			taken: map[string]int{"rule 1": 4}, results: map[string]int{resultAgain: 3, resultDelivered: 1},
		},
		"no alert": {
			messages: []*nats.Msg{{Data: []byte(poison)}, {Data: numbered(1)}},
			taken:    map[string]int{"rule 1": 1}, results: map[string]int{resultDiscarded: 1, resultDelivered: 1}, dead: []string{poison},
		},
		"no event": {
			messages: []*nats.Msg{{Data: numbered(1), Header: header("ce-specversion", "1.0")}},
			results:  map[string]int{resultDiscarded: 1}, dead: []string{string(numbered(1))},
		},
		"no alert, and the dead letter fails twice": {
			messages: []*nats.Msg{{Data: []byte(poison)}}, refusals: 2,
			results: map[string]int{resultDiscarded: 1, resultAgain: 2}, dead: []string{poison},
		},
		"fails too often": {
			messages: []*nats.Msg{{Data: numbered(1)}, {Data: numbered(2)}},
			answer: func(rule string, _ int) error {
				if rule == "rule 1" {
					return transient
				}
				return nil
			},
			taken: map[string]int{"rule 1": 5, "rule 2": 1}, results: map[string]int{resultAgain: 4, resultDiscarded: 1, resultDelivered: 1},
			dead: []string{string(numbered(1))},
		},
		"fails too often, and the dead letter fails twice": {
			messages: []*nats.Msg{{Data: numbered(1)}}, refusals: 2,
			answer: func(string, int) error { return transient },
			taken:  map[string]int{"rule 1": 5}, results: map[string]int{resultAgain: 6, resultDiscarded: 1}, dead: []string{string(numbered(1))},
		},
	}
	server := startNATS(t)
	_, js := server.client(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSink()
			s.answer, s.refusals = test.answer, test.refusals
			in := taking(t, s, overJetStream(server, "NATS_MAX_DELIVER", "5"))
			for _, m := range test.messages {
				m.Subject = "falco.notice.x"
				if _, err := js.PublishMsg(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, "all worked on", func() bool { return cmp.Equal(test.results, in.results(t)) })
			awaitDone(t, js)
			in.cancel()
			in.awaitEnd(t)
			taken, dead := s.counts()
			if test.taken == nil {
				test.taken = map[string]int{}
			}
			if diff := cmp.Diff(test.taken, taken); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.dead, dead); diff != "" {
				t.Errorf("dead-lettered (-want +got):\n%.300s", diff)
			}
			if diff := cmp.Diff(test.results, in.results(t)); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		})
	}
}

// A message that was given so often that a router may have died of it is not tried again.
func TestMessageThatRoutersDieOf(t *testing.T) {
	s, server := newSink(), startNATS(t)
	_, js := server.client(t)
	first := taking(t, s, overJetStream(server))
	first.cancel()
	first.awaitEnd(t)
	publish(t, js, 1, 2)
	consumer, err := js.Consumer(t.Context(), "ALERTS", "riposte-router")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
		if err == nil {
			err = msg.Nak()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	taking(t, s, overJetStream(server, "NATS_MAX_DELIVER", "3"))
	eventually(t, "dead-lettered", func() bool {
		_, dead := s.counts()
		return len(dead) > 0
	})
	awaitDone(t, js)
	if taken, dead := s.counts(); len(taken) > 0 || !slices.Equal(dead, []string{string(numbered(1))}) {
		t.Errorf("taken %v, dead-lettered %q", taken, dead)
	}
}

// A delivery that takes longer than the ack wait keeps its message.
func TestLongDelivery(t *testing.T) {
	s, server := newSink(), startNATS(t)
	conn, js := server.client(t)
	s.gate = make(chan struct{})
	in := configured(t, s, overJetStream(server))
	in.ackWait = time.Second
	run(t, in)
	eventually(t, "ready", func() bool { return in.ready() == nil })
	progress := make(chan *nats.Msg, 100)
	if _, err := conn.ChanSubscribe("$JS.ACK.ALERTS.>", progress); err != nil {
		t.Fatal(err)
	}
	publish(t, js, 1, 2)
	s.awaitHeld(t, 1)
	for range 6 { // Twice the ack wait.
		select {
		case m := <-progress:
			if string(m.Data) != "+WPI" {
				t.Fatalf("the server is told %q, want that the work is in progress", m.Data)
			}
		case <-time.After(patience):
			t.Fatal("the server is told nothing")
		}
	}
	close(s.gate)
	awaitDone(t, js)
	if taken, _ := s.counts(); !cmp.Equal(taken, map[string]int{"rule 1": 1}) {
		t.Errorf("taken %v, want once", taken)
	}
}

// A router that is told to end finishes what it has begun and takes nothing more; the next one takes the rest at once.
func TestShutdownInTheMiddle(t *testing.T) {
	const all, held = 20, 4
	s, server := newSink(), startNATS(t)
	_, js := server.client(t)
	s.gate = make(chan struct{})
	first := taking(t, s, overJetStream(server, "NATS_CONCURRENCY", fmt.Sprint(held)))
	publish(t, js, 0, all)
	s.awaitHeld(t, held)
	first.cancel()
	eventually(t, "nobody pulls", func() bool { return state(t, js).NumWaiting == 0 })
	select {
	case <-first.ended:
		t.Fatal("it ended with deliveries begun")
	default:
	}
	close(s.gate)
	first.awaitEnd(t)
	if n := s.different(); n != held {
		t.Errorf("the first router has taken %d, want %d", n, held)
	}
	taking(t, s, overJetStream(server))
	eventually(t, "the rest taken", func() bool { return s.different() == all })
	awaitDone(t, js)
	taken, _ := s.counts()
	for rule, count := range taken {
		if count > 1 {
			t.Errorf("%s was taken %d times", rule, count)
		}
	}
	if len(taken) != all {
		t.Errorf("%d were taken, want %d", len(taken), all)
	}
}

// Whoever deletes the consumer makes the router begin anew, not end: while it pulls, when the server tells it, and while
// it works, when nobody does.
func TestConsumerDeletedWhileItIsUsed(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprintf("busy %t", busy), func(t *testing.T) {
			s, server := newSink(), startNATS(t)
			_, js := server.client(t)
			s.gate = make(chan struct{})
			in := taking(t, s, overJetStream(server, "NATS_CONCURRENCY", "1"))
			if busy {
				publish(t, js, 0, 1)
				s.awaitHeld(t, 1)
			} else {
				eventually(t, "it pulls", func() bool { return state(t, js).NumWaiting > 0 })
			}
			if err := js.DeleteConsumer(t.Context(), "ALERTS", "riposte-router"); err != nil {
				t.Fatal(err)
			}
			close(s.gate)
			eventually(t, "noticed", func() bool { return in.log.has("trying again") })
			publish(t, js, 1, 2)
			eventually(t, "taken", func() bool {
				taken, _ := s.counts()
				return taken["rule 1"] == 1
			})
			eventually(t, "ready", func() bool { return in.ready() == nil })
		})
	}
}

// What a function says about when to come back counts.
func TestRetryAfterIsKept(t *testing.T) {
	s, server := newSink(), startNATS(t)
	_, js := server.client(t)
	in := taking(t, s, overJetStream(server))
	s.mu.Lock()
	s.answer = func(string, int) error { return response.TransientError(errors.New("busy"), time.Hour) }
	s.mu.Unlock()
	publish(t, js, 0, 1)
	eventually(t, "given back", func() bool { return in.log.has(`"after":"1h0m0s"`) })
	if info := state(t, js); info.NumAckPending != 1 {
		t.Errorf("%d messages wait, want 1", info.NumAckPending)
	}
}
