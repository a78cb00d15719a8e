package falco_test

import (
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
)

func TestIsCanary(t *testing.T) {
	for rule, want := range map[string]bool{
		falco.CanaryRule: true, " riposte CANARY\t": true, "Riposte canary 2": false, "Riposte": false, "Test rule": false, "": false,
	} {
		if got := (falco.Alert{Rule: rule}).IsCanary(); got != want {
			t.Errorf("rule %q is the canary: %v, want %v", rule, got, want)
		}
	}
}
