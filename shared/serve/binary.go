package serve

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/cloudevents/sdk-go/v2/binding/spec"
	"github.com/cloudevents/sdk-go/v2/event"
)

const prefix = "Ce-"

// formats are the versions of CloudEvents, with their attributes as the HTTP binding names them.
var formats = spec.WithPrefixMatchExact(func(attribute string) string { //nolint:gochecknoglobals // It is made once, and never changes.
	if attribute == "datacontenttype" {
		return "Content-Type"
	}
	return textproto.CanonicalMIMEHeaderKey(prefix + attribute)
}, prefix)

// ReadBinary reads a CloudEvent in binary mode, version 1.0 or 0.3. Header names are in canonical form. An error names the
// attribute that is wrong; the event is not validated as a whole.
//
// The SDK's own reader does the same, and brings a logger with it that allocates half a megabyte before a process does anything.
// https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md#31-binary-content-mode
func ReadBinary(header http.Header, body []byte) (event.Event, error) {
	e := event.New()
	format := formats.Version(first(header, "Ce-Specversion"))
	if format == nil {
		return e, fmt.Errorf("specversion is %q: want 1.0 or 0.3", first(header, "Ce-Specversion"))
	}
	e.Context = format.NewContext()
	for name, values := range header {
		if len(values) == 0 || name == "Ce-Specversion" {
			continue
		}
		var err error
		if attribute := format.Attribute(name); attribute != nil {
			err = attribute.Set(e.Context, values[0])
		} else if extension, ok := strings.CutPrefix(name, prefix); ok {
			err = e.Context.SetExtension(strings.ToLower(extension), values[0])
		}
		if err != nil {
			return e, fmt.Errorf("%s is %.80q: %w", strings.ToLower(name), values[0], err)
		}
	}
	if len(body) > 0 {
		e.DataEncoded = body
	}
	return e, nil
}
