package function

import (
	"context"
	"errors"
	"fmt"
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
	err := s.bucket.WriteAll(ctx, name, body, &blob.WriterOptions{ContentType: "application/cloudevents+json", DisableContentTypeDetection: true})
	if err == nil && s.folder != "" {
		err = s.sync(name)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// sync makes a file survive the machine: that it is there, and what is in it.
func (s *store) sync(name string) error {
	path := filepath.Join(s.folder, filepath.FromSlash(name))
	for _, one := range []string{path, filepath.Dir(path)} {
		f, err := os.Open(one)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
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

// remove removes an object that may be gone already.
func (s *store) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.bucket.Delete(ctx, name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}
