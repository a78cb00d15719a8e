package function

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/response"
)

// Two routers of a queue group share what is published: each message goes to one of them.
func TestQueueGroupShares(t *testing.T) {
	const all = 400
	server := startNATS(t)
	sinks := []*sink{newSink(), newSink()}
	for _, s := range sinks {
		in := taking(t, s, map[string]string{"NATS_URL": server.url()})
		if !in.log.has("at most once") {
			t.Error("nobody is told that core NATS delivers at most once")
		}
	}
	conn, _ := server.client(t)
	for i := range all {
		if err := conn.Publish("falco.notice.x", numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all taken", func() bool { return sinks[0].different()+sinks[1].different() == all })
	total := map[string]int{}
	for _, s := range sinks {
		taken, _ := s.counts()
		if len(taken) == 0 {
			t.Error("a router got nothing")
		}
		for rule, count := range taken {
			total[rule] += count
		}
	}
	for rule, count := range total {
		if count != 1 {
			t.Errorf("%s was taken %d times", rule, count)
		}
	}
	if len(total) != all {
		t.Errorf("%d alerts, want %d", len(total), all)
	}
}

// Core NATS gives a message once: what fails is dead-lettered, and where that fails it is counted as lost.
func TestCoreMessagesThatFail(t *testing.T) {
	s, server := newSink(), startNATS(t)
	in := taking(t, s, map[string]string{"NATS_URL": server.url(), "NATS_CONCURRENCY": "1"})
	conn, _ := server.client(t)
	s.answer = func(rule string, _ int) error {
		if rule == "rule 1" {
			return response.TransientError(errors.New("away"), 0)
		}
		return nil
	}
	s.refusals = 1
	for _, data := range [][]byte{[]byte("[]"), []byte("{"), numbered(1), numbered(2)} {
		if err := conn.Publish("falco.notice.x", data); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all worked on", func() bool { return in.results(t)[resultDelivered] == 1 })
	if diff := cmp.Diff(map[string]int{resultLost: 1, resultDiscarded: 2, resultDelivered: 1}, in.results(t)); diff != "" {
		t.Errorf("counted (-want +got):\n%s", diff)
	}
	if _, dead := s.counts(); !cmp.Equal(dead, []string{"{", string(numbered(1))}) {
		t.Errorf("dead-lettered %q", dead)
	}
	if !in.log.has("alert lost") {
		t.Error("nobody is told of the loss")
	}
}

// More messages than can be worked on are dropped, counted and logged, and the router goes on.
func TestCoreOverload(t *testing.T) {
	s, server := newSink(), startNATS(t)
	s.gate = make(chan struct{})
	in := configured(t, s, map[string]string{"NATS_URL": server.url(), "NATS_CONCURRENCY": "1"})
	in.waiting = 5
	run(t, in)
	eventually(t, "ready", func() bool { return in.ready() == nil })
	conn, _ := server.client(t)
	for i := range 50 {
		if err := conn.Publish("falco.notice.x", numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	const metric = "riposte_router_nats_dropped_total"
	eventually(t, "some dropped", func() bool { return in.number(t, metric, "") > 0 })
	eventually(t, "logged", func() bool { return in.log.has("messages of NATS dropped") })
	if err := in.ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	// One is worked on, one waits for its place.
	eventually(t, "all counted", func() bool { return in.number(t, metric, "") >= 50-in.waiting-2 })
	dropped := in.number(t, metric, "")
	close(s.gate)
	eventually(t, "the rest taken", func() bool { return s.different() == 50-dropped })
	t.Logf("50 messages at once, %d may wait: %d taken, %d dropped", in.waiting, s.different(), dropped)
}

// What waits when the router is told to end is still delivered.
func TestCoreShutdown(t *testing.T) {
	s, server := newSink(), startNATS(t)
	s.gate = make(chan struct{})
	in := taking(t, s, map[string]string{"NATS_URL": server.url(), "NATS_CONCURRENCY": "1"})
	conn, _ := server.client(t)
	for i := range 5 {
		if err := conn.Publish("falco.notice.x", numbered(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	s.awaitHeld(t, 1)
	in.cancel()
	close(s.gate)
	in.awaitEnd(t)
	if n := s.different(); n != 5 {
		t.Errorf("%d of 5 were taken", n)
	}
}
