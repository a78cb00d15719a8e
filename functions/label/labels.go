package function

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/riposte-dev/riposte/shared/restore"
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
		if key == restore.Contained || key == restore.Isolated {
			return fmt.Errorf("key %q is one of Riposte's own marks", key)
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

// record is the name of the restore record: one for each set of labels, so that two deployments of this function are
// released each on its own.
func (l Labels) record() string { return restore.Name("label", l.text) }

// manager is the field manager: one for each set of labels too, because server-side apply takes back what the same
// manager does not mention again, and two deployments of this function must not undo each other.
func (l Labels) manager() string { return restore.Manager(l.record()) }

// reserved is a key that Kubernetes keeps for itself, if there is one.
func (l Labels) reserved() string {
	for _, key := range slices.Sorted(maps.Keys(l.set)) {
		if restore.Reserved(key) {
			return key
		}
	}
	for _, key := range l.remove {
		if restore.Reserved(key) {
			return key
		}
	}
	return ""
}
