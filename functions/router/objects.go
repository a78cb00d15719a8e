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
)

// errNotFound is no failure: somebody else was faster.
var errNotFound = errors.New("there is no such object")

// storeTimeout bounds one request to an object store.
const storeTimeout = 10 * time.Second

// write makes an object, whole or not at all. It is on the disk when write returns.
func (s *store) write(ctx context.Context, name string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var err error
	if s.folder != "" {
		err = s.replace(ctx, name, body)
	} else {
		err = s.bucket.WriteAll(ctx, name, body, &blob.WriterOptions{ContentType: "application/cloudevents+json", DisableContentTypeDetection: true})
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// replace makes a file that survives the machine. It is on the disk before it takes the place of an older one: the
// bucket's own way puts there what a full disk has cut off, and what the disk has not got yet.
func (s *store) replace(ctx context.Context, name string, body []byte) error {
	path := filepath.Join(s.folder, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // It is gone if all went well.
	_, err = f.Write(body)
	if err := errors.Join(err, f.Sync(), f.Close(), ctx.Err()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return s.syncFolders(filepath.Dir(path))
}

// syncFolders makes the entries of a folder survive the machine, and the first time the folder itself.
func (s *store) syncFolders(folder string) error {
	_, known := s.synced.Load(folder)
	for at := folder; ; at = filepath.Dir(at) {
		f, err := os.Open(at)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		if known || len(at) <= len(s.folder) {
			s.synced.Store(folder, true)
			return nil
		}
	}
}

// read is an object, or errNotFound.
func (s *store) read(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	body, err := s.bucket.ReadAll(ctx, name)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, errNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return body, nil
}

// object is one of a list, and when it was written.
type object struct {
	name     string
	modified time.Time
}

// list goes through the objects in one folder. One that comes or goes meanwhile is seen or not: the bucket's own way
// ends at a file that is gone, which in a folder that is written to all the time is soon.
func (s *store) list(ctx context.Context, folder string, each func(object)) error {
	if s.folder == "" {
		return s.listBucket(ctx, folder, each)
	}
	files, err := os.ReadDir(filepath.Join(s.folder, folder))
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
	list := s.bucket.List(&blob.ListOptions{Prefix: folder + "/"})
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
	if err := s.bucket.Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
