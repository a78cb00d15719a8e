package function

import (
	"context"
	"time"

	"github.com/riposte-dev/riposte/shared/artifact"
)

// errNotFound is no failure: somebody else was faster.
var errNotFound = artifact.ErrNotFound

// storeTimeout bounds one request to an object store.
const storeTimeout = 10 * time.Second

// write makes an object, whole or not at all. It is on the disk when write returns.
func (s *store) write(ctx context.Context, name string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.Write(ctx, name, "application/cloudevents+json", body)
}

// read is an object, or errNotFound.
func (s *store) read(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.Read(ctx, name, -1)
}

// object is one of a list, and when it was written.
type object struct {
	name     string
	modified time.Time
}

// list goes through the objects in one folder.
func (s *store) list(ctx context.Context, folder string, each func(object)) error {
	return s.List(ctx, folder, func(o artifact.Object) { each(object{o.Name, o.Modified}) })
}

// remove removes an object that may be gone already.
func (s *store) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.Remove(ctx, name)
}
