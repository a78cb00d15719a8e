package function

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestAlertIsDelivered(t *testing.T) {
	g := newGateway(t)
	g.function("delete-pod", answers(204, ""))
	g.function("label", answers(204, ""))
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick, "    - exact: {k8snamespace: shop}\n"),
		manifest("label", alerts, quick, "    - exact: {k8snamespace: other}\n")), "CLUSTER", "east", "FUNCTION_TOKEN", "t0ken")
	body := alertAt(t, 1)
	header, _ := s.expect(t, 204, body)
	calls := g.got("delete-pod")
	if len(calls) != 1 || len(g.got("label")) != 0 || len(g.got("dead")) != 0 {
		t.Fatalf("delete-pod got %d, label %d, the dead letter %d", len(calls), len(g.got("label")), len(g.got("dead")))
	}
	if string(calls[0].body) != string(body) {
		t.Errorf("the data is not that of the alert: %s", calls[0].body)
	}
	got := map[string]string{}
	for name := range calls[0].header {
		if attribute, found := strings.CutPrefix(strings.ToLower(name), "ce-"); found {
			got[attribute] = calls[0].header.Get(name)
		}
	}
	want := map[string]string{
		"specversion": "1.0", "type": alerts, "source": "/functions/router", "id": got["id"], "time": "2026-01-01T00:00:00.000000001Z",
		"rule": "Terminal shell in container", "priority": "Notice", "eventsource": "syscall", "hostname": "n1",
		"k8snamespace": "shop", "k8spod": "cart-0", "tags": "a,b", "ruleslug": "terminal_shell_in_container", "cluster": "east",
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got["id"]) != 32 {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if got := calls[0].header.Get("Authorization"); got != "Bearer t0ken" {
		t.Errorf("the function got Authorization %q", got)
	}
	if timing := header.Get("Server-Timing"); !strings.HasPrefix(timing, "match;dur=") || !strings.Contains(timing, `, delete-pod;dur=`) || !strings.HasSuffix(timing, `;desc="204"`) {
		t.Errorf("Server-Timing is %q", timing)
	}
	s.expect(t, 204, body)
	if calls = g.got("delete-pod"); calls[1].header.Get("Ce-Id") != got["id"] {
		t.Errorf("a repeat has the id %q, want %q", calls[1].header.Get("Ce-Id"), got["id"])
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	g := newGateway(t)
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)))
	tests := map[string]struct {
		body   string
		header []string
		status int
	}{
		"another token":                    {string(alertAt(t, 1)), []string{"Authorization", "Bearer other"}, 401},
		"2 MiB":                            {strings.Repeat(" ", 2<<20), nil, 413},
		"no JSON":                          {"{", nil, 400},
		"no alert":                         {`{"rule":"x"}`, nil, 400},
		"a type nobody knows":              {`{}`, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/x", "Ce-Type", "x", "Content-Type", "application/json"}, 400},
		"an outcome without an id":         {`{"response":"x","outcome":"applied","alert":` + string(alertAt(t, 1)) + `}`, []string{"Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/x", "Ce-Type", done}, 400},
		"a result with a forged signature": {"", nil, 401},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "forged") {
				was := s.URL
				defer func() { s.URL = was }()
				s.URL += "/?delivery=" + token16 + token16 + "&attempt=1&signature=00"
			}
			_, text := s.expect(t, test.status, []byte(test.body), test.header...)
			if text == "" || strings.Count(text, "\n") != 1 || strings.TrimFunc(text, func(r rune) bool { return r == '\n' || r >= ' ' && r <= '~' }) != "" {
				t.Errorf("the body is %q: want one line of ASCII", text)
			}
		})
	}
	if len(g.got("delete-pod")) != 0 {
		t.Errorf("the function was called %d times", len(g.got("delete-pod")))
	}
}

// Names in an outcome travel in headers. One that no header carries could be neither delivered nor dead-lettered, and its
// sender would be asked to send it for ever.
func TestOutcomesThatNoHeaderCarries(t *testing.T) {
	g := newGateway(t)
	g.function("slack", answers(204, ""))
	s := routing(t, g, folder(t, manifest("slack", done, quick, "    - not: {exact: {response: slack}}\n")))
	outcome := func(id, response string, target map[string]string) []byte {
		body, err := json.Marshal(map[string]any{
			"id": id, "response": response, "outcome": "applied", "alert": json.RawMessage(alertAt(t, 1)), "target": target,
		})
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	pod := map[string]string{"kind": "Pod", "namespace": "shop", "name": "cart-0"}
	tests := map[string]struct {
		body   []byte
		status int
	}{
		"sound":                     {outcome("1", "x", pod), 204},
		"a line break in the id":    {outcome("1\r\nCe-Type: dev.riposte.alert.v1", "x", pod), 400},
		"a control character in it": {outcome("1\x00", "x", pod), 400},
		"an id without an end":      {outcome(strings.Repeat("1", 100_000), "x", pod), 400},
		"a line break in the name":  {outcome("2", "x", map[string]string{"kind": "Pod", "name": "a\nb"}), 400},
		"a name without an end":     {outcome("3", "x", map[string]string{"kind": "Pod", "name": strings.Repeat("a", 100_000)}), 400},
		"a response without one":    {outcome("4", strings.Repeat("x", 100_000), pod), 400},
		"a line break in it":        {outcome("5", "x\ny", pod), 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			before := len(g.got("slack"))
			s.expect(t, test.status, test.body, "Ce-Specversion", "1.0", "Ce-Id", "1", "Ce-Source", "/x", "Ce-Type", done)
			if got := len(g.got("slack")) - before; (got == 1) != (test.status == 204) {
				t.Errorf("the function got %d events", got)
			}
			if dead := g.got("dead"); len(dead) > 0 {
				t.Errorf("dead letters: %d", len(dead))
			}
		})
	}
}

func TestBatchWithABadEvent(t *testing.T) {
	g := newGateway(t)
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)))
	one := func(id, data string) string {
		return `{"specversion":"1.0","id":"` + id + `","source":"/x","type":"falco.rule.output.v1","data":` + data + `}`
	}
	good, bad := string(alertAt(t, 1)), `{"rule":"x","priority":"Notice"}`
	_, text := s.expect(t, 400, []byte("["+one("1", good)+","+one("2", bad)+","+one("3", string(alertAt(t, 2)))+"]"), "Content-Type", "application/cloudevents-batch+json")
	if !strings.HasPrefix(text, "event 1 of the batch: time is missing") {
		t.Errorf("answered %q", text)
	}
	if calls := g.got("delete-pod"); len(calls) != 2 {
		t.Errorf("the function got %d events: want the two good ones", len(calls))
	}
}

// Every capture, in every form that Falcosidekick sends it, is delivered byte for byte or refused.
func TestCaptures(t *testing.T) {
	g := newGateway(t)
	s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)))
	for _, c := range testkit.Captures(t) {
		for form, request := range map[string]*http.Request{"cloudevents": c.CloudEvent(t, ""), "openfaas": c.OpenFaaS(t, ""), "webhook": c.Webhook(t, "")} {
			if request == nil {
				continue
			}
			t.Run(c.Name+"/"+form, func(t *testing.T) {
				before := len(g.got("delete-pod"))
				answer := testkit.Send(t, s.Running, request, nil)
				calls := g.got("delete-pod")[before:]
				switch {
				case answer.Status == 204 && !c.Rejected && len(calls) == 1:
				case answer.Status == 400 && c.Rejected && len(calls) == 0:
				default:
					t.Errorf("answered %d %s with %d calls; falcosidekick refused it: %t", answer.Status, answer.Body, len(calls), c.Rejected)
				}
			})
		}
	}
}
