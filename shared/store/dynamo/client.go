package dynamo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

const (
	// maxAttempts and maxBackoff bound what the SDK tries again: throttling and 5xx are over in a moment, or not soon, and
	// then the alert comes again.
	maxAttempts = 3
	maxBackoff  = 100 * time.Millisecond
	// maxAnswer is more than a page of a scan, which is 1 MB at most before it is encoded.
	maxAnswer = 4 << 20
)

func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff })
}

// newClient reads the SDK's settings. Credentials are fetched when the first record needs them.
func newClient(ctx context.Context) (*dynamodb.Client, error) {
	loaded, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithLogger(logging.Nop{}), awsconfig.WithRetryer(newRetryer))
	if err != nil {
		return nil, fmt.Errorf("configure the AWS SDK: %w", err)
	}
	if loaded.Region == "" {
		return nil, errors.New("AWS_REGION is not set: want the region of the DynamoDB table, such as eu-west-1")
	}
	return dynamodb.NewFromConfig(loaded, func(o *dynamodb.Options) {
		if client, ok := loaded.HTTPClient.(*awshttp.BuildableClient); ok {
			transport := client.GetTransport()
			transport.MaxResponseHeaderBytes = outbound.MaxHeader
			o.HTTPClient = direct{transport}
		}
	}), nil
}

// direct takes the place of the SDK's HTTP client, which follows redirects and reads answers of any size.
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

// counted is a context that counts the requests sent with it.
func counted(ctx context.Context) (context.Context, *atomic.Int32) {
	sent := &atomic.Int32{}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Add(1) }}), sent
}

// statusError is an answer that is no success, of DynamoDB or of a provider of credentials.
type statusError interface {
	error
	HTTPStatusCode() int
}

// classify gives DynamoDB's errors their kind. Throttling comes with status 400, so it is the SDK that knows.
// https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
func (s *Store) classify(verb, key string, err error) error {
	e := &response.Error{Kind: response.Transient, Err: fmt.Errorf("%s record %q in DynamoDB table %s: %w", verb, key, s.table, shown(err))}
	var status statusError
	if errors.As(err, &status) && status.HTTPStatusCode()/100 > 2 && !newRetryer().IsErrorRetryable(err) {
		e.Kind = outbound.Kind(status.HTTPStatusCode())
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

// maxMessage bounds what is shown of a message of AWS.
const maxMessage = 512

// shown shortens DynamoDB's error to its code, its message and the request's id. The message about a wrong signature quotes
// the signed headers, the session token among them, so it is left out; so is what a provider of credentials said.
func shown(err error) error {
	var answered *awshttp.ResponseError
	var provider statusError
	var api smithy.APIError
	switch {
	case errors.As(err, &answered) && errors.As(err, &api):
		text := api.ErrorCode()
		switch text {
		case "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignatureException", "IncompleteSignature":
		default:
			text += fmt.Sprintf(": %.*s", maxMessage, api.ErrorMessage())
		}
		return &refusal{fmt.Sprintf("answered %d %s (request %.64s)", answered.HTTPStatusCode(), text, answered.ServiceRequestID()), err}
	case errors.As(err, &answered):
		return err
	case errors.As(err, &provider):
		return &refusal{fmt.Sprintf("get credentials: answered %d", provider.HTTPStatusCode()), err}
	}
	return err
}
