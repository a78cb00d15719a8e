package triggers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The event types that functions answer, and the one they answer with.
const (
	TypeFalco   = "falco.rule.output.v1"
	TypeAlert   = "dev.riposte.alert.v1"
	TypeOutcome = "dev.riposte.response.v1"
)

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9]*$`)

// everywhere are the attributes that an event cannot be without: the required
// ones of CloudEvents and those that every alert and every outcome has.
func everywhere() set {
	return newSet("specversion", "type", "source", "id", "rule", "priority", "eventsource")
}

// ofType are the further attributes that every event of a type has.
func ofType(name string) set {
	if name == TypeOutcome {
		return newSet("response", "outcome", "alertid", "hops")
	}
	return nil
}

// routerOnly are the attributes that only the router gives an alert, as far as it
// knows them: an alert of a host has no pod, and a rule's name can be without a letter
// that a slug could have. The router's others, tags and cluster, may come from
// Falcosidekick as well, whose setting cloudevents.extensions adds what it likes.
func routerOnly(name string) bool {
	return name == "k8snamespace" || name == "k8spod" || name == "ruleslug"
}

var ruleSlug = regexp.MustCompile(`^[a-z0-9]+(_[a-z0-9]+)*$`)

// slugOf is the slug that the router makes of a rule's name.
func slugOf(rule string) string {
	return strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(rule), "_"), "_")
}

// vocabulary lists the values of the attributes that have few: with any other
// value, or the same in small letters, a filter never matches.
func vocabulary(attribute string) []string {
	switch attribute {
	case "priority":
		return []string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}
	case "outcome":
		return []string{"applied", "unchanged", "skipped", "refused", "dryrun", "failed"}
	case "specversion":
		return []string{"1.0"}
	}
	return nil
}

// impossible says why no event can have the attribute, or nothing.
func impossible(name string) (message, cure string) {
	if attributeName.MatchString(name) && name != "data" {
		return "", ""
	}
	if name == "" {
		return "the attribute's name is empty", "name one, rule or priority for instance"
	}
	message = fmt.Sprintf("no event can have an attribute %q, so the filter never matches", name)
	cure = "attributes are lower-case letters and digits"
	if name == "data" || strings.HasPrefix(name, "data.") || strings.Contains(name, ".") {
		cure = "filters see attributes only, never the data of the event: test its fields in the function's WHEN condition"
	}
	return message, cure
}

// set is a set of attribute names.
type set map[string]struct{}

func newSet(names ...string) set {
	s := make(set, len(names))
	for _, name := range names {
		s[name] = struct{}{}
	}
	return s
}

func (s set) has(name string) bool {
	_, ok := s[name]
	return ok
}

func (s set) union(others ...set) set {
	out := newSet()
	for _, other := range append(others, s) {
		for name := range other {
			out[name] = struct{}{}
		}
	}
	return out
}

func (s set) intersect(other set) set {
	out := newSet()
	for name := range s {
		if other.has(name) {
			out[name] = struct{}{}
		}
	}
	return out
}

func (s set) without(other set) []string {
	var out []string
	for name := range s {
		if !other.has(name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
