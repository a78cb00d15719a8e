// Package function is lambda: it invokes an AWS Lambda function with the alert, in the JSON
// that Falcosidekick would send, and reports what the function answered.
//
// It invokes once and never again by itself: Lambda functions need not be safe to repeat. An
// error that the invoked function reports is an outcome, failed, not a reason to try again.
// Region and credentials come from where the AWS SDK looks for them.
package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
)

// Config are the settings of lambda.
type Config struct {
	Function  string `env:"LAMBDA_FUNCTION" required:"true" help:"Name or ARN of the function to invoke."`
	Qualifier string `env:"LAMBDA_QUALIFIER" help:"Version or alias to invoke."`
	Type      string `env:"INVOCATION_TYPE" envDefault:"RequestResponse" oneof:"RequestResponse,Event,DryRun" help:"Wait for the answer, queue the event, or only check that the call is allowed."`
	// The AWS SDK reads these itself.
	_ string `env:"AWS_REGION" help:"Region of the function; read by the AWS SDK, as are its other variables."`
}

type responder struct {
	config Config
	client func(ctx context.Context) (*lambda.Client, error)
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	if common.DryRun {
		c.Type = string(types.InvocationTypeDryRun)
	}
	r := &responder{config: c}
	// Credentials may be fetched over the network: at the first alert, not before the function is ready.
	var mu sync.Mutex
	var client *lambda.Client
	r.client = func(ctx context.Context) (*lambda.Client, error) {
		mu.Lock()
		defer mu.Unlock()
		if client != nil {
			return client, nil
		}
		loaded, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }))
		if err != nil {
			return nil, response.PermanentError(fmt.Errorf("configure the AWS SDK: %w", err))
		}
		if loaded.Region == "" {
			return nil, response.PermanentError(errors.New("AWS_REGION is not set: want the region of the Lambda function"))
		}
		client = lambda.NewFromConfig(loaded)
		return client, nil
	}
	return r, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	payload, err := json.Marshal(alert)
	if err != nil {
		return response.Outcome{}, fmt.Errorf("encode the alert: %w", err)
	}
	client, err := r.client(ctx)
	if err != nil {
		return response.Outcome{}, err
	}
	input := &lambda.InvokeInput{
		FunctionName: &r.config.Function, InvocationType: types.InvocationType(r.config.Type), Payload: payload,
	}
	if r.config.Qualifier != "" {
		input.Qualifier = &r.config.Qualifier
	}
	output, err := client.Invoke(ctx, input)
	if err != nil {
		return response.Outcome{}, classify(r.config.Function, err)
	}
	return r.outcome(output), nil
}

func (r *responder) outcome(output *lambda.InvokeOutput) response.Outcome {
	name := r.config.Function
	if r.config.Qualifier != "" {
		name += ":" + r.config.Qualifier
	}
	o := response.Outcome{
		Verdict: response.Applied,
		Message: fmt.Sprintf("invoked Lambda function %s (%s)", name, r.config.Type),
		Target:  response.Target{Kind: "LambdaFunction", Resource: "lambda", Name: name},
		Details: map[string]any{"status_code": output.StatusCode},
	}
	if r.config.Type == string(types.InvocationTypeDryRun) {
		o.Verdict, o.Message = response.DryRun, "would invoke Lambda function "+name+"; AWS allows it"
	}
	if output.ExecutedVersion != nil {
		o.Details["executed_version"] = *output.ExecutedVersion
	}
	if len(output.Payload) > 0 {
		o.Details["payload"] = head(output.Payload)
	}
	if output.FunctionError != nil {
		o.Verdict, o.Reason = response.Failed, response.FunctionError
		o.Message = fmt.Sprintf("Lambda function %s reported an error: %s", name, *output.FunctionError)
	}
	return o
}

// head is the beginning of an answer, enough to see what it says.
func head(b []byte) string {
	const most = 4096
	if len(b) <= most {
		return string(b)
	}
	return strings.ToValidUTF8(string(b[:most]), "") + "..."
}

// classify gives AWS's errors their kind, by the status of the answer.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
func classify(name string, err error) error {
	err = fmt.Errorf("invoke Lambda function %s: %w", name, err)
	var answered *awshttp.ResponseError
	if !errors.As(err, &answered) || answered.HTTPStatusCode() == 0 {
		return response.TransientError(err, 0)
	}
	kind := outbound.Kind(answered.HTTPStatusCode())
	if answered.HTTPStatusCode() == http.StatusConflict { // the function is being updated, or started from a snapshot
		kind = response.Transient
	}
	return &response.Error{Kind: kind, Err: err}
}
