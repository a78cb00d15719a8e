// Package function is lambda: it invokes an AWS Lambda function with the alert, in the JSON
// that Falcosidekick would send, and reports what the function answered.
//
// It invokes once for each delivery of an alert. An error that the invoked function reports is an
// outcome, failed, not a reason to try again: what it did before it failed is its own affair. An
// invocation whose answer never came is sent again by the Broker. Region and credentials come from
// where the AWS SDK looks for them.
package function

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// Config are the settings of lambda.
type Config struct {
	Function  string `env:"LAMBDA_FUNCTION" required:"true" help:"Name or ARN of the function to invoke."`
	Qualifier string `env:"LAMBDA_QUALIFIER" help:"Version or alias to invoke."`
	Type      string `env:"INVOCATION_TYPE" envDefault:"RequestResponse" oneof:"RequestResponse,Event,DryRun" help:"Wait for the answer, queue the event, or only check that the call is allowed."`
	// The AWS SDK reads these itself.
	_ string `env:"AWS_REGION" help:"Region of the function, if LAMBDA_FUNCTION is not its full ARN; read by the AWS SDK, as are its other variables."`
}

const qualifierPattern = `[$a-zA-Z0-9_.-]+`

// functionName matches a name, a part of an ARN, or an ARN, with a qualifier or without. How long name and qualifier may be
// is not in the pattern, which would be compiled to thousands of steps for it at each start.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_RequestParameters
var functionName = regexp.MustCompile(
	`^(?:arn:aws[a-z-]*:lambda:([a-z0-9-]+):\d{12}:function:|\d{12}:function:)?([a-zA-Z0-9_-]+)(?::(` + qualifierPattern + `))?$`)

const (
	maxName      = 64
	maxQualifier = 128
)

// Validate checks that the names can be those of a function.
func (c Config) Validate() error {
	parts := functionName.FindStringSubmatch(c.Function)
	switch {
	case parts == nil || len(parts[2]) > maxName || len(parts[3]) > maxQualifier:
		return fmt.Errorf("LAMBDA_FUNCTION is %q: want a name, or an ARN such as arn:aws:lambda:eu-west-1:123456789012:function:NAME", c.Function)
	case c.Qualifier != "" && (len(c.Qualifier) > maxQualifier || !regexp.MustCompile(`^`+qualifierPattern+`$`).MatchString(c.Qualifier)):
		return fmt.Errorf("LAMBDA_QUALIFIER is %q: want a version or an alias", c.Qualifier)
	case c.Qualifier != "" && parts[3] != "":
		return fmt.Errorf("LAMBDA_QUALIFIER is %q and LAMBDA_FUNCTION ends in %q: want one of them", c.Qualifier, parts[3])
	}
	return nil
}

// region is the region in the function's ARN; empty where its name is no full ARN.
func (c Config) region() string {
	if parts := functionName.FindStringSubmatch(c.Function); parts != nil {
		return parts[1]
	}
	return ""
}

// name is the function with its qualifier.
func (c Config) name() string {
	if c.Qualifier != "" {
		return c.Function + ":" + c.Qualifier
	}
	return c.Function
}

type responder struct {
	config Config
	client *lambda.Client
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	if common.DryRun {
		c.Type = string(types.InvocationTypeDryRun)
	}
	client, err := newClient(c.region())
	if err != nil {
		return nil, err
	}
	return &responder{c, client}, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	payload, err := json.Marshal(alert)
	if err != nil {
		return response.Outcome{}, fmt.Errorf("encode the alert: %w", err)
	}
	input := &lambda.InvokeInput{
		FunctionName: &r.config.Function, InvocationType: types.InvocationType(r.config.Type), Payload: payload,
	}
	if r.config.Qualifier != "" {
		input.Qualifier = &r.config.Qualifier
	}
	output, err := r.client.Invoke(ctx, input)
	if err != nil {
		return response.Outcome{}, classify(r.config.name(), err)
	}
	return r.outcome(output), nil
}

func (r *responder) outcome(output *lambda.InvokeOutput) response.Outcome {
	name := r.config.name()
	o := response.Outcome{
		Verdict: response.Applied,
		Target:  response.Target{Kind: "LambdaFunction", Resource: "lambda", Name: name},
		Details: map[string]any{"status_code": output.StatusCode},
	}
	switch types.InvocationType(r.config.Type) {
	case types.InvocationTypeDryRun:
		o.Verdict, o.Message = response.DryRun, "would invoke Lambda function "+name+"; AWS allows it"
	case types.InvocationTypeEvent:
		o.Message = "queued the alert for Lambda function " + name
	case types.InvocationTypeRequestResponse:
		o.Message = "invoked Lambda function " + name
	}
	if output.ExecutedVersion != nil {
		o.Details["executed_version"] = *output.ExecutedVersion
	}
	if len(output.Payload) > 0 {
		o.Details["payload"] = head(output.Payload, 4096)
	}
	if output.FunctionError != nil {
		o.Verdict, o.Reason = response.Failed, response.FunctionError
		o.Message = fmt.Sprintf("Lambda function %s reported an error: %s", name, head([]byte(*output.FunctionError), 64))
	}
	return o
}

// head is the beginning of a text, enough to see what it says.
func head(b []byte, most int) string {
	if len(b) <= most {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return strings.ToValidUTF8(string(b[:most]), "") + "..."
}
