package function

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/config"
)

// asynchronous starts a router that calls by the queue.
func asynchronous(t *testing.T, g *gateway, dir string, manifests []string, more ...string) *started {
	t.Helper()
	// The address is known when the server listens, and the settings are needed before: callbacks go by the gateway.
	s := routing(t, g, folder(t, manifests...), append([]string{
		"FUNCTION_URL", g.URL + "/async-function/{function}", "JOURNAL_URL", "file://" + dir,
		"CALLBACK_URL", g.URL + "/function/router?keep=1", "CALLBACK_KEY", "new-key-of-24-characters\nold-key-of-24-characters",
	}, more...)...)
	g.function("router", s.Handle)
	return s
}

func TestAsynchronousCalls(t *testing.T) {
	tests := map[string]struct {
		function []string // statuses
		calls    int
		results  map[string]string
		dead     string
	}{
		"a success":                  {[]string{"ok"}, 1, map[string]string{"success": "1"}, ""},
		"a failure and a success":    {[]string{"500", "ok"}, 2, map[string]string{"failure": "1", "success": "1"}, ""},
		"failures alone":             {[]string{"500"}, 3, map[string]string{"failure": "3"}, "500"},
		"an event it cannot act on":  {[]string{"400"}, 1, map[string]string{"failure": "1"}, "400"},
		"a result that gets lost":    {[]string{"lost", "ok"}, 2, map[string]string{"success": "1"}, ""},
		"an answer that is no event": {[]string{"html", "ok"}, 2, map[string]string{"failure": "1", "success": "1"}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, dir := newGateway(t), t.TempDir()
			for i, status := range test.function {
				switch status {
				case "ok":
					g.then("delete-pod", i, outcomes("delete-pod"))
				case "lost":
					g.then("delete-pod", i, answers(lostResult, ""))
				case "html":
					g.then("delete-pod", i, answers(200, "<html>"))
				default:
					g.then("delete-pod", i, answers(map[string]int{"500": 500, "400": 400}[status], "because"))
				}
			}
			g.function("slack", answers(204, ""))
			s := asynchronous(t, g, dir, []string{manifest("delete-pod", alerts, quick), manifest("slack", done, quick, "    - exact: {response: delete-pod}\n")},
				"CALLBACK_TIMEOUT", "1s", "JOURNAL_TAKEOVER", "300ms")
			body := alertAt(t, 1)
			s.expect(t, 202, body)
			eventually(t, "the journal is empty", func() bool { return len(copies(t, dir)) == 0 })
			if calls := g.got("delete-pod"); len(calls) != test.calls || string(calls[len(calls)-1].body) != string(body) {
				t.Errorf("the function got %d calls, want %d", len(calls), test.calls)
			}
			for result, want := range test.results {
				if result == "success" && test.dead == "" {
					want = "2" // slack's too.
				}
				eventually(t, result+" is counted", func() bool { return s.metric(t, `riposte_router_callbacks_total{result="`+result+`"}`) >= want })
			}
			if test.dead == "" {
				eventually(t, "slack has the outcome", func() bool { return len(g.got("slack")) == 1 })
				return
			}
			if dead := g.got("dead"); len(dead) != 1 || dead[0].header.Get("Ce-Knativeerrorcode") != test.dead || string(dead[0].body) != string(body) {
				t.Errorf("dead letters: %v", dead)
			}
		})
	}
}

func TestResultsNobodyWaitsFor(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released))
	s := asynchronous(t, g, dir, []string{manifest("delete-pod", alerts, quick)})
	s.expect(t, 202, alertAt(t, 1))
	eventually(t, "the queue has the call", func() bool {
		return s.metric(t, `riposte_router_deliveries_total{function="delete-pod",result="handed"}`) == "1"
	})
	at, err := url.Parse(g.got("delete-pod")[0].header.Get("X-Callback-Url"))
	if err != nil || at.Query().Get("keep") != "1" {
		t.Fatalf("the result goes to %s (%v)", at, err)
	}
	send := func(change func(url.Values), header ...string) int {
		query := at.Query()
		change(query)
		was := s.URL
		defer func() { s.URL = was }()
		s.URL += "/?" + query.Encode()
		status, _, _ := s.post(t, nil, append([]string{"Authorization", ""}, header...)...)
		return status
	}
	settings := calling{CallbackKey: config.NewSecret("CALLBACK_KEY", "old-key-of-24-characters"), CallbackURL: "http://x"}
	old, err := settings.callbackURL(at.Query().Get("delivery"), 7)
	if err != nil {
		t.Fatal(err)
	}
	byOld, err := url.Parse(old)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(url.Values)
		header []string
		status int
	}{
		"another signature":                    {func(q url.Values) { q.Set("signature", strings.Repeat("0", 64)) }, []string{"X-Function-Status", "200"}, 401},
		"the signature of another try":         {func(q url.Values) { q.Set("attempt", "2") }, []string{"X-Function-Status", "200"}, 401},
		"another delivery":                     {func(q url.Values) { q.Set("delivery", strings.Repeat("0", 32)) }, []string{"X-Function-Status", "200"}, 401},
		"a path for a delivery":                {func(q url.Values) { q.Set("delivery", "../x") }, []string{"X-Function-Status", "200"}, 401},
		"no status":                            {func(url.Values) {}, nil, 400},
		"a failure of an attempt that is over": {func(q url.Values) { q.Set("attempt", "7"); q.Set("signature", byOld.Query().Get("signature")) }, []string{"X-Function-Status", "500"}, 204},
	} {
		if status := send(test.change, test.header...); status != test.status {
			t.Errorf("%s: answered %d, want %d", name, status, test.status)
		}
	}
	if len(copies(t, dir)) != 1 {
		t.Errorf("the journal has %v", copies(t, dir))
	}
	for range 2 { // The success, and the success again.
		if status := send(func(url.Values) {}, "X-Function-Status", "200"); status != 204 {
			t.Errorf("answered %d", status)
		}
	}
	if len(copies(t, dir)) != 0 {
		t.Errorf("the journal has %v", copies(t, dir))
	}
	close(released)
	g.working.Wait()
	if late := s.metric(t, `riposte_router_callbacks_total{result="late"}`); late != "3" {
		t.Errorf("late results: %s, want 3", late)
	}
	if len(g.got("delete-pod")) != 1 {
		t.Errorf("the function got %d calls", len(g.got("delete-pod")))
	}
}

// A key that cannot be read is the operator's to hear of, not a stranger's.
func TestKeyThatCannotBeRead(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	g.function("delete-pod", answers(204, ""))
	file := filepath.Join(t.TempDir(), "key-of-ours")
	if err := os.WriteFile(file, []byte("a-key-of-24-characters-or-more"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := asynchronous(t, g, dir, []string{manifest("delete-pod", alerts, quick)}, "CALLBACK_KEY", "", "CALLBACK_KEY_FILE", file)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	s.URL += "/?delivery=" + token16 + token16 + "&attempt=1&signature=00"
	if status, _, text := s.post(t, nil, "Authorization", ""); status/100 == 2 || strings.Contains(text, "key-of-ours") {
		t.Errorf("answered %d %s", status, text)
	}
}

// A result may come to a router that never made the call.
func TestResultComesToAnotherRouter(t *testing.T) {
	g, dir := newGateway(t), t.TempDir()
	released := make(chan struct{})
	g.function("delete-pod", hangsUntil(released), answers(204, ""))
	s := asynchronous(t, g, dir, []string{manifest("delete-pod", alerts, quick)})
	s.expect(t, 202, alertAt(t, 1))
	eventually(t, "the queue has the call", func() bool {
		return s.metric(t, `riposte_router_deliveries_total{function="delete-pod",result="handed"}`) == "1"
	})
	other := asynchronous(t, g, dir, []string{manifest("delete-pod", alerts, quick)})
	close(released)
	eventually(t, "the journal is empty", func() bool { return len(copies(t, dir)) == 0 })
	if got := other.metric(t, `riposte_router_callbacks_total{result="success"}`); got != "1" {
		t.Errorf("results that came to the other router: %q", got)
	}
}
