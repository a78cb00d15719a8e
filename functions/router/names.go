package function

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// source is the CloudEvents source of every alert that leaves the router.
const source = "/functions/router"

// name makes the event that is matched and delivered. Identity and attributes come from the data, never from what the
// sender wrote around it; the data stays byte for byte.
func (e *engine) name(in response.Event) (event.Event, error) {
	var out event.Event
	var err error
	switch in.Type {
	case falco.TypeFalcosidekick, falco.TypeRiposte:
		out, err = e.nameAlert(in.Data)
	case response.TypeOutcome:
		out, err = nameOutcome(in.Data)
	default:
		err = fmt.Errorf("event has type %q: want %s, %s or %s", in.Type, falco.TypeFalcosidekick, falco.TypeRiposte, response.TypeOutcome)
	}
	if err != nil {
		return event.Event{}, response.InvalidError(err)
	}
	if in.Hops > response.HopsOf(out) { // The one thing a sender knows better: who answered whom.
		response.SetHops(&out, in.Hops)
	}
	return out, nil
}

func (e *engine) nameAlert(data []byte) (event.Event, error) {
	alert, err := falco.Decode(data)
	if err != nil {
		return event.Event{}, err
	}
	out := event.New()
	out.SetType(falco.TypeRiposte)
	out.SetSource(source)
	out.SetID(alert.ID())
	out.SetTime(alert.Time)
	attributes := alert.Attributes()
	maps.Copy(attributes, alert.RouterAttributes(e.settings.Cluster))
	for name, value := range attributes {
		out.SetExtension(name, value)
	}
	return carry(out, data)
}

func nameOutcome(data []byte) (event.Event, error) {
	record, err := response.DecodeRecord(data)
	if err != nil {
		return event.Event{}, err
	}
	if record.ID == "" {
		return event.Event{}, errors.New("outcome has no id")
	}
	out, err := record.Event()
	if err != nil {
		return event.Event{}, err
	}
	return carry(out, data)
}

// maxName bounds id, subject and source, in bytes: they travel in headers, as every attribute does.
const maxName = 1 << 10

// carry gives an event its data as it came. One whose attributes no header can carry is refused while its sender is
// there to hear it: later neither a function nor a dead-letter sink could be told of it.
func carry(out event.Event, data []byte) (event.Event, error) {
	out.SetDataContentType(event.ApplicationJSON)
	out.DataEncoded, out.DataBase64 = data, false
	if err := out.Validate(); err != nil {
		return event.Event{}, fmt.Errorf("event cannot be named: %w", err)
	}
	for name, value := range map[string]string{"id": out.ID(), "subject": out.Subject(), "source": out.Source()} {
		if len(value) > maxName || strings.ContainsFunc(value, unicode.IsControl) {
			return event.Event{}, fmt.Errorf("event has the %s %.80q: want %d bytes or fewer without control characters", name, value, maxName)
		}
	}
	return out, nil
}

// withExtensions is the event with more attributes. The data is shared, the attributes are not.
func withExtensions[V any](e event.Event, more map[string]V) event.Event {
	e.Context = e.Context.Clone()
	for name, value := range more {
		e.SetExtension(name, value)
	}
	return e
}
