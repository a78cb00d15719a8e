// Package auth says whether a caller may send events: by a bearer token, or by a signature over the request.
//
// Both are compared in constant time, read at each use from a mounted file where NAME_FILE is set, and may have several
// valid values, one on a line, so that a secret is rotated without losing a request: add the new one below the old,
// change the callers, remove the old.
//
// Signatures are those of Standard Webhooks, which cover the body, an id and the time of sending, so that a request that
// was overheard is worth nothing five minutes later.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/shared/config"
)

var (
	// ErrUnauthenticated is a caller that shows no valid token and no valid signature: 401.
	ErrUnauthenticated = errors.New("caller is not authenticated")
	// ErrUnreadable is a secret of ours that cannot be read: nobody can be authenticated until an operator acts.
	ErrUnreadable = errors.New("secret for authentication is not usable")
)

// Tolerance is how far the time in a signature may be from ours.
const Tolerance = 5 * time.Minute

// The headers of a signature.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp"
	HeaderSignature = "Webhook-Signature"
)

// minKey is the least length of a key, in bytes, that Standard Webhooks allows.
const minKey = 24

// Secrets are the settings of authentication: what a caller must show.
type Secrets struct {
	Token config.Secret `env:"AUTH_TOKEN" help:"Bearer token every HTTP caller must send; several, one on a line, are all valid. Responses with neither this nor AUTH_HMAC_KEY take any caller that the network lets through."`
	Key   config.Secret `env:"AUTH_HMAC_KEY" help:"Key of Standard Webhooks signatures (whsec_ and base64), instead of a token or beside it; several, one on a line, are all valid."`
}

// Validate checks what can be checked before the first request: that there are tokens, and that every key is one.
func (s Secrets) Validate() error {
	var tokens, keys error
	if s.Token.IsSet() {
		_, tokens = s.Token.Lines()
	}
	if s.Key.IsSet() {
		_, keys = s.keys()
	}
	return errors.Join(tokens, keys)
}

// Enabled says whether a caller has to show anything.
func (s Secrets) Enabled() bool { return s.Token.IsSet() || s.Key.IsSet() }

// Check returns nil for a caller that may send, ErrUnauthenticated for one that may not, and ErrUnreadable where that
// cannot be known.
func (s Secrets) Check(header http.Header, body []byte, now time.Time) error {
	if !s.Enabled() {
		return nil
	}
	if s.Token.IsSet() {
		tokens, err := s.Token.Lines()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		if bearer(header, tokens) {
			return nil
		}
	}
	if s.Key.IsSet() {
		keys, err := s.keys()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		if signed(header, body, keys, now) {
			return nil
		}
	}
	return ErrUnauthenticated
}

// bearer compares digests: they are of one length, whatever the tokens are.
func bearer(header http.Header, tokens []string) bool {
	scheme, token, found := strings.Cut(header.Get("Authorization"), " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	same := 0
	for _, t := range tokens {
		want := sha256.Sum256([]byte(t))
		same |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return same == 1
}

// signed checks "v1,BASE64" signatures, of which a header may hold several with blanks between them. An id with a dot is
// refused: the dots between id, time and body are all that keeps these apart in what is signed.
func signed(header http.Header, body []byte, keys [][]byte, now time.Time) bool {
	id, stamp := header.Get(HeaderID), header.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" || strings.Contains(id, ".") || now.Sub(time.Unix(seconds, 0)).Abs() > Tolerance {
		return false
	}
	var shown [][]byte
	for one := range strings.FieldsSeq(header.Get(HeaderSignature)) {
		encoded, found := strings.CutPrefix(one, "v1,")
		if got, err := base64.StdEncoding.DecodeString(encoded); found && err == nil && len(got) == sha256.Size {
			shown = append(shown, got)
		}
	}
	if len(shown) == 0 {
		return false
	}
	for _, key := range keys { // One digest for each, however many signatures a stranger shows.
		want := digest(key, id, stamp, body)
		for _, got := range shown {
			if hmac.Equal(got, want) {
				return true
			}
		}
	}
	return false
}

// Sign is the value of the Webhook-Signature header by a key.
func Sign(key []byte, id string, at time.Time, body []byte) string {
	return "v1," + base64.StdEncoding.EncodeToString(digest(key, id, strconv.FormatInt(at.Unix(), 10), body))
}

func digest(key []byte, id, stamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%s.", id, stamp) // A hash takes everything.
	_, _ = mac.Write(body)
	return mac.Sum(nil)
}

func (s Secrets) keys() ([][]byte, error) {
	texts, err := s.Key.Lines()
	if err != nil {
		return nil, err
	}
	keys := make([][]byte, len(texts))
	for i, text := range texts {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
		if err != nil || len(key) < minKey {
			return nil, fmt.Errorf("AUTH_HMAC_KEY, line %d, is no key: want whsec_ and the base64 of %d bytes or more", i+1, minKey)
		}
		keys[i] = key
	}
	return keys, nil
}
