package response_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// What a response quotes of the objects it found is their owner's: no NetworkPolicy may be so long that the outcome is lost,
// or that the claim cannot hold it.
func TestOutcomeStaysSmall(t *testing.T) {
	rules := make([]map[string]any, 20_000)
	for i := range rules {
		rules[i] = map[string]any{"cidr": fmt.Sprintf("10.0.%d.%d/32", i/256, i%256)}
	}
	long := strings.Repeat("<\x01\"", 400_000)
	for name, o := range map[string]response.Outcome{
		"details that are a list":        {Details: map[string]any{"residual": rules, "policy": "x"}},
		"details that are a text":        {Details: map[string]any{"residual": long}},
		"details that are a name":        {Details: map[string]any{long: 1}},
		"a change from what is large":    {Changes: []response.Change{{Field: "spec", Before: rules, After: long}}},
		"many changes":                   {Changes: many(20_000)},
		"a message":                      {Message: long},
		"a message a little too long":    {Message: strings.Repeat("x", 12<<10+1)},
		"a message, changes and details": {Message: long, Changes: many(20_000), Details: map[string]any{"residual": rules}},
	} {
		t.Run(name, func(t *testing.T) {
			o.Verdict, o.Target = response.Applied, cart
			record := answer(t, alertEvent(t, "01"), o, nil)
			b, err := json.Marshal(record)
			if err != nil {
				t.Fatal(err)
			}
			if len(b) > store.MaxValue-64<<10 { // beside which an alert of 64 KiB has room
				t.Errorf("the outcome has %d bytes", len(b))
			}
			if !strings.Contains(string(b), "[...]") {
				t.Error("the outcome does not say that something was cut")
			}
		})
	}
}

func many(n int) []response.Change {
	list := make([]response.Change, n)
	for i := range list {
		list[i] = response.Change{Field: fmt.Sprintf("metadata.labels[k%d]", i), Before: "x"}
	}
	return list
}
