package doctor

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// queued is what the router says of a delivery that it has stored and will make later.
const queued = "queued"

// router reads the hops from the router's answer. It says whether the way goes on, to a Broker.
func (r *Report) router(a answer, function string, acceptQueued, toBroker bool) bool {
	metrics, err := parseTimings(a.timings)
	if err != nil {
		r.fail(HopMatch, 0, err, "whether the entry is Riposte's router")
		return false
	}
	var after time.Duration
	found := false
	for _, m := range metrics {
		after += m.took
		switch {
		case m.desc == "" && m.name == "match":
			r.pass(HopMatch, after, "in "+milliseconds(m.took))
		case m.desc != "":
			found = found || m.name == function
			// The router calls functions side by side: their times do not add up.
			r.delivery(m, acceptQueued)
		}
	}
	if r.Failed() != nil {
		return false
	}
	if !found && !toBroker {
		look := fmt.Sprintf("the router's TRIGGERS: canary.yaml must be among them, and name %s", function)
		if len(metrics) == 0 {
			look = "whether the entry is Riposte's router"
		}
		r.fail(HopMatch, after, fmt.Errorf("the router names no delivery to %s in its header Server-Timing", function), look)
		return false
	}
	return toBroker
}

// delivery is what became of the call of one function.
func (r *Report) delivery(m metric, acceptQueued bool) {
	name := m.name + " answered"
	status, err := strconv.Atoi(m.desc)
	switch {
	case err == nil && status/100 == 2:
		r.pass(name, m.took, m.desc)
	case m.desc == queued && acceptQueued:
		r.pass(name, m.took, "the router has stored the alert; what becomes of it is not seen from here")
	case m.desc == queued:
		r.fail(name, m.took, errors.New("the router has stored the alert; whether it is delivered is not seen from here"),
			"the metrics and the log of the router, or accept this with -accept-queued")
	default:
		r.fail(name, m.took, fmt.Errorf("the router says %q", m.desc),
			fmt.Sprintf("the log of %s, the router's log, and the dead-letter destination", m.name))
	}
}
