package falco

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxAttribute bounds an attribute's value, in bytes. Names of rules are far shorter; what an attacker may have
// written, the names of pods for instance, must not fill a header.
const maxAttribute = 512

// Attributes are the CloudEvents extensions that Falcosidekick gives an alert: rule, priority, eventsource and,
// if it is known, hostname. They are for routing; functions read the data.
// https://github.com/falcosecurity/falcosidekick/blob/master/outputs/cloudevents.go
func (a Alert) Attributes() map[string]string {
	return safe(map[string]string{
		"rule": a.Rule, "priority": a.Priority.String(), "eventsource": a.Source, "hostname": a.Hostname,
	})
}

// RouterAttributes are the extensions that Riposte's router adds, as far as they are known: k8snamespace and k8spod,
// which the alert claims and nobody has verified; tags, in the alert's order, with commas between them; ruleslug; and
// cluster, which is the router's own setting.
func (a Alert) RouterAttributes(cluster string) map[string]string {
	pod := a.Pod()
	return safe(map[string]string{
		"k8snamespace": pod.Namespace, "k8spod": pod.Name, "tags": strings.Join(a.Tags, ","), "ruleslug": Slug(a.Rule),
		"cluster": cluster,
	})
}

var notInSlug = regexp.MustCompile(`[^a-z0-9]+`)

// Slug is the name of a rule as Falcosidekick writes it into the subjects of NATS:
// "Read sensitive file untrusted" is read_sensitive_file_untrusted.
func Slug(rule string) string {
	return strings.Trim(notInSlug.ReplaceAllString(strings.ToLower(rule), "_"), "_")
}

// safe makes the values such as an HTTP header carries from end to end: one line, no control characters, valid UTF-8,
// no blanks at the ends, not too long. Empty ones are dropped, since no attribute may be empty.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system
func safe(attributes map[string]string) map[string]string {
	for name, value := range attributes {
		value = strings.Map(func(r rune) rune {
			switch {
			case unicode.IsControl(r), r == '\u2028', r == '\u2029':
				return ' '
			case r == utf8.RuneError:
				return '?'
			}
			return r
		}, value)
		value = strings.TrimSpace(value)
		if len(value) > maxAttribute {
			value = strings.TrimSpace(strings.ToValidUTF8(value[:maxAttribute], ""))
		}
		if value == "" {
			delete(attributes, name)
			continue
		}
		attributes[name] = value
	}
	return attributes
}
