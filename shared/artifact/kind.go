package artifact

import (
	"errors"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/riposte-dev/riposte/shared/response"
)

// Classify gives an error of a store its kind (response.KindOf). What the store refuses, because there is no such bucket or
// the credentials do not allow it, is for an operator to put right; what it cannot do now, or nobody answered, may work later.
func Classify(err error) error {
	switch {
	case err == nil, response.KindOf(err) != response.Unknown:
		return err
	case isRefused(err) || isForbidden(err):
		return response.PermanentError(err)
	}
	return response.TransientError(err, 0)
}

// isRefused goes by the status of S3's answer.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func isRefused(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "RequestTimeout", "ExpiredToken": // 400 both, and both pass: a slow connection, credentials about to be renewed.
			return false
		}
	}
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	switch status := answer.HTTPStatusCode(); status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests:
		return false
	default:
		return status >= http.StatusMultipleChoices && status < http.StatusInternalServerError
	}
}

// isForbidden goes by what the system says of a folder.
func isForbidden(err error) bool {
	for _, cause := range []error{fs.ErrPermission, syscall.EROFS, syscall.ENOTDIR, syscall.EISDIR, syscall.ENAMETOOLONG} {
		if errors.Is(err, cause) {
			return true
		}
	}
	return false
}

// isMissing says that S3 has no such object.
func isMissing(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && (api.ErrorCode() == "NoSuchKey" || api.ErrorCode() == "NotFound")
}

func isNoBucket(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "NoSuchBucket"
}

// IsDenied says that the credentials do not allow it. S3 also says so of an object that is not there to those who may not
// list the bucket.
func IsDenied(err error) bool {
	var answer *smithyhttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusForbidden
}
