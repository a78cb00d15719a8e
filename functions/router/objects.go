package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

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

// list goes through the objects in one folder. One that comes or goes meanwhile is seen or not: the bucket's own way
// ends at a file that is gone, which in a folder that is written to all the time is soon.
func (s *store) list(ctx context.Context, folder string, each func(object)) error {
	if s.Folder() == "" {
		return s.listBucket(ctx, folder, each)
	}
	files, err := os.ReadDir(filepath.Join(s.Folder(), folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list %s: %w", folder, err)
	}
	for _, file := range files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if info, err := file.Info(); err == nil && info.Mode().IsRegular() {
			each(object{folder + "/" + file.Name(), info.ModTime()})
		}
	}
	return nil
}

func (s *store) listBucket(ctx context.Context, folder string, each func(object)) error {
	list := s.Bucket().List(&blob.ListOptions{Prefix: folder + "/"})
	for {
		one, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", folder, err)
		}
		each(object{one.Key, one.ModTime})
	}
}

// remove removes an object that may be gone already.
func (s *store) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.Bucket().Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
