package deadletter

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Encode is the event as one JSON object. The data stands in it byte for byte: as it is if it is a JSON value, else in
// base64. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
func Encode(e event.Event) ([]byte, error) {
	data := e.DataEncoded
	e.DataEncoded, e.DataBase64 = nil, false
	attributes, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	out := attributes[:len(attributes)-1]
	if e.DataMediaType() == event.ApplicationJSON && isJSONValue(data) {
		return append(append(append(out, `,"data":`...), data...), '}'), nil
	}
	encoded, err := json.Marshal(data) // Bytes are base64 in JSON.
	if err != nil {
		return nil, fmt.Errorf("encode the data: %w", err)
	}
	return append(append(append(out, `,"data_base64":`...), encoded...), '}'), nil
}

// isJSONValue says whether a reader of JSON gets back just these bytes: none drops the blanks inside of a value, all
// drop those around it. Bytes that are no UTF-8, which package json takes, others refuse or replace.
func isJSONValue(data []byte) bool {
	if len(data) == 0 || !json.Valid(data) || !utf8.Valid(data) {
		return false
	}
	blank := func(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
	return !blank(data[0]) && !blank(data[len(data)-1])
}
