package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Probe says whether objects can be written, and leaves none: it begins an upload, which needs the same permission, and
// takes it back.
func (s *Store) Probe(ctx context.Context, name string) error {
	err := s.probeFolder()
	if s.folder == "" {
		err = s.probeBucket(ctx, s.prefix+name)
	}
	if err != nil {
		return fmt.Errorf("probe %s: %w", s.URL(name), err)
	}
	return nil
}

func (s *Store) probeFolder() error {
	if s.folder == "" {
		return nil
	}
	f, err := os.CreateTemp(s.folder, "probe.*.tmp")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (s *Store) probeBucket(ctx context.Context, key string) error {
	begun, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &s.name, Key: &key})
	if err != nil {
		return err
	}
	_, err = s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.name, Key: &key, UploadId: begun.UploadId})
	return err
}
