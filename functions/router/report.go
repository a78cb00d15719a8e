package function

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/serve"
)

// hop is one step of an event's way, for the header of the answer.
type hop struct {
	name string
	took time.Duration
	desc string
}

// result is what came of one delivery.
type result struct {
	// fate is delivered, dead-lettered or failed, as in the metrics.
	fate string
	hops []hop
	err  error
}

// report is what became of the events of one request.
type report struct {
	queued bool
	hops   []hop
}

// maxTimings bounds the header; proxies accept some kilobytes.
const maxTimings = 3 << 10

// reply is 204 for what is delivered or dead-lettered, 202 for what the journal has. Server-Timing lists the hops.
// https://www.w3.org/TR/server-timing/
func (r report) reply() serve.Reply {
	status := http.StatusNoContent
	if r.queued {
		status = http.StatusAccepted
	}
	var b strings.Builder
	for _, h := range r.hops {
		metric := fmt.Sprintf("%s;dur=%.2f", asToken(h.name), float64(h.took.Microseconds())/1000)
		if h.desc != "" {
			metric += `;desc="` + asToken(h.desc) + `"`
		}
		if b.Len()+len(metric) > maxTimings {
			break
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(metric)
	}
	return serve.Reply{Status: status, Header: http.Header{"Server-Timing": {b.String()}}}
}

// asToken makes a name such as the header can carry.
// https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
func asToken(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', strings.ContainsRune("!#$%&'*+-.^_`|~", r):
			return r
		}
		return '-'
	}, name)
}
