package function

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

// newClient makes a client for a region, or for the one the SDK finds where that is empty. Only settings are read;
// credentials are fetched when the first alert needs them.
func newClient(region string) (*lambda.Client, error) {
	ctx := context.Background() //nolint:forbidigo // The settings outlive every request.
	loaded, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}),
		awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
	if err != nil {
		return nil, fmt.Errorf("configure the AWS SDK: %w", err)
	}
	if region != "" {
		loaded.Region = region
	}
	if loaded.Region == "" {
		return nil, errors.New("AWS_REGION is not set: want the region of the Lambda function, such as eu-west-1")
	}
	return lambda.NewFromConfig(loaded, func(o *lambda.Options) {
		if client, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
			transport := client.GetTransport()
			transport.MaxResponseHeaderBytes = outbound.MaxHeader
			o.HTTPClient = direct{transport}
		}
	}), nil
}

// maxAnswer is a little more than the 6 MB that a function may answer.
// https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
const maxAnswer = 7 << 20

// direct takes the place of the SDK's HTTP client, which follows redirects, and would carry the alert with them to a place
// nobody configured, and which reads answers of any size.
type direct struct{ transport http.RoundTripper }

// Do implements aws.HTTPClient.
func (d direct) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		// smithy-go closes the body as soon as the answer begins. Its WriteTo fails from then on, where its Read says that
		// there is no more, and net/http, which may not have seen the end yet, would break off the answer.
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return outbound.Once(d.transport, r, maxAnswer)
}

// statusError is an answer that is no success, of Lambda or of a provider of credentials.
type statusError interface {
	error
	HTTPStatusCode() int
}

// classify gives AWS's errors their kind, by the status of the answer.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
func classify(name string, err error) error {
	e := &response.Error{Kind: response.Transient, Err: fmt.Errorf("invoke Lambda function %s: %w", name, shown(err))}
	var status statusError
	if !errors.As(err, &status) {
		return e
	}
	switch code := status.HTTPStatusCode(); {
	case code == 0, code/100 == 2: // There was no answer, or it could not be read.
	case code == http.StatusConflict: // The function is being updated, or started from a snapshot.
	default:
		e.Kind = outbound.Kind(code)
	}
	var answered *awshttp.ResponseError
	if e.Kind == response.Transient && errors.As(err, &answered) && answered.Response != nil {
		e.RetryAfter = outbound.RetryAfter(answered.Response.Header, time.Now())
	}
	return e
}

// refusal is an error of AWS as far as it can be shown.
type refusal struct {
	text  string
	cause error
}

// Error is the text alone.
func (r *refusal) Error() string { return r.text }

// Unwrap is the cause.
func (r *refusal) Unwrap() error { return r.cause }

// shown shortens Lambda's error to its code, its message and the request's id. The message about a wrong signature quotes
// the signed headers, the session token among them, so it is left out; so is what a provider of credentials said.
func shown(err error) error {
	var answered *awshttp.ResponseError
	var provider statusError
	var api smithy.APIError
	switch {
	case errors.As(err, &answered) && errors.As(err, &api):
		text := head([]byte(api.ErrorCode()), 128)
		switch api.ErrorCode() {
		case "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignatureException", "IncompleteSignature":
		default:
			text += ": " + head([]byte(api.ErrorMessage()), 512)
		}
		return &refusal{fmt.Sprintf("answered %d %s (request %s)", answered.HTTPStatusCode(), text, head([]byte(answered.ServiceRequestID()), 64)), err}
	case errors.As(err, &answered):
		return err
	case errors.As(err, &provider):
		return &refusal{fmt.Sprintf("get credentials: answered %d", provider.HTTPStatusCode()), err}
	}
	return err
}
