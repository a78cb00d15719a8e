package serve

import (
	"net/http"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// binaryMode is an event as the SDK writes it into an answer, header for header, without going over all that an event could
// be. It is false for one that is left to the SDK.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#31-binary-content-mode
func binaryMode(e event.Event) (answer, bool) {
	c, ok := e.Context.(*event.EventContextV1)
	if !ok || c.DataSchema != nil {
		return answer{}, false
	}
	const attributes = 8 // and the length
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
	set("Ce-Subject", e.Subject())
	set("Content-Type", e.DataContentType())
	if at := e.Time(); !at.IsZero() {
		set("Ce-Time", types.FormatTime(at))
	}
	for name, value := range c.Extensions {
		text, err := types.Format(value)
		if err != nil {
			return answer{}, false
		}
		a.fields = append(a.fields, field{extensionHeader(name), text})
	}
	if len(e.DataEncoded) > 0 {
		set("Content-Length", strconv.Itoa(len(e.DataEncoded)))
	}
	return a, true
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
