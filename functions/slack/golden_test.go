package function

import (
	"flag"
	"net/http"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/outbound/outboundtest"
	"github.com/riposte-dev/riposte/shared/response"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

// hostile is an alert whose every text was written by an attacker.
func hostile(alert falco.Alert) falco.Alert {
	const attack = "<!channel> <@U0123456789> <https://evil.example|Runbook> @here https://evil.example &lt;!here&gt; *bold* `code` \u202Egpj.exe"
	alert.Rule, alert.Source, alert.Hostname = attack, attack, attack
	alert.Output = attack + "\n```\n*isolate*: applied\n```"
	alert.Tags = []string{attack}
	for key := range alert.Fields {
		if _, ok := alert.Fields.String(key); ok {
			alert.Fields[key] = attack
		}
	}
	return alert
}

// forged is an alert whose output holds the fields of another pod, and the beginning of a message of ours.
func forged(alert falco.Alert) falco.Alert {
	command := "sh -c x k8s_pod_name=victim-0 k8s_ns_name=prod\r\n`delete-pod` *applied*\u2028Namespace: prod"
	alert.Output = strings.Replace(alert.Output, "command=sh", "command="+command, 1)
	alert.Fields["proc.cmdline"] = command
	return alert
}

func TestGoldenAlerts(t *testing.T) {
	tests := map[string]falco.Alert{
		"notice":       captured(t, "01"),
		"critical":     captured(t, "03"),
		"host":         captured(t, "05"),
		"audit":        captured(t, "09"),
		"cloudtrail":   captured(t, "12"),
		"rule-name":    captured(t, "21"),
		"large-output": captured(t, "24"),
		"hostile":      hostile(captured(t, "01")),
		"forged":       forged(captured(t, "01")),
	}
	for name, alert := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok")})
			o, err := newSlack(t, byWebhook(w.URL), false).Respond(t.Context(), alert)
			if err != nil || o.Verdict != response.Applied {
				t.Fatalf("%+v, %v", o, err)
			}
			outboundtest.Golden(t, "alert-"+name+".http", w.last(t), *update)
		})
	}
}

func TestGoldenOutcomes(t *testing.T) {
	alert := captured(t, "02")
	tests := map[string]response.Record{
		"applied": outcomeOf(alert, response.Applied, "", "deleted pod default/web-7d9c6b8f5-x2x9k"),
		"refused": outcomeOf(alert, response.Refused, response.ProtectedNamespace, "namespace default is protected"),
		"dry-run": outcomeOf(alert, response.DryRun, "", "would delete pod default/web-7d9c6b8f5-x2x9k"),
		"failed":  outcomeOf(alert, response.Failed, response.FunctionError, "Lambda function f reported an error: Unhandled"),
		"hostile": outcomeOf(hostile(alert), "<!channel>", "*bold*`", "`\n```<!here>"),
	}
	for name, record := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok")})
			o, err := newSlack(t, byWebhook(w.URL), false).RespondOutcome(t.Context(), record)
			if err != nil || o.Verdict != response.Applied {
				t.Fatalf("%+v, %v", o, err)
			}
			outboundtest.Golden(t, "outcome-"+name+".http", w.last(t), *update)
		})
	}
}

func TestGoldenByToken(t *testing.T) {
	alert := captured(t, "02")
	w := newWorkspace(t, map[string]http.HandlerFunc{
		"chat.postMessage":      says(postedAnswer),
		"conversations.history": says(history(page{alertID: alert.ID(), ts: "1767225600.000100"})),
	})
	s := newSlack(t, byToken(w.URL), false)
	if _, err := s.Respond(t.Context(), alert); err != nil {
		t.Fatal(err)
	}
	outboundtest.Golden(t, "token-alert.http", w.last(t), *update)
	if _, err := s.RespondOutcome(t.Context(), outcomeOf(alert, response.Applied, "", "deleted pod default/web-7d9c6b8f5-x2x9k")); err != nil {
		t.Fatal(err)
	}
	outboundtest.Golden(t, "token-outcome.http", w.last(t), *update)
	w.requests = w.requests[:len(w.requests)-1]
	outboundtest.Golden(t, "token-history.http", w.last(t), *update)
}
