//go:build prove

package prove

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
	"github.com/riposte-dev/riposte/triggers"
)

// budgets raises alerts in a hundred pods within a minute, with the budget that is shipped, and hands the outcomes to
// the functions that the shipped Triggers name.
func budgets(p proof, e *testkit.Env) {
	const n = 100
	pods := e.Deploy(p.T, testkit.Deployment(e.Namespace(p.T), "web", n))
	all, _ := replicas(p, e, 4, "delete-pod", "BUDGET_FUNCTION=", "BUDGET_WORKLOAD=", "BUDGET_CLUSTER=")
	channel := &slackChannel{}
	server := httptest.NewServer(channel)
	p.Cleanup(server.Close)
	slack := process.Start(p.T, "slack", "", "CLAIMS=memory", "SLACK_WEBHOOK_URL="+server.URL)
	set, err := triggers.LoadDir(filepath.Join(testkit.Root(p.T), "triggers"))
	if err != nil {
		p.Fatal(err)
	}

	var mu sync.Mutex
	verdicts := map[string]int{}
	began := time.Now()
	atOnce(n, 20, func(i int) {
		a := all[i%len(all)].Alert(testkit.AlertFor(p.T, pods[i]))
		mu.Lock()
		verdicts[a.Verdict()]++
		mu.Unlock()
		for _, t := range set.Select(p.Context(), outcome(a)) {
			if t.Function == "slack" {
				slack.Post(forwarded(p, a, slack.URL))
			}
		}
	})
	took := time.Since(began)
	died := 0
	for _, pod := range pods {
		if !e.Lives(p.T, pod) {
			died++
		}
	}
	refusals, others := channel.count("over-budget")
	p.row("100 alerts for 100 pods in a minute, to 4 replicas", fmt.Sprintf("%d pods deleted, %s, %s", died, counts(verdicts), took.Round(10*time.Millisecond)),
		"5 deleted, 95 refused", died == 5 && verdicts["200 applied"] == 5 && verdicts["200 refused over-budget"] == 95 && took < time.Minute)
	p.row("and the notifier hears of it", fmt.Sprintf("%d messages of deletions, %d of refusals", others, refusals), "5, 1", others == 5 && refusals == 1)
}

// outcome is an answer as the event that Triggers look at.
func outcome(a testkit.Answer) event.Event {
	e := event.New()
	for name, value := range a.Attributes {
		switch name {
		case "specversion", "time":
		case "id":
			e.SetID(value)
		case "type":
			e.SetType(value)
		case "source":
			e.SetSource(value)
		case "subject":
			e.SetSubject(value)
		default:
			e.SetExtension(name, value)
		}
	}
	return e
}

// forwarded is an answer as a Broker sends it on.
func forwarded(p proof, a testkit.Answer, url string) *http.Request {
	p.Helper()
	r, err := http.NewRequestWithContext(p.Context(), http.MethodPost, url, bytes.NewReader(a.Body))
	if err != nil {
		p.Fatal(err)
	}
	for name, values := range a.Header {
		if strings.HasPrefix(name, "Ce-") || name == "Content-Type" {
			r.Header[name] = values
		}
	}
	return r
}

// slackChannel takes what an incoming webhook would.
type slackChannel struct {
	mu       sync.Mutex
	messages []string
}

func (c *slackChannel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	c.messages = append(c.messages, string(body))
	c.mu.Unlock()
	_, _ = io.WriteString(w, "ok")
}

// count is how many messages hold a text, and how many do not.
func (c *slackChannel) count(text string) (with, without int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := len(c.messages)
	with = all - len(slices.DeleteFunc(slices.Clone(c.messages), func(m string) bool { return strings.Contains(m, text) }))
	return with, all - with
}
