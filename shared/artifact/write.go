package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Writer writes an object of any size. Exactly one of Close and Abort ends it.
type Writer struct {
	name   string
	inner  io.Writer
	commit func() error
	abort  func() error
}

// Write takes bytes of the object.
func (w *Writer) Write(b []byte) (int, error) {
	n, err := w.inner.Write(b)
	if err != nil {
		err = fmt.Errorf("write %s: %w", w.name, err)
	}
	return n, err
}

// Close makes the object, which takes the place of an older one.
func (w *Writer) Close() error {
	if err := w.commit(); err != nil {
		return fmt.Errorf("write %s: %w", w.name, err)
	}
	return nil
}

// Abort leaves nothing of what was written.
func (w *Writer) Abort() error {
	if err := w.abort(); err != nil {
		return fmt.Errorf("abandon %s: %w", w.name, err)
	}
	return nil
}

// Create begins an object. What has taken longer than ctx allows is not made.
func (s *Store) Create(ctx context.Context, name, mediaType string) (*Writer, error) {
	create := s.createObject
	if s.folder != "" {
		create = s.createFile
	}
	w, err := create(ctx, name, mediaType)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	w.name = name
	return w, nil
}

// createFile begins a file that survives the machine. It is on the disk before it takes the place of an older one: the
// bucket's own way puts there what a full disk has cut off, and what the disk has not got yet.
func (s *Store) createFile(ctx context.Context, name, _ string) (*Writer, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, err
	}
	commit := func() error {
		defer os.Remove(f.Name()) //nolint:errcheck // It is gone if all went well.
		if err := errors.Join(f.Sync(), f.Close(), ctx.Err()); err != nil {
			return err
		}
		if err := os.Rename(f.Name(), path); err != nil {
			return err
		}
		return s.syncFolders(filepath.Dir(path))
	}
	return &Writer{inner: f, commit: commit, abort: func() error { return errors.Join(f.Close(), os.Remove(f.Name())) }}, nil
}

// syncFolders makes the entries of a folder survive the machine, and the first time the folder itself.
func (s *Store) syncFolders(folder string) error {
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
