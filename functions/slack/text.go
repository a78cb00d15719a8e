package function

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape makes text of an alert fit to stand in code of Slack's mrkdwn, in one line, in at most that many bytes.
// The three characters with a meaning everywhere become entities, and the one that ends code a look-alike.
// Characters that would turn the order of letters or that nobody can see are replaced.
// https://docs.slack.dev/messaging/formatting-message-text/#escaping
func escape(s string, most int) string { return clean(s, most, false) }

// escapeLines is escape for text of several lines.
func escapeLines(s string, most int) string { return clean(s, most, true) }

const ellipsis = "…"

func clean(s string, most int, lines bool) string {
	var b strings.Builder
	for _, r := range strings.TrimSpace(s) {
		next := harmless(r, lines)
		if b.Len()+len(next) > most-len(ellipsis) {
			return b.String() + ellipsis
		}
		b.WriteString(next)
	}
	return b.String()
}

func harmless(r rune, lines bool) string {
	switch {
	case r == '&':
		return "&amp;"
	case r == '<':
		return "&lt;"
	case r == '>':
		return "&gt;"
	case r == '`':
		return "ˋ"
	case r == '\n' && lines:
		return "\n"
	case unicode.IsControl(r), unicode.IsSpace(r):
		return " "
	case unicode.Is(unicode.Cf, r), r == utf8.RuneError:
		return "\uFFFD"
	}
	return string(r)
}

// code sets escaped text in code; nothing stays nothing.
func code(escaped string) string {
	if escaped == "" {
		return ""
	}
	return "`" + escaped + "`"
}

// codeBlock sets escaped text of several lines in code.
func codeBlock(escaped string) string {
	if escaped == "" {
		return ""
	}
	return "```" + escaped + "```"
}

// cut ends finished text after at most that many bytes, between two characters and not inside an entity.
func cut(s string, most int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	end := most - len(ellipsis)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	const longest = len("&amp;")
	if i := strings.LastIndexByte(s[:end], '&'); i >= max(0, end-longest) && !strings.Contains(s[i:end], ";") {
		end = i
	}
	return s[:end] + ellipsis
}
