package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Object is one of a list.
type Object struct {
	Name     string
	Modified time.Time
}

// List goes through the objects in one folder. One that comes or goes meanwhile is seen or not, and is no error: in a
// store that is written to all the time there is always one.
func (s *Store) List(ctx context.Context, folder string, each func(Object)) error {
	list := s.listObjects
	if s.folder != "" {
		list = s.listFiles
	}
	if err := list(ctx, folder, each); err != nil {
		return fmt.Errorf("list %s: %w", folder, err)
	}
	return nil
}

func (s *Store) listFiles(ctx context.Context, folder string, each func(Object)) error {
	path, err := s.path(folder)
	if err != nil {
		return err
	}
	files, err := os.ReadDir(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, file := range files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if info, err := file.Info(); err == nil && info.Mode().IsRegular() {
			each(Object{folder + "/" + file.Name(), info.ModTime()})
		}
	}
	return nil
}

func (s *Store) listObjects(ctx context.Context, folder string, each func(Object)) error {
	prefix := s.prefix + folder + "/"
	pages := s3.NewListObjectsV2Paginator(s.client, &s3.ListObjectsV2Input{Bucket: &s.name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, one := range page.Contents {
			each(Object{strings.TrimPrefix(aws.ToString(one.Key), s.prefix), aws.ToTime(one.LastModified)})
		}
	}
	return nil
}

// Remove removes an object that may be gone already, and its bucket with it.
func (s *Store) Remove(ctx context.Context, name string) error {
	remove := s.removeObject
	if s.folder != "" {
		remove = s.removeFile
	}
	if err := remove(ctx, name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func (s *Store) removeFile(_ context.Context, name string) error {
	path, err := s.path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *Store) removeObject(ctx context.Context, name string) error {
	key := s.prefix + name
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.name, Key: &key})
	if isMissing(err) || isNoBucket(err) {
		return nil
	}
	return err
}
