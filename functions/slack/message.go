package function

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/template"
	"time"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// View is what a MESSAGE_TEMPLATE can use. Every text in it is escaped for Slack.
type View struct {
	AlertID, Rule, Priority, Source, Hostname, Output string
	Namespace, Pod, Container                         string
	// Time is the alert's, in RFC 3339.
	Time string
	Tags []string
	// Fields are the output fields, as text.
	Fields map[string]string
	// Response, Outcome, Reason, Message and Target are set for outcomes only; DryRun says that nothing was changed.
	Response, Outcome, Reason, Message, Target string
	DryRun                                     bool

	color string
	time  time.Time
}

func viewAlert(a falco.Alert) View {
	ref := a.Pod()
	v := View{
		AlertID: a.ID(), Rule: escape(a.Rule), Priority: a.Priority.String(), Source: escape(a.Source), Hostname: escape(a.Hostname),
		Output: escape(a.Output), Namespace: escape(ref.Namespace), Pod: escape(ref.Name), Container: escape(ref.Container),
		Time: a.Time.Format(time.RFC3339Nano), Fields: map[string]string{}, color: color(a.Priority), time: a.Time,
	}
	for _, tag := range a.Tags {
		v.Tags = append(v.Tags, escape(tag))
	}
	for key, value := range a.Fields {
		v.Fields[key] = escape(plain(value))
	}
	return v
}

func viewOutcome(r response.Record) View {
	v := viewAlert(r.Alert)
	v.AlertID = r.AlertID
	v.Response, v.Outcome, v.Reason = escape(r.Response), escape(string(r.Outcome)), escape(string(r.Reason))
	v.Message, v.DryRun = escape(r.Message), r.DryRun
	if r.Target != nil {
		v.Target = escape(strings.TrimPrefix(r.Target.Namespace+"/"+r.Target.Name, "/"))
		v.Target = escape(r.Target.Kind) + " " + v.Target
	}
	return v
}

func plain(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// escape makes text harmless in mrkdwn, without mentions and links.
// https://docs.slack.dev/messaging/formatting-message-text/#escaping
func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(limit(s, 1000))
}

func limit(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	for bytes > 0 && !utf8.RuneStart(s[bytes]) {
		bytes--
	}
	return s[:bytes] + "..."
}

// color is the one Falcosidekick gives a priority, which its users know.
func color(p falco.Priority) string {
	colors := [...]string{"#e20b0b", "#ff5400", "#ff9000", "#ffc700", "#ffff00", "#5bffb5", "#68c2ff", "#ccfff2"}
	if p < 0 || int(p) >= len(colors) {
		return ""
	}
	return colors[p]
}

// The built-in texts.
const (
	alertText   = `*{{.Rule}}*{{"\n"}}{{.Output}}`
	outcomeText = `*{{.Response}}*: {{.Outcome}}{{if .Reason}} ({{.Reason}}){{end}}{{if .DryRun}} [dry run]{{end}}{{"\n"}}{{.Message}}`
)

// Template is MESSAGE_TEMPLATE.
type Template struct {
	text   string
	parsed *template.Template
}

// UnmarshalText parses the template and tries it on an empty alert, so that a wrong field shows at start.
func (t *Template) UnmarshalText(b []byte) error {
	parsed, err := template.New("MESSAGE_TEMPLATE").Option("missingkey=zero").Parse(string(b))
	if err != nil {
		return err
	}
	t.text, t.parsed = string(b), parsed
	_, err = t.render(View{Fields: map[string]string{}})
	return err
}

// MarshalText is the template as it was read.
func (t Template) MarshalText() ([]byte, error) { return []byte(t.text), nil }

// Describe says what is allowed.
func (Template) Describe() string { return "a Go text template" }

// render makes the message.
func (t Template) render(v View) (slack.Attachment, error) {
	parsed := t.parsed
	if parsed == nil {
		text := alertText
		if v.Outcome != "" {
			text = outcomeText
		}
		var err error
		if parsed, err = template.New("message").Parse(text); err != nil {
			return slack.Attachment{}, fmt.Errorf("parse the built-in message: %w", err)
		}
	}
	var b strings.Builder
	if err := parsed.Execute(&b, v); err != nil {
		return slack.Attachment{}, fmt.Errorf("render the message: %w", err)
	}
	a := slack.Attachment{
		Color: v.color, Text: limit(b.String(), 3500), MarkdownIn: []string{"text", "fields"},
		Footer: "Riposte", Ts: json.Number(fmt.Sprint(v.time.Unix())),
		Fallback: limit(strings.TrimSpace(v.Priority+": "+v.Rule+" "+v.Response+" "+v.Outcome), 300),
	}
	for _, f := range []slack.AttachmentField{
		{Title: "Priority", Value: v.Priority, Short: true},
		{Title: "Namespace", Value: v.Namespace, Short: true},
		{Title: "Pod", Value: v.Pod, Short: true},
		{Title: "Target", Value: v.Target, Short: true},
		{Title: "Host", Value: v.Hostname, Short: true},
	} {
		if f.Value != "" {
			a.Fields = append(a.Fields, f)
		}
	}
	return a, nil
}
