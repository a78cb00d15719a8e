package falco

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
)

// EventFields are the output fields by which plugins tell their events apart, as far as they have such a thing: those of
// okta and github name what the event is about, and gcpaudit has none.
// https://github.com/falcosecurity/plugins/tree/main/plugins
func EventFields() []string { return []string{"ct.id", "ka.auditid"} }

// sameBytes is how much of a string counts: Falcosidekick cuts it to 512 bytes, perhaps within a character.
const sameBytes = 500

// event tells two events of a plugin apart that one rule found at one time.
//
// Few rules print the ID of the event; config/falco/values.yaml has Falco add it. Without one, what Falco has written
// into the other fields counts. Not their names, which Falcosidekick's bracketreplacer changes, nor fields without a dot
// in the name, which are Falcosidekick's own; nor the output, which its outputfieldformat writes anew.
func (f Fields) event() string {
	for _, name := range EventFields() {
		if id := f.known(name); id != "" {
			return id
		}
	}
	var values []string
	for name, value := range f {
		if !strings.Contains(name, ".") || value == nil {
			continue
		}
		text, ok := value.(string)
		if !ok {
			b, err := json.Marshal(value)
			if err != nil {
				continue // Nothing that was decoded from JSON.
			}
			text = string(b)
		}
		sum := sha256.Sum256([]byte(text[:min(len(text), sameBytes)]))
		values = append(values, string(sum[:]))
	}
	slices.Sort(values)
	return strings.Join(values, "")
}
