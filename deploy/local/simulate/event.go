package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// The senders that -as names.
const (
	asFalcosidekick = "falcosidekick"
	asRouter        = "router"
)

// Sources of the events of the two senders.
const (
	sourceFalcosidekick = "https://falco.org"
	sourceRouter        = "/functions/router"
)

// sender makes events of alerts as they would be sent.
type sender struct {
	router  bool
	cluster string
}

// value makes an event of a JSON object: a CloudEvent, which has a specversion, or an
// alert.
func (s sender) value(raw []byte) (event.Event, error) {
	var marked struct {
		SpecVersion *json.RawMessage `json:"specversion"`
	}
	if err := json.Unmarshal(raw, &marked); err != nil || marked.SpecVersion == nil {
		return s.alert(raw)
	}
	var e event.Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return event.Event{}, notCloudEvent(err)
	}
	return s.send(e)
}

// send passes an event on that is a CloudEvent already.
func (s sender) send(e event.Event) (event.Event, error) {
	if err := e.Validate(); err != nil {
		return event.Event{}, notCloudEvent(err)
	}
	if !s.router {
		return e, nil
	}
	switch e.Type() {
	case falco.TypeFalcosidekick, falco.TypeRiposte:
		return s.alert(e.Data())
	case response.TypeOutcome:
		return e, nil
	}
	return event.Event{}, fmt.Errorf("type is %q: the router takes %s, %s and %s only",
		e.Type(), falco.TypeFalcosidekick, falco.TypeRiposte, response.TypeOutcome)
}

// alert makes an event of an alert's JSON. Falcosidekick gives each event a new id; here it has that of the alert,
// so that the same input prints the same.
func (s sender) alert(raw []byte) (event.Event, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return event.Event{}, errors.New("the event has no data")
	}
	a, err := falco.Decode(raw)
	if err != nil {
		return event.Event{}, err
	}
	e := event.New()
	e.SetID(a.ID())
	e.SetTime(a.Time)
	attributes := a.Attributes()
	if s.router {
		e.SetType(falco.TypeRiposte)
		e.SetSource(sourceRouter)
		maps.Copy(attributes, a.RouterAttributes(s.cluster))
	} else {
		e.SetType(falco.TypeFalcosidekick)
		e.SetSource(sourceFalcosidekick)
		if err := asHeaders(attributes, map[string]string{"rule": a.Rule, "eventsource": a.Source, "hostname": a.Hostname}); err != nil {
			return event.Event{}, err
		}
	}
	for name, value := range attributes {
		e.SetExtension(name, value)
	}
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = raw
	return e, nil
}

// asHeaders gives attributes the values that Falcosidekick sends: it writes them into headers as they are, trimmed by
// Go's client, which refuses what no header can hold. Such an alert is logged as sent, and nothing arrives.
func asHeaders(attributes, values map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		if strings.ContainsFunc(value, func(r rune) bool { return (r < ' ' && r != '\t') || r == '\x7f' }) {
			return fmt.Errorf("%s is %q: Falcosidekick cannot send that as a CloudEvent, want no control characters in it, or -as router", name, value)
		}
		if value = textproto.TrimString(value); value != "" {
			attributes[name] = value
		}
	}
	return nil
}

// notCloudEvent says on one line what is missing.
func notCloudEvent(err error) error {
	parts := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' })
	slices.Sort(parts) // The SDK names them in any order.
	return fmt.Errorf("not a CloudEvent: %s", strings.Join(parts, ", "))
}
