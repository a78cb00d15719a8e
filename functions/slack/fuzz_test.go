package function

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// FuzzMessage renders what an attacker wrote into every text there is. Outside of code nothing may be left of it.
func FuzzMessage(f *testing.F) {
	for _, c := range testkit.Captures(f) {
		if alert, err := falco.Decode(c.Alert); err == nil {
			f.Add(alert.Rule, alert.Output, alert.Hostname, alert.Pod().Name, int(alert.Priority), alert.Time.Unix())
		}
	}
	for _, s := range []string{"<!channel>", "`*x*`", "```\n*x*", "&lt;", "\xff\u202E\u2028", strings.Repeat("&", 5000), strings.Repeat("容", 5000)} {
		f.Add(s, s, s, s, 2, int64(0))
	}
	var everything Template
	if err := everything.UnmarshalText([]byte("`{{.Rule}}{{.AlertID}}{{.Message}}{{range $k, $v := .Fields}}{{$k}}{{$v}}{{end}}{{.Tags}}`")); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, rule, output, host, pod string, priority int, unix int64) {
		alert := falco.Alert{
			Rule: rule, Output: output, Hostname: host, Source: host, Tags: []string{rule, host}, Priority: falco.Priority(priority & 7),
			Time: time.Unix(unix%1e11, 0).UTC(), Fields: falco.Fields{"k8s.pod.name": pod, "k8s.ns.name": host, rule: output, "container.name": pod},
		}
		record := response.Record{
			Response: pod, Outcome: response.Verdict(rule), Reason: response.Reason(host), Message: output, AlertID: pod, Alert: alert,
			Target: &response.Target{Kind: rule, Namespace: host, Name: pod},
		}
		for name, m := range map[string]message{
			"alert": alertMessage(alert, Template{}), "outcome": outcomeMessage(record, Template{}),
		} {
			if err := problem(m, false); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := ours(m); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		m := alertMessage(alert, everything)
		// A text that was cut leaves its code open.
		if err := problem(m, false); m.templateError != nil || err != nil && !strings.Contains(err.Error(), "leaves code open") {
			t.Errorf("template: %v, %v", m.templateError, err)
		}
	})
}

// known are the texts outside of code that are of our own making.
var known = regexp.MustCompile(`^(Riposte \| -?\d+-\d\d-\d\d \d\d:\d\d:\d\d UTC \| alert |` +
	`\*(Namespace|Pod|Container|Host|Source|Rule|Priority|Target)\*\n| ?\*[a-zA-Z ]+\*(, | )?)?$`)

// ours says whether all that a message shows outside of code is of our own making.
func ours(m message) error {
	for _, block := range append(m.heading, m.attachment.Blocks.BlockSet...) {
		for _, text := range textsOf(block) {
			parts := strings.Split(strings.ReplaceAll(text, "```", "`"), "`")
			for i := 0; i < len(parts); i += 2 {
				if !known.MatchString(parts[i]) {
					return fmt.Errorf("text of the alert stands outside of code: %q", text)
				}
			}
		}
	}
	return nil
}

func textsOf(block slack.Block) []string {
	var texts []string
	switch b := block.(type) {
	case *slack.SectionBlock:
		for _, text := range append([]*slack.TextBlockObject{b.Text}, b.Fields...) {
			if text != nil {
				texts = append(texts, text.Text)
			}
		}
	case *slack.ContextBlock:
		for _, element := range b.ContextElements.Elements {
			if text, ok := element.(*slack.TextBlockObject); ok {
				texts = append(texts, text.Text)
			}
		}
	}
	return texts
}
