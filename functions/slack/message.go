package function

import (
	"fmt"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// message is one message, whichever way it goes.
type message struct {
	// notification is what a phone shows; plain is the same for our own outcome, where nothing is escaped.
	notification, plain string
	heading             []slack.Block
	attachment          slack.Attachment
	// alertID and time are those of the alert; answers says that the message belongs into its thread.
	alertID string
	time    time.Time
	answers bool
	// templateError is why the built-in text had to stand in.
	templateError error
}

// maxText keeps a section below the 3000 characters that Slack takes.
// https://docs.slack.dev/reference/block-kit/blocks/section-block
const maxText = 2900

func alertMessage(a falco.Alert, t Template) message {
	v := viewAlert(a)
	m := message{
		notification: cut(v.Priority+": "+v.Rule, maxText), plain: a.Priority.String() + ": " + cut(a.Rule, maxRule),
		heading: section("*" + v.Priority + "* " + code(v.Rule)),
		alertID: a.ID(), time: a.Time,
	}
	m.fill(v, t, codeBlock(v.Output), a.Priority, []field{
		{"Namespace", v.Namespace}, {"Pod", v.Pod}, {"Container", v.Container}, {"Host", v.Hostname}, {"Source", v.Source},
	})
	return m
}

func outcomeMessage(r response.Record, t Template) message {
	v := viewOutcome(r)
	verdict := verdictText(r.Outcome)
	because := ""
	if v.Reason != "" {
		because = ", " + code(v.Reason)
	}
	m := message{
		notification: cut(v.Response+": "+verdict+": "+v.Rule, maxText),
		plain:        cut(r.Response, maxName) + ": " + verdict + ": " + cut(r.Alert.Rule, maxRule),
		heading:      section(code(v.Response) + " *" + verdict + "*" + because),
		alertID:      r.AlertID, time: r.Alert.Time, answers: true,
	}
	m.fill(v, t, codeBlock(v.Message), r.Alert.Priority, []field{
		{"Rule", v.Rule}, {"Priority", v.Priority}, {"Target", v.Target}, {"Host", v.Hostname},
	})
	return m
}

// verdictText is a verdict for people. One that this function does not know is not repeated: it stands outside of code.
func verdictText(v response.Verdict) string {
	switch v {
	case response.Applied, response.Unchanged, response.Skipped, response.Refused, response.Failed:
		return string(v)
	case response.DryRun:
		return "dry run"
	}
	return "unknown outcome"
}

type field struct{ title, value string }

// fill makes the coloured part of the message: text, fields and a footer.
func (m *message) fill(v View, t Template, builtIn string, priority falco.Priority, fields []field) {
	text, err := t.execute(v)
	if err != nil || t.parsed == nil {
		m.templateError = err
		text = builtIn
	}
	var blocks []slack.Block
	if text = cut(strings.TrimSpace(text), maxText); text != "" {
		blocks = append(blocks, section(text)...)
	}
	var shown []*slack.TextBlockObject
	for _, f := range fields {
		if f.value != "" {
			shown = append(shown, mrkdwn("*"+f.title+"*\n"+code(f.value)))
		}
	}
	if len(shown) > 0 {
		blocks = append(blocks, slack.NewSectionBlock(nil, shown, nil))
	}
	footer := mrkdwn(fmt.Sprintf("Riposte | %s | alert %s", m.time.UTC().Format("2006-01-02 15:04:05 MST"), code(v.AlertID)))
	blocks = append(blocks, slack.NewContextBlock("", footer))
	m.attachment = slack.Attachment{Color: color(priority), Fallback: m.notification, Blocks: slack.Blocks{BlockSet: blocks}}
}

func section(text string) []slack.Block {
	return []slack.Block{slack.NewSectionBlock(mrkdwn(text), nil, nil)}
}

// mrkdwn is text in which Slack makes links and mentions of nothing by itself: verbatim.
// https://docs.slack.dev/reference/block-kit/composition-objects/text-object
func mrkdwn(text string) *slack.TextBlockObject {
	return slack.NewTextBlockObject(slack.MarkdownType, text, false, true)
}

// color is the one Falcosidekick gives a priority, which its users know.
func color(p falco.Priority) string {
	colors := [...]string{"#e20b0b", "#ff5400", "#ff9000", "#ffc700", "#ffff00", "#5bffb5", "#68c2ff", "#ccfff2"}
	if p < 0 || int(p) >= len(colors) {
		return ""
	}
	return colors[p]
}
