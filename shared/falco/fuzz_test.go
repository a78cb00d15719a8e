package falco_test

import (
	"encoding/json"
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// FuzzDecode: what is accepted can be used and passed on, what is not has a reason.
func FuzzDecode(f *testing.F) {
	for _, c := range testkit.Captures(f) {
		f.Add(c.Alert)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := falco.Decode(data)
		if err != nil {
			if err.Error() == "" {
				t.Error("refused without a reason")
			}
			return
		}
		if a.Rule == "" || a.Source == "" || a.Time.IsZero() || len(a.Fields) == 0 || a.Priority < falco.Emergency || a.Priority > falco.Debug {
			t.Errorf("accepted without an envelope: %+v", a)
		}
		ref := a.Pod()
		for _, known := range append(append([]string{}, ref.UIDs...), ref.ContainerIDs...) {
			if known == "" || known == "<NA>" || known == "host" {
				t.Errorf("the pod is known by %q", known)
			}
		}
		for what, passedOn := range map[string]falco.Alert{"alert": a, "compact alert": a.Compact()} {
			encoded, err := json.Marshal(passedOn)
			if err != nil {
				t.Fatalf("the %s cannot be encoded: %v", what, err)
			}
			again, err := falco.Decode(encoded)
			if err != nil {
				t.Fatalf("the %s is refused once it is encoded: %v", what, err)
			}
			if what == "alert" && again.ID() != a.ID() {
				t.Errorf("id is %s, encoded and decoded %s", a.ID(), again.ID())
			}
		}
	})
}
