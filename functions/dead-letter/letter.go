package function

import (
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/riposte-dev/riposte/shared/deadletter"
)

// letter is one dead letter.
type letter struct {
	event event.Event
	// function is who did not take the event, code what it answered, at when.
	function string
	code     int
	at       time.Time
}

func newLetter(dead event.Event, now time.Time) letter {
	where, _ := dead.Extensions()[deadletter.ErrorDest].(string)
	l := letter{event: dead, function: functionAt(where), at: when(dead, now)}
	// A header has text for every attribute; the router writes the number.
	if code, err := types.ToInteger(dead.Extensions()[deadletter.ErrorCode]); err == nil {
		l.code = int(code)
		l.event.SetExtension(deadletter.ErrorCode, code)
	}
	return l
}

// unknown is in the place of a function that nobody names: Knative says nothing of who answered with something that is no
// event.
const unknown = "unknown"

// functionAt is the name of the function at an address: the first label of a Service's name, or the function of a path of
// OpenFaaS's gateway.
func functionAt(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return unknown
	}
	name := u.Hostname()
	if _, path, found := strings.Cut(u.Path, "function/"); found {
		name, _, _ = strings.Cut(path, "/")
	}
	if net.ParseIP(name) == nil {
		name, _, _ = strings.Cut(name, ".")
	}
	if name = deadletter.Plain(name); name == "" {
		return unknown
	}
	return name
}

// arrival is the attribute in which a Broker writes when an event came to it, whatever the sender wrote there.
const arrival = "knativearrivaltime"

// plausible is how far the time of an event may be from now. Who makes up another one shall not decide where the dead letter
// is looked for.
const plausible = 7 * 24 * time.Hour

// when is the time that a dead letter is named by: one of the event itself, which a repeat has too, or the day.
func when(dead event.Event, now time.Time) time.Time {
	arrived, _ := types.ToTime(dead.Extensions()[arrival])
	for _, at := range []time.Time{arrived, dead.Time()} {
		if now.Sub(at).Abs() <= plausible {
			return at
		}
	}
	return dayOf(now)
}

func dayOf(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour) }
