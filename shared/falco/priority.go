package falco

import (
	"fmt"
	"strings"
)

// Priority is a Falco priority. Lower is more severe, as in syslog: Emergency is 0, Debug is 7.
// https://falco.org/docs/concepts/rules/basic-elements/#priority
type Priority int

// The priorities, most severe first.
const (
	Emergency Priority = iota
	Alarm              // Falco's "Alert"; the word alert is taken by the detection itself.
	Critical
	Error
	Warning
	Notice
	Informational
	Debug
)

var priorityNames = [...]string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"} //nolint:gochecknoglobals // A table that nothing writes to.

// ParsePriority reads a priority in any letter case; "Info" is Falco's own short form of Informational.
func ParsePriority(s string) (Priority, error) {
	if strings.EqualFold(s, "info") {
		return Informational, nil
	}
	for i, name := range priorityNames {
		if strings.EqualFold(s, name) {
			return Priority(i), nil
		}
	}
	return 0, fmt.Errorf("%q is no priority: want one of %s", s, strings.Join(priorityNames[:], ", "))
}

// String is the spelling Falcosidekick puts on the wire.
func (p Priority) String() string {
	if p < 0 || int(p) >= len(priorityNames) {
		return fmt.Sprintf("Priority(%d)", int(p))
	}
	return priorityNames[p]
}

// AtLeast says whether p is as severe as minimum or more.
func (p Priority) AtLeast(minimum Priority) bool { return p <= minimum }

// UnmarshalText lets a setting be a priority.
func (p *Priority) UnmarshalText(b []byte) error {
	parsed, err := ParsePriority(string(b))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// MarshalText is String.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Describe says what a setting of this type allows.
func (Priority) Describe() string { return "one of " + strings.Join(priorityNames[:], ", ") }
