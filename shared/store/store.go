// Package store keeps the few short-lived records that the replicas of a function share: claims (package claim) and
// budgets (package budget). There is no database of ours behind it: Leases on Kubernetes (kube.NewLeases), a DynamoDB
// table on AWS Lambda (package dynamo), memory for one process (Memory).
//
// A record is some bytes under a key, with a time after which it counts as absent. The one guarantee all else rests on:
// of several callers that create the same key, or replace the same version of it, one succeeds. Whoever gets an error that
// is none of those below does not know whether the write took place, and reads the record to find out.
//
// Whether a record has expired is said by the clock of whoever asks. Package storetest has what every store must do.
package store

import (
	"context"
	"errors"
	"time"
)

// Entry is a record as it was read or written.
type Entry struct {
	Value []byte
	// Expires is when the record counts as absent, and may be swept.
	Expires time.Time
	// Version changes with every write; it is opaque.
	Version string
}

// MaxValue bounds a value, in bytes: DynamoDB takes items of 400 KB, Kubernetes annotations of 256 KiB.
const MaxValue = 200 << 10

// Errors of a Store. Any other error says that the store could not be asked, and has a kind (response.KindOf).
var (
	// ErrExists: there is a record with this key that has not expired.
	ErrExists = errors.New("record exists")
	// ErrNotFound: there is no record with this key, or it has expired.
	ErrNotFound = errors.New("record not found")
	// ErrChanged: somebody else has written or removed the record since it was read.
	ErrChanged = errors.New("record has changed")
)

// Store keeps records. It is safe for concurrent use by any number of processes. A key is at most 200 bytes of
// printable text; a store may keep a hash of it instead.
type Store interface {
	// Get reads a record: ErrNotFound.
	Get(ctx context.Context, key string) (Entry, error)
	// Create stores a record where none is, or an expired one: ErrExists.
	Create(ctx context.Context, key string, value []byte, expires time.Time) (Entry, error)
	// Replace stores a record in place of the version that old is: ErrChanged. A record that has expired can still be
	// replaced by whoever knows its version, until it is swept or created anew.
	Replace(ctx context.Context, key string, old Entry, value []byte, expires time.Time) (Entry, error)
	// Delete removes a record if it still is the version that old is: ErrChanged. One that is gone is no error.
	Delete(ctx context.Context, key string, old Entry) error
	// Sweep removes expired records, whoever made them, and says how many. It is best effort: an expired record does no harm.
	Sweep(ctx context.Context) (int, error)
}
