package function

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

// store is a folder or a bucket.
type store struct {
	bucket *blob.Bucket
	// folder is that of a file:// address, and synced are the folders in it that the disk is known to have.
	folder string
	synced sync.Map
}

func isStoreURL(text string) bool {
	scheme, _, found := strings.Cut(text, "://")
	return found && scheme != "http" && scheme != "https"
}

// checkStoreURL checks the address of a store; another address is not its business.
func checkStoreURL(name, text string) error {
	if !isStoreURL(text) {
		return nil
	}
	if _, err := parseStore(text); err != nil {
		return fmt.Errorf("%s is %q: %w", name, shown(text), err)
	}
	return nil
}

func parseStore(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
	case u.Scheme == "file" && u.Host == "" && len(u.Path) > 1 && u.RawQuery == "":
		return u, nil
	case u.Scheme == "s3" && u.Host != "" && u.User == nil:
		return u, checkBucket(u.Query())
	}
	return nil, errors.New("want file:///FOLDER or s3://BUCKET/PREFIX?region=REGION")
}

// newStore opens a folder or a bucket. No network is needed before it is used.
func newStore(text string) (*store, error) {
	u, err := parseStore(text)
	if err != nil {
		return nil, err
	}
	s := &store{}
	if u.Scheme == "file" {
		s.folder = filepath.Clean(filepath.FromSlash(u.Path))
		// What is half written stands beside its place, so that it can be renamed, and no second file says what is in the
		// first.
		s.bucket, err = fileblob.OpenBucket(s.folder, &fileblob.Options{
			CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
		})
	} else {
		s.bucket, err = openBucket(u)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", shown(text), err)
	}
	return s, nil
}
