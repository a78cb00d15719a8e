package function

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/deadletter"
	"github.com/riposte-dev/riposte/shared/serve"
)

// source is that of what was discarded.
const source = "/functions/dead-letter"

// maxBatch bounds how many events of a batch are kept one by one. No function takes more.
const maxBatch = 100

// read is what a request holds: an event, those of a batch, or else the body as it came.
func read(q serve.Request, now time.Time) []letter {
	mediaType, _, err := mime.ParseMediaType(q.Header.Get("Content-Type"))
	if err != nil {
		mediaType = ""
	}
	if mediaType == event.ApplicationCloudEventsBatchJSON {
		return readBatch(q, now)
	}
	decode := func() (event.Event, error) { return decodeStructured(q.Body) }
	switch {
	case mediaType == event.ApplicationCloudEventsJSON:
	case q.Header.Get("Ce-Specversion") != "":
		decode = func() (event.Event, error) { return decodeBinary(q.Header, q.Body) }
	case !bytes.Contains(q.Body, []byte(`"specversion"`)):
		return []letter{discard(q, q.Body, errors.New("it is no CloudEvent"), now)}
	}
	dead, err := decode()
	if err != nil {
		return []letter{discard(q, q.Body, err, now)}
	}
	return []letter{newLetter(dead, now)}
}

// readBatch discards of a batch what is no event.
func readBatch(q serve.Request, now time.Time) []letter {
	var list []json.RawMessage
	if err := json.Unmarshal(q.Body, &list); err != nil {
		return []letter{discard(q, q.Body, fmt.Errorf("it is no batch of CloudEvents: %w", err), now)}
	}
	if len(list) == 0 || len(list) > maxBatch {
		return []letter{discard(q, q.Body, fmt.Errorf("it is a batch of %d events: want 1 to %d", len(list), maxBatch), now)}
	}
	letters := make([]letter, len(list))
	for i, raw := range list {
		if dead, err := decodeStructured(raw); err != nil {
			letters[i] = discard(q, raw, err, now)
		} else {
			letters[i] = newLetter(dead, now)
		}
	}
	return letters
}

// discard is a dead letter of what is no event.
func discard(q serve.Request, raw []byte, why error, now time.Time) letter {
	dead := deadletter.Discarded(source, raw, why, now)
	if where := q.Header.Get("Ce-" + deadletter.ErrorDest); where != "" {
		dead.SetExtension(deadletter.ErrorDest, where)
	}
	l := newLetter(dead, now)
	l.at = dayOf(now) // A repeat has no other time, and shall have the same name.
	return l
}

func decodeStructured(body []byte) (dead event.Event, err error) {
	defer survive(&err)
	if err := json.Unmarshal(body, &dead); err != nil {
		return event.Event{}, fmt.Errorf("it is no CloudEvent in JSON: %w", err)
	}
	return valid(dead)
}

// valid brings an event to version 1.0, in which its data can be written as it came.
func valid(dead event.Event) (event.Event, error) {
	dead.Context = dead.Context.AsV1()
	return dead, dead.Validate()
}

var attributeHeader = regexp.MustCompile(`^Ce-[A-Za-z0-9]+$`)

// decodeBinary leaves out attributes with names that the whole event would be refused for.
func decodeBinary(header http.Header, body []byte) (_ event.Event, err error) {
	defer survive(&err)
	counts := http.Header{}
	for name, values := range header {
		if attributeHeader.MatchString(name) || name == "Content-Type" {
			counts[name] = values
		}
	}
	dead, err := serve.ReadBinary(counts, body)
	if err != nil {
		return event.Event{}, fmt.Errorf("it is no CloudEvent in binary mode: %w", err)
	}
	return valid(dead)
}

// survive turns a panic of the SDK over malformed input into an error.
func survive(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("it is not readable: %s", strings.ToValidUTF8(fmt.Sprint(p), "?"))
	}
}
