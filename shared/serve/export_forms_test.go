package serve

import (
	"context"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
)

// BinaryMode is an event as an answer.
func BinaryMode(e event.Event) (http.Header, []byte, error) {
	a, err := binaryMode(e)
	return a.put(http.Header{}), a.body, err
}

// Usual reads an event in binary mode, if it is as most are.
func Usual(ctx context.Context, header http.Header, body []byte) (Event, bool) {
	e, ok := usual(header, mediaTypeOf(header), body)
	if ok {
		e.trace(ctx, header)
	}
	return e, ok
}

// DecodeBinary reads an event in binary mode, whichever it is.
func DecodeBinary(ctx context.Context, header http.Header, body []byte) (Event, error) {
	e, err := decodeBinary(header, body)
	e.trace(ctx, header)
	return e, err
}
