// Package deadletter keeps events that nobody took: one object for each in a folder or bucket (package artifact),
//
//	dead/2026/01/31/235959.123456789-delete-pod-ID-DIGEST.json
//
// named by when, which function failed, and which event it was. The object is the event as a CloudEvent in JSON, its data
// byte for byte, with the attributes that Knative gives a dead letter: knativeerrordest, knativeerrorcode and
// knativeerrordata. https://knative.dev/docs/eventing/event-delivery/
//
// The digest is over what the event is and where it failed: the next attempt to keep a dead letter takes the place of the
// one before, while another event cannot, whatever id and time it claims.
package deadletter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/artifact"
)

// timeout bounds one request to an object store.
const timeout = 10 * time.Second

// mediaType is that of a dead letter.
const mediaType = event.ApplicationCloudEventsJSON

// Check says whether text can be the address of a store; name is the setting it is from.
func Check(name, text string) error {
	if err := artifact.Check(text); err != nil {
		return fmt.Errorf("%s is %q: %w", name, artifact.Shown(text), err)
	}
	return nil
}

// Store is a folder or bucket of dead letters. It is safe for concurrent use.
type Store struct{ artifacts *artifact.Store }

// In is the store of dead letters in a folder or bucket.
func In(artifacts *artifact.Store) *Store { return &Store{artifacts} }

// Keep writes a dead letter, whole or not at all, and gives back its name. In a folder it is on the disk when Keep returns.
// function is who did not take it, and at is when, the same in every attempt to keep it.
func (s *Store) Keep(ctx context.Context, dead event.Event, function string, at time.Time) (string, error) {
	name := Name(dead, function, at)
	body, err := Encode(dead)
	if err != nil {
		return name, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return name, s.artifacts.Write(ctx, name, mediaType, body)
}

// Name is the name of a dead letter in its store.
func Name(dead event.Event, function string, at time.Time) string {
	return strings.Join([]string{at.UTC().Format("dead/2006/01/02/150405.000000000"), Plain(function), Plain(dead.ID()), digest(dead)}, "-") + ".json"
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// most is how long a part of a name may be.
const most = 64

// Plain is a text of strangers as it may stand in the name of a file, and in a log: short, of letters, digits, and . _ -.
func Plain(text string) string {
	text = text[:min(len(text), 4*most)]
	text = strings.Trim(notInNames.ReplaceAllString(text, "-"), ".-")
	return text[:min(len(text), most)]
}

// digest is over what the event is and where it failed.
func digest(dead event.Event) string {
	where, _ := dead.Extensions()[ErrorDest].(string)
	data := sha256.Sum256(dead.Data())
	sum := sha256.Sum256([]byte(strings.Join([]string{dead.Source(), dead.ID(), dead.Type(), where, string(data[:])}, "\x00")))
	return hex.EncodeToString(sum[:8])
}
