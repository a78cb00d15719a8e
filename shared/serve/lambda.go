package serve

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-lambda-go/events"

	"github.com/riposte-dev/riposte/shared/response"
)

// lambda handles one invocation. The payload's shape says where it comes from: a function URL, SNS,
// SQS, Kinesis, EventBridge, or a direct invocation with an alert or a CloudEvent.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html
//
// A function URL gets an HTTP answer, SQS and Kinesis the list of what failed, a direct invocation and EventBridge
// the outcome as a CloudEvent in JSON. SNS and these get an error where it failed, which makes Lambda try again.
func (f *responses) lambda(ctx context.Context, payload json.RawMessage) (any, error) {
	var shape struct {
		RequestContext json.RawMessage   `json:"requestContext"`
		RawPath        *string           `json:"rawPath"`
		Records        []json.RawMessage `json:"Records"`
		DetailType     string            `json:"detail-type"`
		Detail         json.RawMessage   `json:"detail"`
	}
	// A payload of another shape, or no JSON object at all, is left to the decoder of alerts.
	_ = json.Unmarshal(payload, &shape)
	switch {
	case shape.RawPath != nil && len(shape.RequestContext) > 0:
		return f.functionURL(ctx, payload)
	case len(shape.Records) > 0:
		return f.records(ctx, shape.Records)
	case shape.DetailType != "" && len(shape.Detail) > 0:
		return f.payload(ctx, shape.Detail)
	}
	return f.payload(ctx, payload)
}

// payload handles an alert or a CloudEvent that came without an HTTP request around it.
func (f *responses) payload(ctx context.Context, body []byte) (any, error) {
	if len(body) > MaxBody {
		return nil, response.InvalidError(tooLarge(MaxBody))
	}
	e, err := decodePayload(body, f.inner.Types()[0])
	if err != nil {
		return nil, response.InvalidError(err)
	}
	e.trace(ctx, nil)
	reply, err := f.handle(ctx, e, nil)
	if err != nil || reply == nil {
		return nil, err
	}
	return reply, nil
}

func decodePayload(body []byte, plain string) (Event, error) {
	if err := checkDensity(body); err != nil {
		return Event{}, err
	}
	if isStructured(body) {
		return decodeStructured(body)
	}
	return Event{Event: response.Event{Type: plain, Data: body}}, nil
}

func (f *responses) functionURL(ctx context.Context, payload []byte) (any, error) {
	var r events.LambdaFunctionURLRequest
	if err := json.Unmarshal(payload, &r); err != nil {
		return nil, response.InvalidError(fmt.Errorf("read the function URL request: %w", err))
	}
	var a answer
	body, err := []byte(r.Body), error(nil)
	if r.IsBase64Encoded {
		body, err = base64.StdEncoding.DecodeString(r.Body)
	}
	switch method := r.RequestContext.HTTP.Method; {
	case method != http.MethodPost:
		a = wrongMethod(method)
	case err != nil:
		a = refusal(http.StatusBadRequest, fmt.Errorf("body is not base64: %w", err))
	default:
		header := http.Header{}
		for name, value := range r.Headers { // Lambda sends the names in lower case
			header.Set(name, value)
		}
		a = f.exchange(ctx, Request{Header: header, Body: body})
	}
	out := events.LambdaFunctionURLResponse{StatusCode: a.status, Headers: map[string]string{}, Body: string(a.body)}
	header := a.put(http.Header{})
	for name := range header {
		out.Headers[name] = header.Get(name)
	}
	return out, nil
}

// record is one entry of a batch, of whichever service.
type record struct {
	EventSource string                `json:"eventSource"` // SQS and Kinesis; SNS writes it with a capital E, which matches too
	MessageID   string                `json:"messageId"`
	Body        string                `json:"body"`
	Kinesis     *events.KinesisRecord `json:"kinesis"`
	SNS         *events.SNSEntity     `json:"Sns"`
}

// records handles the entries of a batch each on its own. SQS and Kinesis take back a list of those that
// failed (ReportBatchItemFailures); SNS, which sends one at a time, an error.
// https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
func (f *responses) records(ctx context.Context, raw []json.RawMessage) (any, error) {
	failures := []events.SQSBatchItemFailure{}
	var errs []error
	for i, entry := range raw {
		var r record
		if err := json.Unmarshal(entry, &r); err != nil {
			return nil, response.InvalidError(fmt.Errorf("read record %d: %w", i, err))
		}
		body, id, err := r.content()
		if err != nil {
			err = response.InvalidError(err)
		} else if _, err = f.payload(ctx, body); err == nil {
			continue
		}
		if id == "" {
			errs = append(errs, fmt.Errorf("record %d: %w", i, err))
			continue
		}
		f.log.WarnContext(ctx, "record failed", "record", id, "error", err.Error())
		failures = append(failures, events.SQSBatchItemFailure{ItemIdentifier: id})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return events.SQSEventResponse{BatchItemFailures: failures}, nil
}

// content is the alert in a record, and the identifier by which its failure is reported.
func (r record) content() (body []byte, id string, err error) {
	switch {
	case r.EventSource == "aws:sqs":
		body, err = fromQueue([]byte(r.Body))
		return body, r.MessageID, err
	case r.EventSource == "aws:kinesis" && r.Kinesis != nil:
		return r.Kinesis.Data, r.Kinesis.SequenceNumber, nil
	case r.EventSource == "aws:sns" && r.SNS != nil:
		body, err = FromTopic(*r.SNS)
		return body, "", err
	}
	return nil, "", fmt.Errorf("eventSource is %q: want aws:sqs, aws:sns or aws:kinesis", r.EventSource)
}

// fromQueue unwraps what a topic put into a queue without raw message delivery.
func fromQueue(body []byte) ([]byte, error) {
	var n events.SNSEntity
	if readable := json.Unmarshal(body, &n) == nil; readable && n.Type == "Notification" && n.Message != "" {
		return FromTopic(n)
	}
	return body, nil
}
