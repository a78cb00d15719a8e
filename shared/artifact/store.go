// Package artifact keeps what functions put away: evidence, and the router's journal and dead letters. A store is a
// folder (file:///FOLDER) or a bucket of S3 or of what speaks its API, such as MinIO or Google's XML API with HMAC keys:
//
//	s3://BUCKET/PREFIX?region=REGION&endpoint=URL&use_path_style=true
//
// The region may also be in AWS_REGION. Credentials come from where the AWS SDK looks for them. An object is there whole
// or not at all, and where a folder is the store, on the disk, when Close or Write returns.
package artifact

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// ErrNotFound says that there is no such object.
var ErrNotFound = errors.New("there is no such object")

// Store is a folder or a bucket. It is safe for concurrent use.
type Store struct {
	// folder is that of a file:// address, and synced are the folders in it that the disk is known to have.
	folder string
	synced sync.Map
	// client, name and prefix are those of an s3:// address.
	client       *s3.Client
	name, prefix string
	address      url.URL
}

// Open opens the store of an address. No network is needed before it is used; a folder is made.
func Open(text string) (*Store, error) {
	u, err := parse(text)
	if err != nil {
		return nil, err
	}
	s := &Store{address: url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}}
	if u.Scheme == "file" {
		s.folder = filepath.Clean(filepath.FromSlash(u.Path))
		err = os.MkdirAll(s.folder, 0o700)
	} else {
		err = s.openBucket(u)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.URL(""), err)
	}
	return s, nil
}

// openBucket makes a client of S3, or of what speaks its API. Only settings are read; credentials are fetched when they
// are needed. The SDK's own log is turned off: it warns of every object of a server that has no checksums.
func (s *Store) openBucket(u *url.URL) error {
	ctx := context.Background() //nolint:forbidigo // The settings outlive every request.
	loaded, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		return fmt.Errorf("configure the AWS SDK: %w", err)
	}
	query := u.Query()
	if region := query.Get(paramRegion); region != "" {
		loaded.Region = region
	}
	if loaded.Region == "" {
		return errors.New("want the bucket's region, as ?region=REGION or in AWS_REGION")
	}
	s.client = s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.UsePathStyle = query.Get(paramPathStyle) == "true"
		if endpoint := query.Get(paramEndpoint); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	})
	s.name = u.Host
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		s.prefix = prefix + "/"
	}
	return nil
}

// Folder is the folder of a file:// address; empty for a bucket.
func (s *Store) Folder() string { return s.folder }

// URL is the address of an object for people to read: without parameters.
func (s *Store) URL(name string) string {
	u := s.address
	return strings.TrimSuffix(u.String(), "/") + "/" + name
}

// Write makes an object of a body.
func (s *Store) Write(ctx context.Context, name, mediaType string, body []byte) error {
	w, err := s.Create(ctx, name, mediaType)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Close()
}
