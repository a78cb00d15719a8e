package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/telemetry"
)

// form is how events arrived over HTTP, which decides how the outcome goes back.
type form int

const (
	single form = iota
	batched
)

// maxBatch bounds how many events one request may hold.
const maxBatch = 100

// maxValues bounds how many JSON values a body may hold. A decoded value costs some 60 bytes and more, so that a
// dense megabyte becomes twenty; the largest real alert has a few hundred.
const maxValues = 20_000

// checkDensity counts the values of a JSON text without decoding it.
func checkDensity(body []byte) error {
	if len(body) <= maxValues { // Each takes a byte at least.
		return nil
	}
	values, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case !quoted && (c == ',' || c == '{' || c == '['):
			values++
		}
	}
	if values > maxValues {
		return fmt.Errorf("body has about %d JSON values: want %d or fewer", values, maxValues)
	}
	return nil
}

// decode reads the events of a request: a CloudEvent in binary or structured mode, a batch of them,
// or a bare alert of Falco, Falcosidekick or OpenFaaS.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
//
// plain is the type of a body without an envelope.
func decode(ctx context.Context, header http.Header, body []byte, plain string) ([]Event, form, error) {
	events, form, err := split(header, body, plain)
	for i := range events {
		if e := &events[i]; e.traceparent != "" || first(header, "Traceparent") != "" { // else nothing is known of a trace
			e.trace(ctx, header)
		}
	}
	return events, form, err
}

func split(header http.Header, body []byte, plain string) ([]Event, form, error) {
	if err := checkDensity(body); err != nil {
		return nil, single, err
	}
	mediaType := mediaTypeOf(header)
	switch {
	case mediaType == event.ApplicationCloudEventsBatchJSON:
		events, err := decodeBatch(body)
		return events, batched, err
	case mediaType == event.ApplicationCloudEventsJSON || (!isBinary(header) && isStructured(body)):
		e, err := decodeStructured(body)
		return []Event{e}, single, err
	case isBinary(header):
		if e, ok := usual(header, mediaType, body); ok {
			return []Event{e}, single, nil
		}
		e, err := decodeBinary(header, body)
		return []Event{e}, single, err
	}
	return []Event{{Event: response.Event{Type: plain, Data: body}}}, single, nil
}

// mediaTypeOf is the type of a body without its parameters, empty where it is unknown.
func mediaTypeOf(header http.Header) string {
	const json = "application/json"
	contentType := first(header, "Content-Type")
	if contentType == json || contentType == json+"; charset=utf-8" { // which Falcosidekick and Brokers send
		return json
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return mediaType
}

func isBinary(header http.Header) bool { return first(header, "Ce-Specversion") != "" }

// isStructured recognises a CloudEvent in a body that does not say so, as in a Lambda payload. No alert has
// a specversion.
func isStructured(body []byte) bool {
	if !bytes.Contains(body, []byte(`"specversion"`)) {
		return false
	}
	var probe struct {
		SpecVersion any `json:"specversion"`
	}
	return json.Unmarshal(body, &probe) == nil && probe.SpecVersion != nil
}

func decodeStructured(body []byte) (_ Event, err error) {
	defer survive(&err)
	var e event.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Event{}, fmt.Errorf("event is not a CloudEvent in JSON: %w", err)
	}
	return checked(e)
}

// usual reads an event in binary mode as nearly all are. It is false for what is missing, unusual or wrong, which ReadBinary has
// a word for.
func usual(header http.Header, mediaType string, body []byte) (Event, bool) {
	id, kind, source := first(header, "Ce-Id"), first(header, "Ce-Type"), first(header, "Ce-Source")
	for _, value := range [...]string{id, kind, source} {
		if value == "" || value != strings.TrimSpace(value) {
			return Event{}, false
		}
	}
	if first(header, "Ce-Specversion") != event.CloudEventsVersionV1 || len(header["Ce-Hops"]) > 0 || mediaType != event.ApplicationJSON || len(body) == 0 {
		return Event{}, false
	}
	if !isOrigin(source) {
		if u, err := url.Parse(source); err != nil || u.String() != source {
			return Event{}, false
		}
	}
	return Event{
		Event: response.Event{ID: id, Type: kind, Data: body}, Source: source,
		traceparent: first(header, "Ce-Traceparent"), tracestate: first(header, "Ce-Tracestate"),
	}, true
}

// isOrigin recognises https://falco.org, which is Falcosidekick's source, and its like.
func isOrigin(source string) bool {
	host, found := strings.CutPrefix(source, "https://")
	return found && host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '.' && r != '-'
	})
}

// first is a header by its name in canonical form, where it need not be looked for.
func first(header http.Header, name string) string {
	if values := header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func decodeBinary(header http.Header, body []byte) (_ Event, err error) {
	defer survive(&err)
	// Extension attributes are for routing only. What counts is read: an illegal extension, which Falcosidekick up to 2.29 sends,
	// or one without a name is no reason to refuse an event.
	counts := http.Header{}
	for _, name := range []string{"Content-Type", "Ce-Specversion", "Ce-Id", "Ce-Type", "Ce-Source", "Ce-Hops", "Ce-Traceparent", "Ce-Tracestate"} {
		if values := header[name]; len(values) > 0 {
			counts[name] = values
		}
	}
	e, err := ReadBinary(counts, body)
	if err != nil {
		return Event{}, fmt.Errorf("event is not a CloudEvent in binary mode: %w", err)
	}
	return checked(e)
}

// survive turns a panic over malformed input into an error.
func survive(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("event is not readable: %v", p)
	}
}

func decodeBatch(body []byte) ([]Event, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("batch is not a JSON array of CloudEvents: %w", err)
	}
	if len(list) == 0 || len(list) > maxBatch {
		return nil, fmt.Errorf("batch holds %d events: want 1 to %d", len(list), maxBatch)
	}
	events := make([]Event, len(list))
	for i, raw := range list {
		e, err := decodeStructured(raw)
		if err != nil {
			return nil, fmt.Errorf("event %d of the batch: %w", i, err)
		}
		events[i] = e
	}
	return events, nil
}

// checked takes over what counts of an event.
func checked(e event.Event) (Event, error) {
	if e.ID() == "" || e.Type() == "" || e.Source() == "" {
		return Event{}, fmt.Errorf("event has id %q, type %q, source %q: want all three", e.ID(), e.Type(), e.Source())
	}
	// The event of a clock needs none.
	if len(e.Data()) == 0 && slices.Contains([]string{falco.TypeFalcosidekick, falco.TypeRiposte, response.TypeOutcome}, e.Type()) {
		return Event{}, errors.New("event has no data")
	}
	// In base64, or in a JSON string, the values of the data did not show in the body.
	if err := checkDensity(e.Data()); err != nil {
		return Event{}, err
	}
	return Event{
		Event: response.Event{ID: e.ID(), Type: e.Type(), Data: e.Data(), Hops: response.HopsOf(e)}, Source: e.Source(),
		traceparent: text(e, telemetry.Traceparent), tracestate: text(e, telemetry.Tracestate),
	}, nil
}

// Decode reads the events of a request as every function that takes alerts does; for services. An error says what is wrong with it.
func Decode(ctx context.Context, r Request) ([]Event, error) {
	events, _, err := decode(ctx, r.Header, r.Body, falco.TypeFalcosidekick)
	return events, err
}
