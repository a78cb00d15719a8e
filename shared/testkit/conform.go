package testkit

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// secret is a bearer token that must not be seen anywhere. //nolint:gosec // It is none.
const secret = "canary-5f0c1e7ab2d94c36"

// Conform proves what every function owes, whatever it does: it takes every capture in every form that Falcosidekick
// sends it, answers with one of the statuses of the contract, with an outcome event or with one line of text, refuses what
// is no alert, and neither panics, nor shows secrets, nor meets an error that nobody has classified.
func Conform[F Function](t *testing.T, newFunction func() F, settings map[string]string) {
	t.Helper()
	all := map[string]string{"AUTH_TOKEN": secret, "MAX_ALERT_AGE": "0"}
	maps.Copy(all, settings)
	r := Run(t, newFunction(), all)
	for _, c := range Captures(t) {
		for form, request := range map[string]*http.Request{
			"as falco sent it": bare(t, c), "as a cloudevent": c.CloudEvent(t, ""), "to openfaas": c.OpenFaaS(t, ""), "to a webhook": c.Webhook(t, ""),
		} {
			if request == nil {
				continue
			}
			t.Run(c.Name+" "+form, func(t *testing.T) {
				answer := Send(t, r, request, nil)
				checkContract(t, answer)
				if accepted := answer.Status == http.StatusOK || answer.Status == http.StatusNoContent; accepted == c.Rejected {
					t.Errorf("falcosidekick refused the alert: %t, the function accepted it: %t, with %d %s", c.Rejected, accepted, answer.Status, answer.Body)
				}
			})
		}
	}
	t.Run("a caller without the token is told nothing", func(t *testing.T) {
		answer := Send(t, r.Function, Find(t, "03").CloudEvent(t, ""), nil)
		checkContract(t, answer)
		answer.Expect(t, "401")
	})
	checkTidy(t, r)
}

// bare is the alert as Falco's http_output sends it.
func bare(tb testing.TB, c Capture) *http.Request {
	tb.Helper()
	r, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, "http://function.example/", strings.NewReader(string(c.Alert)))
	if err != nil {
		tb.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// checkContract is design's table of statuses, and the form of each answer.
func checkContract(tb testing.TB, a Answer) {
	tb.Helper()
	if strings.Contains(string(a.Body), secret) || strings.Contains(string(a.Body), "eyJhbGciOi") {
		tb.Errorf("the answer shows a secret: %s", a.Body)
	}
	switch a.Status {
	case http.StatusNoContent:
		if len(a.Body) > 0 || a.Attributes["type"] != "" {
			tb.Errorf("204 comes with a body: %s", a.Body)
		}
	case http.StatusOK:
		checkOutcome(tb, a)
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity,
		http.StatusTooManyRequests, http.StatusInternalServerError:
		if len(a.Attributes) > 0 || !regexp.MustCompile(`^[ -~]+\n$`).Match(a.Body) {
			tb.Errorf("%d comes with event attributes %v and the body %q: want one line of ASCII", a.Status, a.Attributes, a.Body)
		}
		if after := a.Header.Get("Retry-After"); (after != "") != (a.Status == http.StatusTooManyRequests) {
			tb.Errorf("%d comes with Retry-After %q: want one with 429 alone", a.Status, after)
		}
	default:
		tb.Errorf("the status is %d, which is not in the contract; the body is %s", a.Status, a.Body)
	}
}

// checkOutcome is the form of an outcome event in binary mode.
func checkOutcome(tb testing.TB, a Answer) {
	tb.Helper()
	for name, want := range map[string]string{
		"specversion": `^1\.0$`, "type": `^dev\.riposte\.response\.v1$`, "id": `^[0-9a-f]{32}$`, "source": `^/functions/` + a.Record.Response + `$`,
		"response": `^[a-z-]+$`, "outcome": `^(applied|unchanged|skipped|refused|dryrun|failed)$`, "alertid": `^[0-9a-f]{32}$`,
		"priority": `^[A-Z][a-z]+$`, "rule": `.`, "eventsource": `.`, "hops": `^[1-8]$`,
	} {
		if !regexp.MustCompile(want).MatchString(a.Attributes[name]) {
			tb.Errorf("event attribute %s is %q: want %s", name, a.Attributes[name], want)
		}
	}
	for name := range a.Attributes {
		if !regexp.MustCompile(`^[a-z0-9]{1,20}$`).MatchString(name) {
			tb.Errorf("event attribute %q has a name that CloudEvents does not allow", name)
		}
	}
	if a.Record.Outcome != a.Attributes["outcome"] || a.Record.ID != a.Attributes["id"] || a.Record.Message == "" {
		tb.Errorf("the data has outcome %q, id %q and message %q: want those of the attributes and a message", a.Record.Outcome, a.Record.ID, a.Record.Message)
	}
	if a.Record.Reason == "" && a.Record.Outcome != "applied" && a.Record.Outcome != "dryrun" {
		tb.Errorf("the outcome %s has no reason", a.Record.Outcome)
	}
}

// checkTidy looks at what a function leaves behind: its log and its metrics.
func checkTidy(tb testing.TB, r *Running) {
	tb.Helper()
	if unknown := r.Errors(tb)["unknown"]; unknown != "" {
		tb.Errorf("%s errors were of no known kind", unknown)
	}
	logged := r.Log(tb)
	for _, forbidden := range []string{secret, "eyJhbGciOi", "panic"} {
		if strings.Contains(logged, forbidden) {
			tb.Errorf("the log holds %q:\n%s", forbidden, logged)
		}
	}
	for line := range strings.Lines(logged) {
		if !json.Valid([]byte(line)) {
			tb.Errorf("a line of the log is no JSON: %s", line)
		}
	}
}

// promptly demands that f returns soon after its context is over.
func promptly(tb testing.TB, f func()) {
	tb.Helper()
	started := time.Now()
	f()
	if took := time.Since(started); took > 5*time.Second {
		tb.Errorf("it took %s", took)
	}
}

// cancelled is a context that is over.
func cancelled(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	cancel()
	return ctx
}

// sorted are the lines of a set.
func sorted(set map[string]string) []string {
	lines := make([]string, 0, len(set))
	for k, v := range set {
		lines = append(lines, k+" "+v)
	}
	slices.Sort(lines)
	return lines
}
