package deadletter

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// The attributes that say why an event is a dead letter, as Knative names them.
const (
	// ErrorDest is the address that did not take the event.
	ErrorDest = "knativeerrordest"
	// ErrorCode is the status it answered.
	ErrorCode = "knativeerrorcode"
	// ErrorData is the beginning of what it answered, in base64.
	ErrorData = "knativeerrordata"
)

// TypeDiscarded is the type of a dead letter that never was an event. Its data is what came.
const TypeDiscarded = "dev.riposte.discarded.v1"

// maxErrorData is where Knative ends ErrorData.
const maxErrorData = 1024

// ErrorText is the answer of a function as Knative writes it into ErrorData: base64, cut where that ends.
func ErrorText(body []byte) string {
	text := base64.StdEncoding.EncodeToString(body[:min(len(body), maxErrorData)])
	return text[:min(len(text), maxErrorData)]
}

// Discarded is a dead letter of what cannot be read as an event. source is the function that could not, why is its reason.
// The id is that of the bytes: a repeat has the same.
func Discarded(source string, raw []byte, why error, at time.Time) event.Event {
	sum := sha256.Sum256(raw)
	dead := event.New()
	dead.SetType(TypeDiscarded)
	dead.SetSource(source)
	dead.SetID(hex.EncodeToString(sum[:16]))
	dead.SetTime(at)
	dead.SetExtension(ErrorCode, http.StatusBadRequest)
	dead.SetExtension(ErrorData, ErrorText([]byte(why.Error())))
	dead.SetDataContentType("application/octet-stream")
	dead.DataEncoded = raw
	return dead
}
