package falco

import "strings"

// CanaryRule is the rule of the marked alert that Riposte sends to itself to prove that the way from an entry to a
// function and back is whole. No function acts on it, whatever else it says, so no rule of Falco may have this name.
const CanaryRule = "Riposte canary"

// IsCanary says whether the alert is the marked one. Capitals and blanks at the ends make no difference: what people
// wrote slightly otherwise is better answered than acted on.
func (a Alert) IsCanary() bool {
	return strings.EqualFold(strings.TrimSpace(a.Rule), CanaryRule)
}
