package function

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"knative.dev/pkg/apis"
	duckv1 "knative.dev/pkg/apis/duck/v1"
)

// entry is the copy of a delivery in the journal.
type entry struct {
	// Event has no data: that would not come out of JSON as it went in.
	Event event.Event `json:"event"`
	Data  []byte      `json:"data"`
	// Trigger is namespace/name, empty for K_SINK. The address and the policy are those of the Trigger when the copy is
	// taken up; what is written here is for the dead letter where there is no such Trigger any more.
	Trigger    string    `json:"trigger"`
	Function   string    `json:"function"`
	Address    string    `json:"address"`
	DeadLetter string    `json:"deadLetter,omitempty"`
	Attempts   int       `json:"attempts,omitempty"`
	Failed     *failure  `json:"failed,omitempty"`
	Due        time.Time `json:"due,omitzero"`
}

// failure is what came of the last attempt.
type failure struct {
	Status int    `json:"status"`
	Body   []byte `json:"body,omitempty"`
	Error  string `json:"error"`
}

// maxFailure is how much of an answer fits into a dead letter's attribute.
const maxFailure = 1 << 10

func encodeEntry(d *delivery) ([]byte, error) {
	bare := d.event
	bare.DataEncoded, bare.DataBase64 = nil, false
	out := entry{
		Event: bare, Data: d.event.DataEncoded, Trigger: d.route.trigger, Function: d.route.function, Address: d.route.to.URL.String(),
		Attempts: d.attempts, Due: d.due,
	}
	if d.route.deadLetter != nil {
		out.DeadLetter = d.route.deadLetter.URL.String()
	}
	if d.last.err != nil {
		out.Failed = &failure{Status: d.last.status, Body: d.last.body[:min(len(d.last.body), maxFailure)], Error: d.last.err.Error()}
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode a delivery: %w", err)
	}
	return body, nil
}

func decodeEntry(body []byte) (entry, error) {
	var in entry
	if err := json.Unmarshal(body, &in); err != nil {
		return entry{}, fmt.Errorf("a delivery is not readable: %w", err)
	}
	if err := in.Event.Validate(); err != nil || in.Address == "" {
		return entry{}, fmt.Errorf("a delivery has the address %q and the event %q", in.Address, in.Event.ID())
	}
	in.Event.DataEncoded = in.Data
	return in, nil
}

// delivery is what the copy is of, by the way its Trigger has now. Where there is no such Trigger any more the delivery
// has failed: who took the Trigger away wants the function not to act, and to know what it would have acted on.
func (in entry) delivery(t *table) *delivery {
	d := &delivery{event: in.Event, attempts: in.Attempts, due: in.Due, route: t.named[in.Trigger]}
	if in.Failed != nil {
		d.last = answer{status: in.Failed.Status, body: in.Failed.Body, err: errors.New(in.Failed.Error)}
	}
	if d.route == nil {
		d.route = &route{function: in.Function, trigger: in.Trigger, to: duckv1.Addressable{URL: parsed(in.Address)}, policy: steady(0), destination: newDestination(1, 1, &atomic.Int64{})}
		if in.DeadLetter != "" {
			d.route.deadLetter = &duckv1.Addressable{URL: parsed(in.DeadLetter)}
		}
		d.last.fail(http.StatusGone, fmt.Sprintf("there is no Trigger %q any more", in.Trigger))
	}
	return d
}

// parsed reads an address that was one when it was written.
func parsed(address string) *apis.URL {
	u, err := apis.ParseURL(address)
	if err != nil {
		return &apis.URL{Scheme: "http", Host: "invalid"}
	}
	return u
}
