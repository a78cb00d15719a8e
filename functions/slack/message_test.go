package function

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

func TestEscape(t *testing.T) {
	tests := map[string]struct {
		text      string
		most      int
		line, all string // in one line, and in several
	}{
		"plain text":                       {"sh -c id", 100, "sh -c id", "sh -c id"},
		"a mention":                        {"<!channel> <@U1>", 100, "&lt;!channel&gt; &lt;@U1&gt;", "&lt;!channel&gt; &lt;@U1&gt;"},
		"a link":                           {"<https://e.x|safe>", 100, "&lt;https://e.x|safe&gt;", "&lt;https://e.x|safe&gt;"},
		"what is escaped already":          {"&lt;!here&gt;", 100, "&amp;lt;!here&amp;gt;", "&amp;lt;!here&amp;gt;"},
		"the end of code":                  {"a`b```c", 100, "aˋbˋˋˋc", "aˋbˋˋˋc"},
		"line breaks":                      {"a\nb\r\nc", 100, "a b  c", "a\nb \nc"},
		"other breaks and control":         {"a\u2028b\u0085c\x1b[31md\x00e", 100, "a b c [31md e", "a b c [31md e"},
		"the order of letters":             {"gpj\u202Efdp.exe\u2066x", 100, "gpj\uFFFDfdp.exe\uFFFDx", "gpj\uFFFDfdp.exe\uFFFDx"},
		"letters nobody sees":              {"a\u200Bb\uFEFFc", 100, "a\uFFFDb\uFFFDc", "a\uFFFDb\uFFFDc"},
		"blanks around":                    {" \n padded \t", 100, "padded", "padded"},
		"no UTF-8":                         {"a\xff\xfeb", 100, "a\uFFFD\uFFFDb", "a\uFFFD\uFFFDb"},
		"other scripts":                    {"Détection 容器 🔥", 100, "Détection 容器 🔥", "Détection 容器 🔥"},
		"nothing":                          {"", 100, "", ""},
		"as long as allowed":               {"abcdefg", 10, "abcdefg", "abcdefg"},
		"longer than allowed":              {"abcdefgh", 10, "abcdefg…", "abcdefg…"},
		"longer by an entity":              {"abcd<", 10, "abcd…", "abcd…"},
		"longer in the middle of a letter": {"abcdef容", 10, "abcdef…", "abcdef…"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := escape(test.text, test.most); got != test.line {
				t.Errorf("in one line %q, want %q", got, test.line)
			}
			if got := escapeLines(test.text, test.most); got != test.all {
				t.Errorf("in several lines %q, want %q", got, test.all)
			}
		})
	}
}

func TestCut(t *testing.T) {
	tests := map[string]struct {
		text string
		most int
		want string
	}{
		"short enough":               {"abc", 3, "abc"},
		"too long":                   {"abcdefgh", 7, "abcd…"},
		"between letters":            {"ab容器", 7, "ab…"},
		"before an entity":           {"abc&amp;defgh", 9, "abc…"},
		"after an entity":            {"&amp;defgh", 9, "&amp;d…"},
		"a character that is no one": {"a\xffb", 9, "a\uFFFDb"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := cut(test.text, test.most); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestEveryPriorityHasItsColor(t *testing.T) {
	seen := map[string]falco.Priority{}
	for p := falco.Emergency; p <= falco.Debug; p++ {
		alert := captured(t, "01")
		alert.Priority = p
		for kind, m := range map[string]message{
			"alert": alertMessage(alert, Template{}), "outcome": outcomeMessage(outcomeOf(alert, response.Applied, "", ""), Template{}),
		} {
			if m.attachment.Color != color(p) || len(m.attachment.Color) != len("#000000") {
				t.Errorf("%s of %s has color %q", kind, p, m.attachment.Color)
			}
		}
		if other, ok := seen[color(p)]; ok {
			t.Errorf("%s and %s have one color", p, other)
		}
		seen[color(p)] = p
	}
}

func TestTemplates(t *testing.T) {
	alert := hostile(captured(t, "01"))
	alert.Fields["<!here>"] = "<!here>"
	outcome := outcomeOf(alert, response.Refused, "<!here>", "<!here>")
	outcome.Response, outcome.AlertID, outcome.Target.Name = "<!here>", "<!here>", "<!here>"
	tests := map[string]struct {
		template string
		alert    bool
		want     string
		builtIn  bool // the built-in text had to stand in
	}{
		"fixed text keeps its markup":     {"<!subteam^S1> *look*", true, "<!subteam^S1> *look*", false},
		"a condition":                     {`{{if eq .Priority "Notice"}}low{{else}}high{{end}}`, true, "low", false},
		"an outcome":                      {"{{.Outcome}} {{.DryRun}}", false, "refused false", false},
		"a field that is not there":       {"[{{.Fields.nothing}}]", true, "[]", false},
		"a field of another type":         {`{{index .Fields "evt.time"}}`, true, "1767225600123456789", false},
		"what fails on this alert alone":  {`{{if .Tags}}{{index .Tags 99}}{{end}}`, true, "```", true},
		"what gives nothing":              {`{{if eq .Priority "Critical"}}x{{end}}`, true, "", false},
		"the texts of a hostile alert":    {`{{.Rule}}{{.Source}}{{.Hostname}}{{.Output}}{{.Tags}}{{.Namespace}}{{.Pod}}{{.Container}}`, true, "", false},
		"the fields of a hostile alert":   {`{{range $k, $v := .Fields}}{{$k}}={{$v}} {{end}}`, true, "", false},
		"the texts of a hostile outcome":  {`{{.AlertID}}{{.Response}}{{.Outcome}}{{.Reason}}{{.Message}}{{.Target}}`, false, "", false},
		"text cut out of a hostile alert": {`{{if .Rule}}{{slice .Rule 0 2}}{{end}}`, true, "", false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var parsed Template
			if err := parsed.UnmarshalText([]byte(test.template)); err != nil {
				t.Fatal(err)
			}
			m := outcomeMessage(outcome, parsed)
			if test.alert {
				m = alertMessage(alert, parsed)
			}
			if (m.templateError != nil) != test.builtIn {
				t.Errorf("template error is %v, want one: %t", m.templateError, test.builtIn)
			}
			text := ""
			if s, ok := m.attachment.Blocks.BlockSet[0].(*slack.SectionBlock); ok && s.Text != nil {
				text = s.Text.Text
			}
			if !strings.HasPrefix(text, test.want) {
				t.Errorf("text is %q, want %q", text, test.want)
			}
			// Markup is the operator's, as is an entity cut in two.
			if err := problem(m, strings.Contains(test.template, "<") || strings.Contains(test.template, "slice")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestATemplateThatFailsLosesNoAlert(t *testing.T) {
	w := newWorkspace(t, map[string]http.HandlerFunc{"webhook": says("ok")})
	c := byWebhook(w.URL)
	if err := c.Template.UnmarshalText([]byte(`{{if .Tags}}{{index .Tags 99}}{{end}}`)); err != nil {
		t.Fatal(err)
	}
	o, err := newSlack(t, c, false).Respond(t.Context(), captured(t, "03"))
	if err != nil || o.Verdict != response.Applied || len(w.sent()) != 1 {
		t.Fatalf("%+v, %v, requests %v", o, err, w.sent())
	}
	if !strings.Contains(o.Message, "MESSAGE_TEMPLATE") {
		t.Errorf("the outcome does not say so: %s", o.Message)
	}
}

// problem is what Slack, or a reader, could not take of a message; markup is allowed in texts of the operator.
func problem(m message, markup bool) error {
	raw, err := json.Marshal(map[string]any{"text": m.notification, "blocks": m.heading, "attachment": m.attachment})
	if err != nil {
		return err
	}
	var shown any
	if err := json.Unmarshal(raw, &shown); err != nil {
		return err
	}
	errs := []error{}
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			if v["type"] == "mrkdwn" && v["verbatim"] != true {
				errs = append(errs, errors.New("a text makes links by itself"))
			}
			if fields, ok := v["fields"].([]any); ok && len(fields) > 10 {
				errs = append(errs, errors.New("a section has more than 10 fields"))
			}
			for k, e := range v {
				walk(k, e)
			}
		case []any:
			for _, e := range v {
				walk(key, e)
			}
		case string:
			errs = append(errs, textProblem(key, v, markup))
		}
	}
	walk("", shown)
	return errors.Join(errs...)
}

func textProblem(key, s string, markup bool) error {
	most := 3000
	if key == "fields" {
		most = 2000
	}
	switch {
	case !utf8.ValidString(s):
		return errors.New(key + " is no UTF-8: " + s)
	case utf8.RuneCountInString(s) > most:
		return errors.New(key + " is too long")
	case key == "text" && s == "":
		return errors.New("a text is empty")
	case !markup && strings.ContainsAny(s, "<>"):
		return errors.New(key + " holds markup: " + s)
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Cf, r) || unicode.IsControl(r) && r != '\n' }):
		return errors.New(key + " holds what nobody can see: " + s)
	}
	for i := range len(s) {
		if s[i] == '&' && !strings.HasPrefix(s[i:], "&amp;") && !strings.HasPrefix(s[i:], "&lt;") && !strings.HasPrefix(s[i:], "&gt;") && !markup {
			return errors.New(key + " holds an & of its own: " + s)
		}
	}
	if strings.Count(s, "`")%2 != 0 {
		return errors.New(key + " leaves code open: " + s)
	}
	return nil
}
