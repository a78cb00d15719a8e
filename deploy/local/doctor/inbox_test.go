package doctor

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// Only a copy of this run's own alert, and of its outcome, counts; and only by the path that the Broker was told.
func TestInboxTakesItsOwnAlone(t *testing.T) {
	alert := falco.Alert{
		Rule: falco.CanaryRule, Priority: falco.Notice, Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Source: "syscall",
		Hostname: "ours", Fields: falco.Fields{"a": "b"},
	}
	other := alert
	other.Hostname = "theirs"
	text := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	b := newInbox(alert.ID())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.serve(listener))
	post := func(path, body, stamp string, event bool) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+listener.Addr().String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if event {
			for name, value := range map[string]string{"Ce-Id": "1", "Ce-Type": "t", "Ce-Source": "s", "Ce-Specversion": "1.0"} {
				r.Header.Set(name, value)
			}
		}
		if stamp != "" {
			r.Header.Set("Ce-Knativearrivaltime", stamp)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	outcome := func(a falco.Alert) string {
		return text(response.Record{Response: "delete-pod", Outcome: response.Skipped, Reason: response.Canary, AlertID: a.ID(), Alert: a})
	}
	for name, c := range map[string]struct {
		path, body string
		event      bool
		want       int
	}{
		"another path":         {"/alert", text(alert), true, http.StatusNotFound},
		"another run's alert":  {b.alertPath, text(other), true, http.StatusNoContent},
		"no alert":             {b.alertPath, `{}`, true, http.StatusNoContent},
		"no event":             {b.alertPath, text(alert), false, http.StatusBadRequest},
		"an alert as outcome":  {b.outcomePath, text(alert), true, http.StatusNoContent},
		"another run's result": {b.outcomePath, outcome(other), true, http.StatusNoContent},
		"too long":             {b.alertPath, `"` + strings.Repeat("x", maxBody) + `"`, true, http.StatusBadRequest},
	} {
		if got := post(c.path, c.body, "", c.event); got != c.want {
			t.Errorf("%s: answered %d, want %d", name, got, c.want)
		}
	}
	if len(b.alerts) > 0 || len(b.outcomes) > 0 {
		t.Fatalf("%d alerts and %d outcomes were taken", len(b.alerts), len(b.outcomes))
	}
	stamp := "2026-01-01T00:00:00.123456789Z"
	if post(b.alertPath, text(alert), stamp, true) != http.StatusNoContent || post(b.alertPath, text(alert), "soon", true) != http.StatusNoContent ||
		post(b.outcomePath, outcome(alert), "", true) != http.StatusNoContent {
		t.Error("its own copies were not answered 204")
	}
	if got := <-b.alerts; got.stamp.Format(time.RFC3339Nano) != stamp || got.at.IsZero() {
		t.Errorf("the alert is %+v", got)
	}
	if got := <-b.alerts; !got.stamp.IsZero() {
		t.Errorf("a stamp that cannot be read is %s", got.stamp)
	}
	if got := <-b.outcomes; got.record.Reason != response.Canary {
		t.Errorf("the outcome is %+v", got.record)
	}
}
