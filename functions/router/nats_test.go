package function

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestNATSSettings(t *testing.T) {
	tests := map[string]struct {
		environ map[string]string
		// names are the variables that have to be complained about.
		names []string
	}{
		"none":                  {},
		"a server":              {environ: map[string]string{"NATS_URL": "nats://nats:4222"}},
		"several servers":       {environ: map[string]string{"NATS_URL": "tls://a:4222,tls://b:4222"}},
		"a password":            {environ: map[string]string{"NATS_URL": "nats://u:secret@nats:4222"}},
		"no scheme":             {environ: map[string]string{"NATS_URL": "nats:4222"}, names: []string{"NATS_URL"}},
		"the second is no host": {environ: map[string]string{"NATS_URL": "nats://a,nats://"}, names: []string{"NATS_URL: address 2"}},
		"HTTP":                  {environ: map[string]string{"NATS_URL": "https://u:secret@nats"}, names: []string{"NATS_URL"}},
		"a stream without a server": {
			environ: map[string]string{"NATS_STREAM": "A", "NATS_KEY_FILE": "k"}, names: []string{"NATS_KEY_FILE, NATS_STREAM"},
		},
		"a certificate without a key": {environ: map[string]string{"NATS_URL": "tls://a", "NATS_CERT_FILE": "c"}, names: []string{"NATS_KEY_FILE"}},
		"two identities": {
			environ: map[string]string{"NATS_URL": "tls://a", "NATS_TOKEN": "t", "NATS_CREDENTIALS_FILE": "c"}, names: []string{"NATS_CREDENTIALS_FILE"},
		},
		"names": {
			environ: map[string]string{"NATS_URL": "tls://a", "NATS_STREAM": "a.b", "NATS_CONSUMER": "c*", "NATS_SUBJECT": "falco.>.a", "NATS_QUEUE": "q q"},
			names:   []string{"NATS_STREAM", "NATS_CONSUMER", "NATS_SUBJECT", "NATS_QUEUE"},
		},
		"an empty word": {environ: map[string]string{"NATS_URL": "tls://a", "NATS_SUBJECT": "falco..a"}, names: []string{"NATS_SUBJECT"}},
		"numbers": {
			environ: map[string]string{"NATS_URL": "tls://a", "NATS_CONCURRENCY": "0", "NATS_MAX_DELIVER": "0"},
			names:   []string{"NATS_CONCURRENCY", "NATS_MAX_DELIVER"},
		},
		"too many at once": {environ: map[string]string{"NATS_URL": "tls://a", "NATS_CONCURRENCY": "129"}, names: []string{"NATS_CONCURRENCY"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var c natsConfig
			err := config.Load(test.environ, &c)
			if (err != nil) != (len(test.names) > 0) {
				t.Fatalf("error is %v", err)
			}
			for _, name := range test.names {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("no word of %s: %v", name, err)
				}
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("it tells a password: %v", err)
			}
		})
	}
}

// What Falcosidekick publishes, and CloudEvents in both modes of the binding.
func TestMessagesOfAllForms(t *testing.T) {
	_, rest, _ := bytes.Cut(testkit.CaptureFile(t, "nats/nats.txt"), []byte("\nPUB falco."))
	_, rest, _ = bytes.Cut(rest, []byte("\n"))
	sidekick, _, _ := bytes.Cut(rest, []byte("\n"))
	sidekick = bytes.TrimSpace(sidekick)
	structured := append(append([]byte(`{"specversion":"1.0","id":"1","type":"falco.rule.output.v1","source":"https://falco.org","data":`), numbered(1)...), '}')
	tests := map[string]struct {
		header nats.Header
		data   []byte
		want   response.Event
		kind   response.Kind
	}{
		"Falcosidekick": {data: sidekick, want: response.Event{Type: "falco.rule.output.v1", Data: sidekick}},
		"structured": {
			header: header("content-type", "application/cloudevents+json"), data: structured,
			want: response.Event{ID: "1", Type: "falco.rule.output.v1", Data: numbered(1)},
		},
		"structured, and nobody says so": {data: structured, want: response.Event{ID: "1", Type: "falco.rule.output.v1", Data: numbered(1)}},
		"binary": {
			header: header("ce-specversion", "1.0", "ce-id", "2", "ce-type", "dev.riposte.response.v1", "ce-source", "/a", "Nats-Msg-Id", "x"), data: numbered(2),
			want: response.Event{ID: "2", Type: "dev.riposte.response.v1", Data: numbered(2)},
		},
		"binary without an id": {header: header("ce-specversion", "1.0", "ce-type", "a", "ce-source", "/a"), data: numbered(2), kind: response.Invalid},
		"too large":            {data: bytes.Repeat([]byte(" "), serve.MaxBody+1), kind: response.Invalid},
		"just not too large":   {data: bytes.Repeat([]byte(" "), serve.MaxBody), want: response.Event{Type: "falco.rule.output.v1", Data: bytes.Repeat([]byte(" "), serve.MaxBody)}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []response.Event
			n := natsInput{take: func(_ context.Context, events []serve.Event) (report, error) {
				got = bare(events)
				return report{}, nil
			}}
			err := n.offer(t.Context(), test.header, test.data)
			if response.KindOf(err) != test.kind || (err != nil) != (test.kind != response.Unknown) {
				t.Fatalf("error is %v", err)
			}
			if err == nil && !reflect.DeepEqual(got, []response.Event{test.want}) {
				t.Errorf("handed in %.300q, want %.300q", got, test.want)
			}
		})
	}
	n := natsInput{take: func(context.Context, []serve.Event) (report, error) { return report{}, errors.New("no") }}
	if err := n.offer(t.Context(), nil, numbered(1)); err == nil {
		t.Error("what fails is delivered")
	}
}

func TestGrowing(t *testing.T) {
	pause := growing(time.Second, time.Minute)
	for attempt, longest := range map[int]time.Duration{-1: 1, 0: 1, 1: 1, 2: 2, 4: 8, 6: 32, 7: 60, 1 << 40: 60} {
		seen := map[time.Duration]bool{}
		for range 50 {
			d := pause(attempt)
			seen[d] = true
			if d < longest*time.Second/2 || d > longest*time.Second {
				t.Errorf("pause %d is %s, want %ds, or half of it, or between", attempt, d, longest)
			}
		}
		if len(seen) < 2 {
			t.Errorf("pause %d is always the same", attempt)
		}
	}
}
