package platforms

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// lambdaForm is a way in which a job comes to a function, and what it answers then.
type lambdaForm struct {
	payload func(t *testing.T, j job) any
	check   func(t *testing.T, j job, answer []byte)
}

// unwanted is an event that no function takes.
const unwanted = `{"specversion":"1.0","id":"1","source":"/somewhere","type":"com.example.other","data":{}}`

// lambdaForms are all of them.
// https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html
func lambdaForms() map[string]lambdaForm {
	return map[string]lambdaForm{
		"directly": {func(_ *testing.T, j job) any { return json.RawMessage(j.alert) }, answersOutcome},
		"a structured CloudEvent": {func(t *testing.T, j job) any {
			t.Helper()
			return structured(t, j.event)
		}, answersOutcome},
		"EventBridge": {func(_ *testing.T, j job) any {
			return map[string]any{
				"version": "0", "id": "x", "detail-type": "Falco Alert", "source": "falco", "account": "123456789012", "time": "2026-01-01T00:00:00Z",
				"region": "eu-west-1", "resources": []any{}, "detail": json.RawMessage(j.alert),
			}
		}, answersOutcome},
		"SNS":                      {func(_ *testing.T, j job) any { return fromTopic(string(j.alert)) }, answersFailures()},
		"SQS, raw, beside another": {func(_ *testing.T, j job) any { return fromQueue(unwanted, string(j.alert)) }, answersFailures("m-0")},
		"SQS, in SNS's envelope": {func(t *testing.T, j job) any {
			t.Helper()
			return fromQueue(string(encoded(t, notification(string(j.alert)))))
		}, answersFailures()},
		"Kinesis":                   {func(_ *testing.T, j job) any { return fromStream(j.alert) }, answersFailures()},
		"a function URL":            {func(_ *testing.T, j job) any { return toURL(nil, string(j.alert), false) }, answersHTTP},
		"a function URL, in base64": {func(_ *testing.T, j job) any { return toURL(nil, base64.StdEncoding.EncodeToString(j.alert), true) }, answersHTTP},
		"a function URL, a CloudEvent": {func(t *testing.T, j job) any {
			t.Helper()
			header := map[string]string{}
			for name := range j.event.Header {
				header[strings.ToLower(name)] = j.event.Header.Get(name)
			}
			return toURL(header, string(bodyOf(t, j.event)), false)
		}, answersHTTP},
	}
}

// bodyOf reads a body and leaves it there.
func bodyOf(t *testing.T, r *http.Request) []byte {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// structured is a CloudEvent in binary mode as one in structured mode.
func structured(t *testing.T, r *http.Request) map[string]any {
	t.Helper()
	event := map[string]any{"datacontenttype": "application/json", "data": json.RawMessage(bodyOf(t, r))}
	for name := range r.Header {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			event[attribute] = r.Header.Get(name)
		}
	}
	return event
}

func notification(message string) map[string]any {
	return map[string]any{
		"Type": "Notification", "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e", "TopicArn": "arn:aws:sns:eu-west-1:123456789012:falco",
		"Message": message, "Timestamp": "2026-01-01T00:00:00.500Z", "SignatureVersion": "1", "Signature": "x",
	}
}

func fromTopic(message string) any {
	return map[string]any{"Records": []any{map[string]any{
		"EventVersion": "1.0", "EventSource": "aws:sns", "EventSubscriptionArn": "arn:aws:sns:eu-west-1:123456789012:falco:x", "Sns": notification(message),
	}}}
}

// fromQueue numbers its messages m-0, m-1, ...
func fromQueue(bodies ...string) any {
	var records []any
	for i, body := range bodies {
		records = append(records, map[string]any{
			"messageId": "m-" + string(rune('0'+i)), "receiptHandle": "x", "body": body, "attributes": map[string]any{"ApproximateReceiveCount": "1"},
			"eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:falco", "awsRegion": "eu-west-1",
		})
	}
	return map[string]any{"Records": records}
}

func fromStream(data []byte) any {
	return map[string]any{"Records": []any{map[string]any{
		"kinesis": map[string]any{
			"kinesisSchemaVersion": "1.0", "partitionKey": "x", "sequenceNumber": "s-0", "data": data, "approximateArrivalTimestamp": 1767225600.123,
		},
		"eventSource": "aws:kinesis", "eventID": "x", "eventName": "aws:kinesis:record", "awsRegion": "eu-west-1",
	}}}
}

func toURL(header map[string]string, body string, inBase64 bool) any {
	all := map[string]string{"host": "x.lambda-url.eu-west-1.on.aws", "content-type": "application/json"}
	maps.Copy(all, header)
	return map[string]any{
		"version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": all, "body": body, "isBase64Encoded": inBase64,
		"requestContext": map[string]any{"accountId": "123456789012", "http": map[string]any{"method": http.MethodPost, "path": "/", "protocol": "HTTP/1.1"}},
	}
}

// answersOutcome wants the outcome as a CloudEvent.
func answersOutcome(t *testing.T, j job, answer []byte) {
	t.Helper()
	var event struct {
		Outcome string         `json:"outcome"`
		Type    string         `json:"type"`
		Data    testkit.Record `json:"data"`
	}
	if err := json.Unmarshal(answer, &event); err != nil {
		t.Fatalf("the answer is %s: %v", answer, err)
	}
	verdict := testkit.Answer{Status: http.StatusOK, Attributes: map[string]string{"outcome": event.Outcome}, Record: event.Data}.Verdict()
	if verdict != j.verdict || event.Type != "dev.riposte.response.v1" {
		t.Errorf("the answer is %q of type %q, want %q: %s", verdict, event.Type, j.verdict, answer)
	}
}

// answersHTTP wants it as the answer to a request.
func answersHTTP(t *testing.T, j job, answer []byte) {
	t.Helper()
	var got struct {
		StatusCode int
		Headers    map[string]string
		Body       string
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		t.Fatalf("the answer is %s: %v", answer, err)
	}
	r := &http.Response{StatusCode: got.StatusCode, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(got.Body))}
	for name, value := range got.Headers {
		r.Header.Set(name, value)
	}
	testkit.ReadAnswer(t, r).Expect(t, j.verdict)
}

// answersFailures wants the list of what failed: without the list, SQS would take everything for failed.
func answersFailures(want ...string) func(*testing.T, job, []byte) {
	return func(t *testing.T, _ job, answer []byte) {
		t.Helper()
		var list struct {
			Failures []struct {
				ID string `json:"itemIdentifier"`
			} `json:"batchItemFailures"`
		}
		if err := json.Unmarshal(answer, &list); err != nil || list.Failures == nil {
			t.Fatalf("the answer is %s, %v: want batchItemFailures", answer, err)
		}
		var failed []string
		for _, f := range list.Failures {
			failed = append(failed, f.ID)
		}
		if diff := cmp.Diff(want, failed); diff != "" {
			t.Errorf("failed (-want +got):\n%s", diff)
		}
	}
}
