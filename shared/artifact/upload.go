package artifact

import (
	"bytes"
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

const (
	// partSize is the least that S3 takes as a part of an upload but for the last.
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
	partSize = 5 << 20
	// abortTimeout is the time to take an upload back, which is done when there is none left too.
	abortTimeout = 5 * time.Second
)

// upload is an object on its way into a bucket, one part after the other: no more than a part of it is in memory. The SDK's
// own transfers hold several, and leave parts behind, which cost money, where the caller has given up.
type upload struct {
	ctx       context.Context // an io.Writer takes none, and this ends with the object
	client    *s3.Client
	bucket    string
	key       string
	mediaType string

	buffer bytes.Buffer
	id     *string // nil while there is no part
	parts  []types.CompletedPart
}

func (s *Store) createObject(ctx context.Context, name, mediaType string) (*Writer, error) {
	u := &upload{ctx: ctx, client: s.client, bucket: s.name, key: s.prefix + name, mediaType: mediaType}
	return &Writer{inner: u, commit: u.commit, abort: u.abort}, nil
}

// Write takes bytes, and sends a part when there is enough for one.
func (u *upload) Write(b []byte) (int, error) {
	done := 0
	for len(b) > 0 {
		n := min(len(b), partSize-u.buffer.Len())
		u.buffer.Write(b[:n])
		done, b = done+n, b[n:]
		if u.buffer.Len() == partSize {
			if err := u.send(); err != nil {
				return done, err
			}
		}
	}
	return done, u.ctx.Err()
}

// send sends what is in the buffer as the next part.
func (u *upload) send() error {
	if u.id == nil {
		begin := &s3.CreateMultipartUploadInput{Bucket: &u.bucket, Key: &u.key, ContentType: &u.mediaType}
		// Parts carry this one by default, which the upload has to announce. AWS_REQUEST_CHECKSUM_CALCULATION=when_required
		// turns it off, for servers that know none.
		if u.client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenSupported {
			begin.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32
		}
		begun, err := u.client.CreateMultipartUpload(u.ctx, begin)
		if err != nil {
			return err
		}
		u.id = begun.UploadId
	}
	number := int32(len(u.parts) + 1) //nolint:gosec // S3 takes ten thousand.
	part, err := u.client.UploadPart(u.ctx, &s3.UploadPartInput{
		Bucket: &u.bucket, Key: &u.key, UploadId: u.id, PartNumber: &number, Body: bytes.NewReader(u.buffer.Bytes()),
	})
	if err != nil {
		return err
	}
	u.parts = append(u.parts, types.CompletedPart{PartNumber: &number, ETag: part.ETag, ChecksumCRC32: part.ChecksumCRC32})
	u.buffer.Reset()
	return nil
}

// commit makes the object.
func (u *upload) commit() error {
	if u.id == nil {
		_, err := u.client.PutObject(u.ctx, &s3.PutObjectInput{
			Bucket: &u.bucket, Key: &u.key, ContentType: &u.mediaType, Body: bytes.NewReader(u.buffer.Bytes()),
		})
		return err
	}
	var err error
	if u.buffer.Len() > 0 {
		err = u.send()
	}
	if err == nil {
		_, err = u.client.CompleteMultipartUpload(u.ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &u.bucket, Key: &u.key, UploadId: u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		})
	}
	if err != nil {
		_ = u.abort() // the error that led here says more
	}
	return err
}

// abort takes back the parts.
func (u *upload) abort() error {
	if u.id == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), abortTimeout)
	defer cancel()
	_, err := u.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.bucket, Key: &u.key, UploadId: u.id})
	return err
}
