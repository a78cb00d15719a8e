// Package guard holds the guardrails that need no platform: each can refuse a response,
// with a reason that stands in the outcome. They run in the order of the threat they
// answer: is the alert sane, is the target protected, does the operator's condition hold.
//
// Budgets and claims, the guardrails that need a store, come between the condition and
// the response.
package guard

import (
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// clockSkew is how far ahead of our clock an alert's time may be. Nodes run NTP; more than this is
// a broken clock or a forged alert, and would defeat MAX_ALERT_AGE.
const clockSkew = time.Minute

// Sane refuses alerts that nobody should act on.
type Sane struct {
	MinPriority falco.Priority `env:"MIN_PRIORITY" envDefault:"Debug" help:"Least severe priority that is acted on."`
	MaxAge      time.Duration  `env:"MAX_ALERT_AGE" envDefault:"10m" help:"Older alerts are refused; 0 accepts any age."`
	// OwnNamespace is where the ServiceAccounts of Riposte's functions are.
	OwnNamespace string `env:"POD_NAMESPACE" help:"The function's own namespace, always protected; unset means that of its ServiceAccount."`
	// Tells says that the function only tells people of alerts, so that it cannot cause another one but by its bookkeeping.
	Tells bool
}

// Validate refuses a negative age.
func (s Sane) Validate() error {
	if s.MaxAge < 0 {
		return errNegative("MAX_ALERT_AGE", s.MaxAge)
	}
	return nil
}

// CheckAlert implements response.AlertGuard.
func (s Sane) CheckAlert(a falco.Alert, now time.Time) *response.Outcome {
	age := now.Sub(a.Time)
	switch {
	// Before all others: a canary must be answered in one way only, whatever the settings and clocks are. It is
	// skipped, not refused, since nobody wanted anything of the function.
	case a.IsCanary():
		o := response.Skip(response.Canary, "%q is Riposte's own, to prove that alerts arrive", a.Rule)
		return &o
	case strings.EqualFold(strings.TrimSpace(a.Rule), "Test rule"):
		return refuse(response.TestRule, "%q is Falcosidekick's test alert", a.Rule)
	case strings.EqualFold(a.Source, "internal") || strings.HasPrefix(a.Rule, "Falco internal:"):
		return refuse(response.InternalSource, "the alert is Falco's own, about itself")
	case s.ownAction(a):
		o := response.Skip(response.OwnAction, "the alert is about what %s did, which is Riposte's own", user(a))
		return &o
	case !a.Priority.AtLeast(s.MinPriority):
		return refuse(response.BelowMinPriority, "priority %s is below MIN_PRIORITY %s", a.Priority, s.MinPriority)
	case age < -clockSkew:
		return refuse(response.FromTheFuture, "the alert is dated %s ahead of this function's clock", (-age).Round(time.Second))
	case s.MaxAge > 0 && age > s.MaxAge:
		return refuse(response.TooOld, "the alert is %s old, MAX_ALERT_AGE is %s", age.Round(time.Second), s.MaxAge)
	}
	return nil
}
