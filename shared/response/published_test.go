package response_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// A response sees the alert as it came; what is published of it, and who tells people, does not.
func TestHandleRedacts(t *testing.T) {
	const user, password = "mallory@example.com", "hunter2-and-more"
	e := alertEvent(t, "01")
	e.Data = bytes.Replace(e.Data, []byte(`"user.name":"root"`), []byte(`"user.name":"`+user+`","proc.env":"DB_PASSWORD=`+password+`"`), 1)
	e.Data = bytes.Replace(e.Data, []byte(`"output":"`), []byte(`"output":"by `+user+` with --password `+password+` `), 1)
	if !strings.Contains(string(e.Data), user) {
		t.Fatal("the capture has no user.name")
	}
	for name, tells := range map[string]bool{"a function that acts": false, "a function that tells people": true} {
		t.Run(name, func(t *testing.T) {
			q := &quarantine{outcome: response.Outcome{
				Verdict: response.Applied, Message: "cut off " + user, Target: cart, Details: map[string]any{"who": user},
				Changes: []response.Change{{Field: "a", Before: user}},
			}}
			r := &follower{quarantine: q}
			f := wrap(r)
			f.Redaction, f.Tells = response.Redaction{Fields: config.List{"user.*"}}, tells
			record, err := f.Handle(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			published, err := record.Event()
			if err != nil {
				t.Fatal(err)
			}
			whole, err := json.Marshal(published)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{user, password} {
				if bytes.Contains(whole, []byte(secret)) || strings.Contains(f.log.String(), secret) {
					t.Errorf("%q is published: %s\nlog: %s", secret, whole, f.log)
				}
				if seen := fmt.Sprint(q.alert); strings.Contains(seen, secret) == tells {
					t.Errorf("the response sees %q: %t, want %t: %s", secret, !tells, tells, seen)
				}
			}
			if q.alert.Pod().Name != "web-7d9c6b8f5-x2x9k" || record.AlertID != q.alert.ID() {
				t.Errorf("the pod is %+v and the alert %s, in the record %s", q.alert.Pod(), q.alert.ID(), record.AlertID)
			}
			// The outcome of a function that redacts nothing reaches this one.
			other := wrap(&onPod{quarantine: &quarantine{outcome: response.Outcome{Verdict: response.Applied, Message: "cut off " + user}}})
			other.Name = "other"
			cause, err := other.Handle(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			if cause, err := cause.Event(); err != nil {
				t.Fatal(err)
			} else if _, err := f.Handle(t.Context(), response.Event{ID: cause.ID(), Type: cause.Type(), Data: cause.Data()}); err != nil {
				t.Fatal(err)
			}
			if seen := r.cause.Message + fmt.Sprint(r.cause.Alert); strings.Contains(seen, user) == tells || strings.Contains(seen, password) {
				t.Errorf("of an outcome it sees %s", seen)
			}
		})
	}
}

func TestHandleCountsHops(t *testing.T) {
	outcome, _ := outcomeEvent(t, "other")
	says := func(hops string) response.Event {
		e := outcome
		e.Data = bytes.Replace(e.Data, []byte(`"hops":1`), []byte(`"hops":`+hops), 1)
		return e
	}
	with := func(e response.Event, hops int) response.Event { e.Hops = hops; return e }
	cases := map[string]struct {
		event response.Event
		want  int // 0 is refused
	}{
		"an alert":                              {alertEvent(t, "01"), 1},
		"an alert that somebody made of others": {with(alertEvent(t, "01"), 3), 4},
		"an alert that went around":             {with(alertEvent(t, "01"), 8), 0},
		"an outcome":                            {with(outcome, 1), 2},
		"an outcome without the attribute":      {says("5"), 6},
		"the attribute has more":                {with(says("2"), 5), 6},
		"the data has more":                     {with(says("5"), 2), 6},
		"the last":                              {with(outcome, 7), 8},
		"one too many":                          {with(outcome, 8), 0},
		"one too many in the data":              {says("8"), 0},
		"far too many in the data":              {says("2147483647"), 0},
		"less than nothing in the data":         {with(says("-9"), 0), 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			q := &quarantine{outcome: response.Outcome{Verdict: response.Applied, Message: "done"}}
			record, err := wrap(&follower{quarantine: q}).Handle(t.Context(), c.event)
			if c.want == 0 {
				if record != nil || response.KindOf(err) != response.Invalid || len(q.calls) > 0 {
					t.Errorf("record %v, error %v after %v: want it refused", record, err, q.calls)
				}
				return
			}
			if err != nil || record.Hops != c.want {
				t.Errorf("hops are %v, %v, want %d", record, err, c.want)
			}
		})
	}
}

// What is cut where an alert is very large is cut after its values were taken out.
func TestHandleRedactsBeforeItCuts(t *testing.T) {
	secret := strings.Repeat("open-sesame-", 10_000)
	a, err := falco.Decode(alertEvent(t, "01").Data)
	if err != nil {
		t.Fatal(err)
	}
	a.Fields["fd.name"], a.Output = secret, "file="+secret
	e := alertEvent(t, "01")
	if e.Data, err = json.Marshal(a); err != nil {
		t.Fatal(err)
	}
	record := answer(t, e, response.Outcome{Verdict: response.Applied}, func(f *response.Function) { f.Redaction.Fields = config.List{"fd.name"} })
	if diff := cmp.Diff([]any{"file=[redacted]", "[redacted]"}, []any{record.Alert.Output, record.Alert.Fields["fd.name"]}); diff != "" {
		t.Errorf("output and field (-want +got):\n%s", diff)
	}
}
