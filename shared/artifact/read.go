package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Read is an object, or ErrNotFound. An object of more bytes than most is an error; a negative number allows any size.
func (s *Store) Read(ctx context.Context, name string, most int64) ([]byte, error) {
	body, err := s.read(ctx, name, most)
	if errors.Is(err, ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return body, nil
}

func (s *Store) read(ctx context.Context, name string, most int64) ([]byte, error) {
	get := s.getObject
	if s.folder != "" {
		get = s.getFile
	}
	r, size, err := get(ctx, name)
	if err != nil {
		return nil, err
	}
	if most >= 0 && size > most {
		return nil, errors.Join(fmt.Errorf("it has %d bytes: want %d at most", size, most), r.Close())
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return body, r.Close()
}

// path is where an object of a folder is.
func (s *Store) path(name string) (string, error) {
	local := filepath.FromSlash(name)
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("name is %q: want a path within the folder", name)
	}
	return filepath.Join(s.folder, local), nil
}

func (s *Store) getFile(_ context.Context, name string) (io.ReadCloser, int64, error) {
	path, err := s.path(name)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = ErrNotFound
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (s *Store) getObject(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	key := s.prefix + name
	got, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.name, Key: &key})
	if isMissing(err) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	if got.ContentLength == nil {
		return nil, 0, errors.Join(errors.New("the answer does not say how long it is"), got.Body.Close())
	}
	return got.Body, *got.ContentLength, nil
}
