package falco_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
)

func TestPriority(t *testing.T) {
	all := []string{"Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug"}
	for i, name := range all {
		for _, spelling := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			p, err := falco.ParsePriority(spelling)
			if err != nil || p != falco.Priority(i) || p.String() != name {
				t.Errorf("%s is %v, %v: want %s", spelling, p, err, name)
			}
		}
		var decoded falco.Priority
		encoded, err := json.Marshal(falco.Priority(i))
		if err != nil || string(encoded) != `"`+name+`"` {
			t.Errorf("%s is encoded as %s, %v", name, encoded, err)
		}
		if err := json.Unmarshal(encoded, &decoded); err != nil || decoded != falco.Priority(i) {
			t.Errorf("%s is decoded to %v, %v", encoded, decoded, err)
		}
		for j := range all {
			if got := falco.Priority(i).AtLeast(falco.Priority(j)); got != (i <= j) {
				t.Errorf("%s at least as severe as %s: %v", name, all[j], got)
			}
		}
	}
	for _, short := range []string{"info", "Info", "INFO"} {
		if p, err := falco.ParsePriority(short); err != nil || p != falco.Informational {
			t.Errorf("%s is %v, %v: want Informational", short, p, err)
		}
	}
	for _, wrong := range []string{"", " Notice", "crit", "high", "5", "Informationa\u017f"} {
		if p, err := falco.ParsePriority(wrong); err == nil {
			t.Errorf("%q is taken for %s", wrong, p)
		}
		var p falco.Priority
		if err := p.UnmarshalText([]byte(wrong)); err == nil {
			t.Errorf("%q is taken for %s in a setting", wrong, p)
		}
	}
	for _, outside := range []falco.Priority{-1, 8} {
		if _, err := falco.ParsePriority(outside.String()); err == nil {
			t.Errorf("%d has the name of a priority: %s", int(outside), outside)
		}
	}
}
