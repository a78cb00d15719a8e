package function

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"
)

// The parameters of an s3:// address, named as the Go Cloud Development Kit names them.
const (
	paramRegion    = "region"
	paramEndpoint  = "endpoint"
	paramPathStyle = "use_path_style"
)

// checkBucket checks the parameters of an s3:// address.
func checkBucket(query url.Values) error {
	known := []string{paramRegion, paramEndpoint, paramPathStyle}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("parameter %q is unknown: want %s", name, strings.Join(known, ", "))
		}
	}
	if endpoint := query.Get(paramEndpoint); endpoint != "" {
		if _, err := webAddress(endpoint); err != nil {
			return fmt.Errorf("endpoint is %q: %w", endpoint, err)
		}
	}
	if style := query.Get(paramPathStyle); style != "" && style != "true" && style != "false" {
		return fmt.Errorf("use_path_style is %q: want true or false", style)
	}
	return nil
}

// openBucket makes a client of S3, or of what speaks its API. Only settings are read; credentials are fetched when they
// are needed. The SDK's own log is turned off: it warns of every object of a server that has no checksums.
func openBucket(u *url.URL) (*blob.Bucket, error) {
	ctx := context.Background() //nolint:forbidigo // The settings outlive every request.
	loaded, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fmt.Errorf("configure the AWS SDK: %w", err)
	}
	query := u.Query()
	if region := query.Get(paramRegion); region != "" {
		loaded.Region = region
	}
	if loaded.Region == "" {
		return nil, errors.New("want the bucket's region, as ?region=REGION or in AWS_REGION")
	}
	client := s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.UsePathStyle = query.Get(paramPathStyle) == "true"
		if endpoint := query.Get(paramEndpoint); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	})
	bucket, err := s3blob.OpenBucket(ctx, client, u.Host, nil)
	if err != nil {
		return nil, err
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix+"/")
	}
	return bucket, nil
}
