package response_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// answer is the record of a function of one answer.
func answer(tb testing.TB, e response.Event, o response.Outcome, change func(*response.Function)) response.Record {
	tb.Helper()
	f := wrap(&quarantine{outcome: o})
	if change != nil {
		change(f.Function)
	}
	record, err := f.Handle(tb.Context(), e)
	if err != nil {
		tb.Fatal(err)
	}
	return *record
}

func TestRecordID(t *testing.T) {
	applied := response.Outcome{Verdict: response.Applied, Target: cart}
	first := answer(t, alertEvent(t, "01"), applied, nil)
	if len(first.ID) != 32 || first.CommandUID != first.ID || first.Metadata.UID != first.ID || first.Metadata.CorrelationUID != first.AlertID {
		t.Errorf("ids are %q, %q, %q", first.ID, first.CommandUID, first.Metadata.UID)
	}
	on := func(change func(*response.Target)) response.Outcome {
		o := applied
		change(&o.Target)
		return o
	}
	cases := map[string]struct {
		record response.Record
		same   bool
	}{
		"the same again": {answer(t, alertEvent(t, "01"), applied, nil), true},
		"the same an hour later": {
			answer(t, alertEvent(t, "01"), applied, func(f *response.Function) { f.Now = func() time.Time { return now.Add(time.Hour) } }), true,
		},
		"the same alert, posted twice":      {answer(t, alertEvent(t, "59"), applied, nil), true},
		"the same with another outcome":     {answer(t, alertEvent(t, "01"), response.Outcome{Verdict: response.Unchanged, Target: cart}, nil), true},
		"another alert":                     {answer(t, alertEvent(t, "03"), applied, nil), false},
		"another function":                  {answer(t, alertEvent(t, "01"), applied, func(f *response.Function) { f.Name = "other" }), false},
		"no target":                         {answer(t, alertEvent(t, "01"), response.Outcome{Verdict: response.Applied}, nil), false},
		"another pod":                       {answer(t, alertEvent(t, "01"), on(func(p *response.Target) { p.Name = "cart-1" }), nil), false},
		"another namespace":                 {answer(t, alertEvent(t, "01"), on(func(p *response.Target) { p.Namespace = "x" }), nil), false},
		"another kind":                      {answer(t, alertEvent(t, "01"), on(func(p *response.Target) { p.Resource = "services" }), nil), false},
		"a pod of the same name, recreated": {answer(t, alertEvent(t, "01"), on(func(p *response.Target) { p.UID = "u-2" }), nil), false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if (c.record.ID == first.ID) != c.same {
				t.Errorf("the id stayed the same: %v, want %v", !c.same, c.same)
			}
		})
	}
}

func TestRecordData(t *testing.T) {
	later := now.Add(1500 * time.Microsecond)
	moments := []time.Time{now, later, later}
	o := response.Outcome{
		Verdict: response.Applied, Reason: response.ResidualTraffic, Message: "labelled", Target: cart,
		Changes: []response.Change{{Field: "metadata.labels[app]", Before: nil, After: "x"}}, Details: map[string]any{"policies": []any{"p"}},
	}
	record := answer(t, alertEvent(t, "01"), o, func(f *response.Function) {
		f.Now = func() time.Time {
			moment := moments[0]
			moments = moments[1:]
			return moment
		}
	})
	encoded, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(encoded, &got); err != nil {
		t.Fatal(err)
	}
	alert, err := falco.Decode(alertEvent(t, "01").Data)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": record.ID, "response": "quarantine", "outcome": "applied", "reason": "residual-traffic", "message": "labelled",
		"dry_run": false, "alert_id": alert.ID(),
		"target":  map[string]any{"kind": "Pod", "resource": "pods", "namespace": "shop", "name": "cart-0", "uid": "u-1"},
		"changes": []any{map[string]any{"field": "metadata.labels[app]", "before": nil, "after": "x"}},
		"details": map[string]any{"policies": []any{"p"}},
		"timings": map[string]any{
			"alert": "2026-01-01T00:00:00.123456789Z", "received": "2026-01-01T00:00:01.123456789Z",
			"done": "2026-01-01T00:00:01.124956789Z", "response_ms": 1.5,
		},
	}
	for key := range want {
		if diff := cmp.Diff(want[key], got[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	if diff := cmp.Diff(alert, record.Alert); diff != "" {
		t.Errorf("alert (-want +got):\n%s", diff)
	}
}

// legal says what is wrong with an attribute, by the words of the CloudEvents specification and of the headers it becomes.
func legal(name, value string) string {
	switch {
	case !regexp.MustCompile(`^[a-z0-9]{1,20}$`).MatchString(name):
		return "its name has other characters than a-z and 0-9"
	case value == "":
		return "it is empty"
	case !utf8.ValidString(value):
		return "it is no UTF-8"
	case value != strings.TrimSpace(value):
		return "a header would lose its blanks"
	case len(value) > 512:
		return "it is too long for a header"
	case strings.ContainsFunc(value, func(r rune) bool {
		return unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) || unicode.Is(unicode.Cs, r)
	}):
		return "it has characters that attributes must not have"
	}
	return ""
}

func TestEventAttributes(t *testing.T) {
	renamed := func(rule string) response.Event {
		e := alertEvent(t, "01")
		encoded, err := json.Marshal(rule)
		if err != nil {
			t.Fatal(err)
		}
		e.Data = bytes.Replace(e.Data, []byte(`"Terminal shell in container"`), encoded, 1)
		return e
	}
	events := map[string]response.Event{
		"a rule of control characters":     renamed("\x00\x01\x7f\u0085x"),
		"a rule with noncharacters":        renamed("a\ufffe\uffff\ufdd0\U0001ffffb\ufffd"),
		"a rule of nothing legal":          renamed("\x01\x02"),
		"a long rule":                      renamed(strings.Repeat("ü", 20000)),
		"a long rule with a blank in time": renamed(strings.Repeat("x", 511) + " " + strings.Repeat("x", 1000)),
		"a rule of percent signs":          renamed("%0d%0aCe-Priority: Emergency"),
	}
	for _, c := range testkit.Captures(t) {
		if !c.Rejected {
			events[c.Name] = response.Event{Type: falco.TypeFalcosidekick, Data: c.Alert}
		}
	}
	for name, e := range events {
		t.Run(name, func(t *testing.T) {
			record := answer(t, e, response.Outcome{Verdict: response.Applied, Target: cart}, nil)
			got, err := record.Event()
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Validate(); err != nil {
				t.Error(err)
			}
			for name, value := range got.Extensions() {
				if wrong := legal(name, fmt.Sprint(value)); wrong != "" {
					t.Errorf("extension %s is %q: %s", name, value, wrong)
				}
			}
			for name, value := range map[string]string{"id": got.ID(), "source": got.Source(), "type": got.Type(), "subject": got.Subject()} {
				if wrong := legal(name, value); wrong != "" {
					t.Errorf("%s is %q: %s", name, value, wrong)
				}
			}
			var back response.Record
			if err := json.Unmarshal(got.Data(), &back); err != nil || back.AlertID != record.AlertID {
				t.Errorf("data is not readable: %v", err)
			}
		})
	}
}

func TestEvent(t *testing.T) {
	cases := map[string]struct {
		event   response.Event
		target  response.Target
		subject string
		want    map[string]any
	}{
		"the target's namespace": {
			event: alertEvent(t, "01"), target: cart, subject: "namespaces/shop/pods/cart-0",
			want: map[string]any{
				"response": "quarantine", "outcome": "applied", "rule": "Terminal shell in container", "priority": "Notice", "eventsource": "syscall",
				"k8snamespace": "shop",
			},
		},
		"without a target, the namespace of the alert": {
			event: alertEvent(t, "01"),
			want: map[string]any{
				"response": "quarantine", "outcome": "applied", "rule": "Terminal shell in container", "priority": "Notice", "eventsource": "syscall",
				"k8snamespace": "default",
			},
		},
		"on a node, the namespace of the alert": {
			event: alertEvent(t, "01"), target: response.Target{Kind: "Node", Resource: "nodes", Name: "n1"}, subject: "nodes/n1",
			want: map[string]any{
				"response": "quarantine", "outcome": "applied", "rule": "Terminal shell in container", "priority": "Notice", "eventsource": "syscall",
				"k8snamespace": "default",
			},
		},
		"an alert of the host has none": {
			event: alertEvent(t, "05"),
			want: map[string]any{
				"response": "quarantine", "outcome": "applied", "rule": "Read sensitive file untrusted", "priority": "Warning", "eventsource": "syscall",
			},
		},
		"line breaks cannot forge a header": {
			event: alertEvent(t, "22"), target: cart, subject: "namespaces/shop/pods/cart-0",
			want: map[string]any{
				"response": "quarantine", "outcome": "applied", "rule": "Evil  Ce-Priority: Emergency  X-Injected: 1", "priority": "Notice",
				"eventsource": "syscall", "k8snamespace": "shop",
			},
		},
		"other letters stay": {
			event: alertEvent(t, "21"), target: cart, subject: "namespaces/shop/pods/cart-0",
			want: map[string]any{
				"response": "quarantine", "outcome": "applied", "rule": "Détection – 容器 100% \"quoted\" \\ <x>&y Tab", "priority": "Notice",
				"eventsource": "syscall", "k8snamespace": "shop",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			record := answer(t, c.event, response.Outcome{Verdict: response.Applied, Target: c.target}, nil)
			e, err := record.Event()
			if err != nil {
				t.Fatal(err)
			}
			c.want["alertid"], c.want["hops"] = record.AlertID, int32(1)
			if diff := cmp.Diff(c.want, e.Extensions()); diff != "" {
				t.Errorf("extensions (-want +got):\n%s", diff)
			}
			got := []string{e.SpecVersion(), e.Type(), e.Source(), e.Subject(), e.ID(), e.DataContentType()}
			want := []string{"1.0", response.TypeOutcome, "/functions/quarantine", c.subject, record.ID, event.ApplicationJSON}
			if diff := cmp.Diff(want, got); diff != "" || !e.Time().Equal(now) {
				t.Errorf("attributes at %s (-want +got):\n%s", e.Time(), diff)
			}
		})
	}
}

func TestEventRefusesWhatIsNoJSON(t *testing.T) {
	record := answer(t, alertEvent(t, "01"), response.Outcome{Verdict: response.Applied, Details: map[string]any{"c": make(chan int)}}, nil)
	if e, err := record.Event(); err == nil {
		t.Errorf("event is %v", e)
	}
}

func TestSubject(t *testing.T) {
	for want, target := range map[string]response.Target{
		"":                            {},
		"nodes/n1":                    {Kind: "Node", Resource: "nodes", Name: "n1"},
		"namespaces/shop/pods/cart-0": cart,
		"SlackChannel/C012":           {Kind: "SlackChannel", Name: "C012"},
	} {
		if got := target.Subject(); got != want {
			t.Errorf("subject of %v is %q, want %q", target, got, want)
		}
	}
}

// A reason is one word for labels and dashboards, and each stands for one thing.
func TestReasonsAreWords(t *testing.T) {
	for name, o := range map[string]response.Outcome{"skip": response.Skip(response.Gone, "%s is gone", "x"), "refuse": response.Refuse(response.TestRule, "no %d", 1)} {
		if o.Message != "x is gone" && o.Message != "no 1" || !slices.Contains([]response.Verdict{response.Skipped, response.Refused}, o.Verdict) {
			t.Errorf("%s gives %+v", name, o)
		}
		if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(string(o.Reason)) {
			t.Errorf("reason is %q", o.Reason)
		}
	}
}
