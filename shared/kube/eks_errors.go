package kube

import (
	"errors"
	"fmt"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

// failed gives an error of AWS its kind, by the status of the answer. What EKS says of who may not do something names the
// role.
// https://docs.aws.amazon.com/eks/latest/APIReference/CommonErrors.html
func (c *eksCluster) failed(doing string, err error) error {
	e := &response.Error{Kind: response.Transient, Err: fmt.Errorf("%s EKS cluster %s in %s: %w", doing, c.name, c.region, shown(err))}
	var status interface {
		error
		HTTPStatusCode() int
	}
	if errors.As(err, &status) && status.HTTPStatusCode()/100 > 2 && !c.retryable(err) && !isExpired(err) {
		e.Kind = outbound.Kind(status.HTTPStatusCode())
	}
	return e
}

// isExpired says that the credentials are about to be renewed.
func isExpired(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && (api.ErrorCode() == "ExpiredToken" || api.ErrorCode() == "ExpiredTokenException")
}

// awsError is an error of AWS as far as it can be shown.
type awsError struct {
	text  string
	cause error
}

// Error is the text alone.
func (e *awsError) Error() string { return e.text }

// Unwrap is the cause.
func (e *awsError) Unwrap() error { return e.cause }

// shown shortens an error of AWS to its code, its message and the request's id. The message about a wrong signature quotes
// the signed headers, the session token among them, so it is left out.
func shown(err error) error {
	var answered *awshttp.ResponseError
	var api smithy.APIError
	if !errors.As(err, &answered) || !errors.As(err, &api) {
		return err
	}
	text := fmt.Sprintf("%.128s", api.ErrorCode())
	switch api.ErrorCode() {
	case "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignatureException", "IncompleteSignature":
	default:
		text += fmt.Sprintf(": %.512s", api.ErrorMessage())
	}
	return &awsError{fmt.Sprintf("answered %d %s (request %.64s)", answered.HTTPStatusCode(), text, answered.ServiceRequestID()), err}
}
