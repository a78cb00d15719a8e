package response

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
)

// HopsAttribute is the extension with the number of functions that answered one another up to an event.
const HopsAttribute = "hops"

// HopsOf is what an event says of itself, from 0 to MaxHops. Who sends none, or no number, has answered nobody: the
// function that answers counts for it from then on.
func HopsOf(e event.Event) int {
	n, err := strconv.ParseUint(fmt.Sprint(e.Extensions()[HopsAttribute]), 10, 31)
	if errors.Is(err, strconv.ErrRange) || err == nil && n > MaxHops {
		return MaxHops
	}
	return int(n)
}

// endless is why an event that went around is answered no more.
func endless(hops int) error {
	return InvalidError(fmt.Errorf("the event is an answer to an answer, %d times over: Triggers call functions with their own outcomes", hops))
}

// after is the record as the answer to an event of so many hops.
func (r Record) after(hops int) *Record {
	r.Hops = hops + 1
	return &r
}

// SetHops says it.
func SetHops(e *event.Event, hops int) {
	e.SetExtension(HopsAttribute, int32(min(max(hops, 0), MaxHops)))
}
