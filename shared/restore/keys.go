package restore

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/response"
)

// Keys sign records and check signatures. The first signs; all are believed. Without any, records are not signed.
type Keys []string

// shortestKey is the least a key may have, in bytes: HMAC-SHA256 is worth as much as its key.
const shortestKey = 16

// ReadKeys reads the keys anew, so that a changed file takes effect.
func ReadKeys(s config.Secret) (Keys, error) {
	if !s.IsSet() {
		return nil, nil
	}
	lines, err := s.Lines()
	if err != nil {
		return nil, response.PermanentError(fmt.Errorf("read RESTORE_KEY: %w", err))
	}
	for _, key := range lines {
		if len(key) < shortestKey {
			return nil, response.PermanentError(fmt.Errorf("RESTORE_KEY has a key of %d bytes: want %d or more", len(key), shortestKey))
		}
	}
	return lines, nil
}

func sum(key string, r Record) (string, error) {
	r.Signature = ""
	text, err := r.encode()
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil)), nil
}

// Seal is the record as an annotation, signed if there is a key.
func (k Keys) Seal(r Record) (string, error) {
	r.Signature = ""
	if len(k) > 0 {
		var err error
		if r.Signature, err = sum(k[0], r); err != nil {
			return "", err
		}
	}
	return r.encode()
}

var (
	errSignature = errors.New("its signature is not ours")
	errUnsigned  = errors.New("it speaks of what Kubernetes reserves and is not signed: want RESTORE_KEY")
)

func (k Keys) verify(r Record) error {
	if len(k) == 0 {
		return nil
	}
	for _, key := range k {
		want, err := sum(key, r)
		if err != nil {
			return err
		}
		if hmac.Equal([]byte(want), []byte(r.Signature)) {
			return nil
		}
	}
	return errSignature
}

// largest bounds a record, in bytes. The API server allows 256 KiB for all annotations of an object.
const largest = 64 << 10

// Open reads the record of that NAME. The error says why it is not believed: it cannot be read, is another object's,
// is not signed as it should be, or speaks of what its response does not change.
func (k Keys) Open(o *Object, name string) (Record, error) {
	raw := o.Annotations[Prefix+name]
	if len(raw) > largest {
		return Record{}, fmt.Errorf("restore record %s has %d bytes: want %d or fewer", name, len(raw), largest)
	}
	d := json.NewDecoder(strings.NewReader(raw))
	d.DisallowUnknownFields()
	var r Record
	if err := d.Decode(&r); err != nil || d.More() {
		return Record{}, fmt.Errorf("restore record %s cannot be read: %w", name, errors.Join(err, errMore(d.More())))
	}
	if err := errors.Join(r.check(o, name, len(k) > 0), k.verify(r)); err != nil {
		return Record{}, fmt.Errorf("restore record %s is not believed: %w", name, err)
	}
	return r, nil
}

func errMore(more bool) error {
	if more {
		return errors.New("more follows the record")
	}
	return nil
}

// Names are the NAMEs of all records on the object, believed or not, in order.
func (o *Object) Names() []string {
	var names []string
	for _, key := range slices.Sorted(maps.Keys(o.Annotations)) {
		if name, ok := strings.CutPrefix(key, Prefix); ok {
			names = append(names, name)
		}
	}
	return names
}

// Records are the object's records that are believed, by NAME, and what is wrong with the others.
func (k Keys) Records(o *Object) (records map[string]Record, bad map[string]error) {
	records, bad = map[string]Record{}, map[string]error{}
	for _, name := range o.Names() {
		if r, err := k.Open(o, name); err != nil {
			bad[name] = err
		} else {
			records[name] = r
		}
	}
	return records, bad
}
