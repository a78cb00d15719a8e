package function

import (
	"context"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/riposte-dev/riposte/shared/testkit/pki"
)

// A server that is not there yet is waited for.
func TestServerDownAtStart(t *testing.T) {
	for _, stream := range []string{"", "ALERTS"} {
		t.Run("stream "+stream, func(t *testing.T) {
			s, server := newSink(), startNATS(t)
			server.stop(t, syscall.SIGKILL)
			in := run(t, configured(t, s, map[string]string{"NATS_URL": server.url(), "NATS_STREAM": stream}))
			eventually(t, "tried", func() bool { return in.log.has("cannot be reached") })
			if err := in.ready(); err == nil || !strings.Contains(err.Error(), "not connected") {
				t.Errorf("ready says %v", err)
			}
			server.start(t)
			eventually(t, "ready", func() bool { return in.ready() == nil })
			conn, _ := server.client(t)
			if err := conn.Publish("falco.notice.x", numbered(1)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "taken", func() bool { return s.different() == 1 })
		})
	}
	in := run(t, configured(t, newSink(), map[string]string{"NATS_URL": "nats://127.0.0.1:1"}))
	eventually(t, "tried", func() bool { return in.log.has("cannot be reached") })
	in.cancel() // It ends all the same.
	in.awaitEnd(t)
}

func TestNATSNotConfigured(t *testing.T) {
	in := run(t, configured(t, newSink(), nil))
	if err := in.ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}
	in.cancel()
	in.awaitEnd(t)
}

// A token that NATS refuses today may be the right one tomorrow, when its file has changed.
func TestTokenThatChanges(t *testing.T) {
	s, server := newSink(), startNATS(t, "TEST_NATS_TOKEN=right")
	dir := t.TempDir()
	file := pki.File(t, dir, "token", []byte("wrong\n"))
	in := run(t, configured(t, s, map[string]string{"NATS_URL": server.url(), "NATS_TOKEN_FILE": file}))
	eventually(t, "refused", func() bool {
		err := in.ready()
		return err != nil && strings.Contains(strings.ToLower(err.Error()), "authorization")
	})
	if in.log.has("wrong") {
		t.Error("the log tells the token")
	}
	if err := os.WriteFile(file, []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", func() bool { return in.ready() == nil })
}

// Server and router show each other certificates.
func TestNATSOverTLS(t *testing.T) {
	ca := pki.New(t, "NATS CA")
	dir, client := t.TempDir(), t.TempDir()
	cert, key := ca.Issue(t, pki.Leaf{Names: []string{"127.0.0.1"}}).Write(t, dir)
	authority := pki.File(t, dir, "ca.crt", ca.PEM)
	clientCert, clientKey := ca.Issue(t, pki.Leaf{Names: []string{"router"}}).Write(t, client)
	server := startNATS(t, "TEST_NATS_CERT="+cert, "TEST_NATS_KEY="+key, "TEST_NATS_CA="+authority)
	address := strings.Replace(server.url(), "nats:", "tls:", 1)
	s := newSink()
	taking(t, s, map[string]string{"NATS_URL": address, "NATS_CA_FILE": authority, "NATS_CERT_FILE": clientCert, "NATS_KEY_FILE": clientKey})

	stranger := run(t, configured(t, newSink(), map[string]string{"NATS_URL": address, "NATS_CA_FILE": authority}))
	eventually(t, "refused", func() bool {
		err := stranger.ready()
		return err != nil && (strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), "tls"))
	})
	unsure := run(t, configured(t, newSink(), map[string]string{"NATS_URL": address}))
	eventually(t, "not trusted", func() bool {
		err := unsure.ready()
		return err != nil && strings.Contains(err.Error(), "certificate")
	})
	missing := run(t, configured(t, newSink(), map[string]string{"NATS_URL": address, "NATS_CA_FILE": dir + "/none"}))
	eventually(t, "tried again", func() bool { return missing.log.has("trying again") })
}

// A stream is created as the settings say, once, and left alone if it is there.
func TestStreams(t *testing.T) {
	server := startNATS(t)
	_, js := server.client(t)
	own := run(t, configured(t, newSink(), overJetStream(server, "NATS_STREAM_CREATE", "false")))
	eventually(t, "missed", func() bool {
		err := own.ready()
		return err != nil && strings.Contains(err.Error(), "stream ALERTS")
	})
	mine := jetstream.StreamConfig{Name: "ALERTS", Subjects: []string{"falco.>", "other"}, Storage: jetstream.MemoryStorage, MaxMsgs: 10_000}
	if _, err := js.CreateStream(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	eventually(t, "found", func() bool { return own.ready() == nil })
	before := streamConfig(t, js, "ALERTS")
	taking(t, newSink(), overJetStream(server))
	if diff := cmp.Diff(before, streamConfig(t, js, "ALERTS")); diff != "" {
		t.Errorf("the stream was changed:\n%s", diff)
	}

	taking(t, newSink(), map[string]string{"NATS_URL": server.url(), "NATS_STREAM": "NEW", "NATS_SUBJECT": "new.>"})
	made := streamConfig(t, js, "NEW")
	if made.Storage != jetstream.FileStorage || made.MaxAge != 72*time.Hour || !cmp.Equal(made.Subjects, []string{"new.>"}) || made.Retention != jetstream.LimitsPolicy {
		t.Errorf("the stream was made with %+v", made)
	}
	info := state(t, js).Config
	if info.MaxDeliver != -1 || info.AckPolicy != jetstream.AckExplicitPolicy || info.MaxAckPending != 1000 {
		t.Errorf("the consumer was made with %+v", info)
	}
}

func streamConfig(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().Config
}

// A consumer of somebody else's making through which alerts would be lost is not used.
func TestConsumersThatLoseAlerts(t *testing.T) {
	server := startNATS(t)
	_, js := server.client(t)
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ALERTS", Subjects: []string{"falco.>"}})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		config jetstream.ConsumerConfig
		word   string
	}{
		"never-acks": {jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy}, "ack policy"},
		"acks-all":   {jetstream.ConsumerConfig{AckPolicy: jetstream.AckAllPolicy}, "ack policy"},
		"gives-up":   {jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5}, "max deliver"},
		"impatient":  {jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Millisecond}, "ack wait"},
		"partial":    {jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "falco.critical.>"}, "filter subject"},
		"parts":      {jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: []string{"falco.a", "falco.b"}}, "filter subjects"},
		"sound":      {jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.config.Durable = name
			if _, err := stream.CreateConsumer(t.Context(), test.config); err != nil {
				t.Fatal(err)
			}
			in := run(t, configured(t, newSink(), overJetStream(server, "NATS_CONSUMER", name)))
			eventually(t, "judged", func() bool {
				err := in.ready()
				return test.word == "" && err == nil || test.word != "" && err != nil && strings.Contains(err.Error(), test.word)
			})
		})
	}
}

func TestWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	if !wait(ctx, time.Nanosecond) {
		t.Error("a pause ends early")
	}
	cancel()
	if wait(ctx, time.Hour) {
		t.Error("a pause outlives its context")
	}
}

// The permissions that docs/router-inputs.md names are enough.
func TestLeastPermissions(t *testing.T) {
	s, server := newSink(), startNATS(t, "TEST_NATS_ALLOW=$JS.API.STREAM.INFO.ALERTS,$JS.API.STREAM.CREATE.ALERTS,"+
		"$JS.API.CONSUMER.*.ALERTS.>,$JS.API.CONSUMER.MSG.NEXT.ALERTS.>,$JS.ACK.ALERTS.>")
	_, js := server.client(t)
	in := taking(t, s, overJetStream(server, "NATS_URL", strings.Replace(server.url(), "//", "//router:secret@", 1)))
	publish(t, js, 0, 10)
	eventually(t, "all taken", func() bool { return s.different() == 10 })
	awaitDone(t, js)
	if in.log.has("ermissions") || in.log.has("secret") {
		t.Error("the log tells of permissions that are missing, or the password")
	}
}

// A subscription that NATS forbids makes the router not ready, since nothing would ever come.
func TestForbiddenSubscription(t *testing.T) {
	server := startNATS(t, "TEST_NATS_ALLOW=nothing")
	in := run(t, configured(t, newSink(), map[string]string{"NATS_URL": strings.Replace(server.url(), "//", "//router:secret@", 1)}))
	eventually(t, "not ready for that", func() bool {
		err := in.ready()
		return err != nil && strings.Contains(err.Error(), "ermission")
	})
}

// So does one that was allowed and is no more, until it is allowed again.
func TestForbiddenSubscriptionLater(t *testing.T) {
	s, server := newSink(), startNATS(t)
	in := taking(t, s, map[string]string{"NATS_URL": strings.Replace(server.url(), "//", "//router:secret@", 1)})
	for _, allowed := range []bool{false, true} {
		server.stop(t, syscall.SIGKILL)
		server.environ = nil
		if !allowed {
			server.environ = []string{"TEST_NATS_ALLOW=nothing"}
		}
		server.start(t)
		eventually(t, "noticed", func() bool { return in.log.has("forbids the subscription") })
		eventually(t, "ready, or not for that", func() bool {
			err := in.ready()
			return allowed && err == nil || !allowed && err != nil && strings.Contains(err.Error(), "ermission")
		})
	}
	conn, _ := server.client(t)
	if err := conn.Publish("falco.notice.x", numbered(1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "taken", func() bool { return s.different() == 1 })
}
