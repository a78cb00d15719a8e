package function

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Labels is LABELS: what is to be set and what is to be removed, in kubectl's notation.
type Labels struct {
	text   string
	set    map[string]string
	remove []string
}

// UnmarshalText reads quarantine=true,team-.
func (l *Labels) UnmarshalText(b []byte) error {
	*l = Labels{text: string(b), set: map[string]string{}}
	seen := map[string]bool{}
	for entry := range strings.SplitSeq(l.text, ",") {
		entry = strings.TrimSpace(entry)
		key, value, sets := strings.Cut(entry, "=")
		if !sets {
			var removes bool
			if key, removes = strings.CutSuffix(entry, "-"); !removes {
				return fmt.Errorf("%q is neither key=value nor key-", entry)
			}
			l.remove = append(l.remove, key)
		} else {
			l.set[key] = value
		}
		if problems := validation.IsQualifiedName(key); len(problems) > 0 {
			return fmt.Errorf("key %q: %s", key, problems[0])
		}
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			return fmt.Errorf("value %q: %s", value, problems[0])
		}
		if seen[key] {
			return fmt.Errorf("key %q stands twice", key)
		}
		seen[key] = true
	}
	return nil
}

// MarshalText is the text that was read.
func (l Labels) MarshalText() ([]byte, error) { return []byte(l.text), nil }

// String is the text that was read.
func (l Labels) String() string { return l.text }

// Describe says what is allowed.
func (Labels) Describe() string { return "a list such as quarantine=true,team-" }

// manager is the field manager: one for each set of labels, because server-side apply takes back what the
// same manager does not mention again, and two deployments of this function must not undo each other.
func (l Labels) manager() string {
	sum := sha256.Sum256([]byte(l.text))
	return "riposte-label-" + hex.EncodeToString(sum[:4])
}
