package response_test

import (
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/response"
)

func TestHopsOf(t *testing.T) {
	for name, c := range map[string]struct {
		value any
		want  int
	}{
		"none": {nil, 0}, "an integer": {3, 3}, "text": {"3", 3}, "zero": {"0", 0}, "the most": {"8", 8}, "more": {"9", 8},
		"far more": {"99999999999999999999999", 8}, "beyond 31 bits": {"4294967296", 8}, "negative": {"-1", 0}, "a negative integer": {-4, 0},
		"a sign": {"+3", 0}, "a fraction": {"2.5", 0}, "a word": {"many", 0}, "blanks": {" 3", 0}, "nothing": {"", 0}, "true": {true, 0},
		"hexadecimal": {"0x3", 0},
	} {
		t.Run(name, func(t *testing.T) {
			e := event.New()
			if c.value != nil {
				e.SetExtension(response.HopsAttribute, c.value)
			}
			if got := response.HopsOf(e); got != c.want {
				t.Errorf("hops are %d, want %d", got, c.want)
			}
		})
	}
	for given, want := range map[int]int{-1: 0, 0: 0, 5: 5, response.MaxHops: response.MaxHops, 1000: response.MaxHops} {
		e := event.New()
		response.SetHops(&e, given)
		if got := response.HopsOf(e); got != want {
			t.Errorf("set to %d they are %d, want %d", given, got, want)
		}
	}
}
