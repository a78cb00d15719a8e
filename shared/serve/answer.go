package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// binaryMode is an event as an answer in binary mode. An error names the attribute that cannot be written.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#31-binary-content-mode
func binaryMode(e event.Event) (answer, error) {
	c := e.Context.AsV1()
	const attributes = 9 // and the length
	a := answer{status: http.StatusOK, fields: make([]field, 0, attributes+len(c.Extensions)), body: e.DataEncoded}
	set := func(name, value string) {
		if value != "" {
			a.fields = append(a.fields, field{name, value})
		}
	}
	set("Ce-Specversion", event.CloudEventsVersionV1)
	set("Ce-Id", c.ID)
	set("Ce-Type", c.Type)
	set("Ce-Source", c.Source.String())
	if c.DataSchema != nil {
		set("Ce-Dataschema", c.DataSchema.String())
	}
	set("Ce-Subject", e.Subject())
	set("Content-Type", e.DataContentType())
	if at := e.Time(); !at.IsZero() {
		set("Ce-Time", types.FormatTime(at))
	}
	for name, value := range c.Extensions {
		text, err := types.Format(value)
		if err != nil {
			return answer{}, fmt.Errorf("extension %s is %v: %w", name, value, err)
		}
		a.fields = append(a.fields, field{extensionHeader(name), text})
	}
	if len(e.DataEncoded) > 0 {
		set("Content-Length", strconv.Itoa(len(e.DataEncoded)))
	}
	return a, nil
}

// batchMode is the events of a batch as an answer.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format
func batchMode(events []event.Event) (answer, error) {
	var body bytes.Buffer
	body.WriteByte('[')
	for i, e := range events {
		encoded, err := e.MarshalJSON()
		if err != nil {
			return answer{}, err
		}
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(encoded)
	}
	body.WriteByte(']')
	return answer{
		status: http.StatusOK, fields: []field{{"Content-Type", event.ApplicationCloudEventsBatchJSON}}, body: body.Bytes(),
	}, nil
}

// extensionHeader is the header of an extension. The names of those that every outcome has are made once.
func extensionHeader(name string) string {
	switch name {
	case "response":
		return "Ce-Response"
	case "outcome":
		return "Ce-Outcome"
	case "rule":
		return "Ce-Rule"
	case "priority":
		return "Ce-Priority"
	case "eventsource":
		return "Ce-Eventsource"
	case "k8snamespace":
		return "Ce-K8snamespace"
	case "alertid":
		return "Ce-Alertid"
	case "hops":
		return "Ce-Hops"
	}
	return http.CanonicalHeaderKey("Ce-" + name)
}
