package triggers_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/rickb777/date/period"

	"github.com/riposte-dev/riposte/triggers"
)

// deadline is the REQUIRE_EVIDENCE of docs/evidence.md.
const deadline = time.Minute

// rulesOf are the rules that a shipped trigger names.
func rulesOf(t *testing.T, name string) []string {
	t.Helper()
	var rules []string
	for _, trigger := range shipped(t).Triggers() {
		if trigger.Name != name {
			continue
		}
		for _, filter := range trigger.Manifest.Spec.Filters {
			for _, one := range filter.Any {
				if rule := one.Exact["rule"]; rule != "" {
					rules = append(rules, rule)
				}
			}
		}
	}
	if len(rules) == 0 {
		t.Fatalf("trigger %s names no rule", name)
	}
	return rules
}

// Whatever is deleted has evidence asked for, and the evidence of nothing else leads to a deletion.
func TestEvidenceIsOfWhatIsDeleted(t *testing.T) {
	deleted, followed, collected := rulesOf(t, "delete-malware"), rulesOf(t, "delete-after-evidence"), rulesOf(t, "collect-evidence")
	if !slices.Equal(slices.Sorted(slices.Values(deleted)), slices.Sorted(slices.Values(followed))) {
		t.Errorf("alerts of %v lead to a deletion, evidence of %v", deleted, followed)
	}
	for _, rule := range deleted {
		if !slices.Contains(collected, rule) {
			t.Errorf("nothing is kept of %q before it is deleted", rule)
		}
	}
}

// An alert that waits for its evidence has to be sent again until the deadline has passed, or it ends in the dead letters
// and nobody deletes anything. The in-memory channel's pauses are the shortest of all Brokers': docs/brokers.md.
func TestAlertIsSentAgainUntilTheDeadlineOfTheEvidence(t *testing.T) {
	for _, trigger := range shipped(t).Triggers() {
		if trigger.Name != "delete-malware" {
			continue
		}
		if reach := reachOf(t, trigger); reach < deadline {
			t.Errorf("trigger %s gives up after %s, before REQUIRE_EVIDENCE=%s is over", trigger.Name, reach, deadline)
		}
		return
	}
	t.Fatal("there is no trigger delete-malware")
}

// reachOf is how long after the first attempt the last one is made, if each fails at once.
func reachOf(t *testing.T, trigger *triggers.Trigger) time.Duration {
	t.Helper()
	delivery := trigger.Manifest.Spec.Delivery
	p, err := period.Parse(*delivery.BackoffDelay)
	if err != nil {
		t.Fatal(err)
	}
	delay, _ := p.Duration()
	return time.Duration(float64(delay) * (math.Pow(2, float64(*delivery.Retry)) - 1))
}
