package serve

import (
	"context"
	"net/http"

	"github.com/cloudevents/sdk-go/v2/event"
)

// BinaryMode is an event as an answer, and whether the SDK is not needed for it.
func BinaryMode(e event.Event) (http.Header, []byte, bool) {
	a, ok := binaryMode(e)
	return a.put(http.Header{}), a.body, ok
}

// Usual reads an event in binary mode, if it is as most are.
func Usual(ctx context.Context, header http.Header, body []byte) (Event, bool) {
	e, ok := usual(header, mediaTypeOf(header), body)
	if ok {
		e.trace(ctx, header)
	}
	return e, ok
}

// BySDK reads an event in binary mode.
func BySDK(ctx context.Context, header http.Header, body []byte) (Event, error) {
	e, err := decodeBinary(ctx, header, body)
	e.trace(ctx, header)
	return e, err
}
