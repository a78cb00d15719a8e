package serve_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// encode is v as JSON.
func encode(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// awsForm is what Falcosidekick posted to an AWS API of the query protocol.
func awsForm(tb testing.TB, capture string) url.Values {
	tb.Helper()
	r := testkit.CaptureRequest(tb, capture, "")
	if err := r.ParseForm(); err != nil {
		tb.Fatal(err)
	}
	return r.PostForm
}

// awsJSON is a member of what Falcosidekick posted to an AWS API that takes JSON.
func awsJSON(tb testing.TB, capture, member string) string {
	tb.Helper()
	var posted map[string]string
	if err := json.NewDecoder(testkit.CaptureRequest(tb, capture, "").Body).Decode(&posted); err != nil {
		tb.Fatal(err)
	}
	return posted[member]
}

// notification is what SNS makes of a Publish call.
func notification(form url.Values) map[string]any {
	attributes := map[string]any{}
	for i := 1; form.Has(fmt.Sprintf("MessageAttributes.entry.%d.Name", i)); i++ {
		entry := fmt.Sprintf("MessageAttributes.entry.%d.", i)
		attributes[form.Get(entry+"Name")] = map[string]any{
			"Type": form.Get(entry + "Value.DataType"), "Value": form.Get(entry + "Value.StringValue"),
		}
	}
	return map[string]any{
		"Type": "Notification", "MessageId": "95df01b4-ee98-5cb9-9903-4c221d41eb5e", "TopicArn": form.Get("TopicArn"), "Subject": nil,
		"Message": form.Get("Message"), "Timestamp": "2026-01-01T00:00:00.500Z", "SignatureVersion": "1", "Signature": "x",
		"SigningCertUrl": "https://sns.eu-west-1.amazonaws.com/x.pem", "UnsubscribeUrl": "https://sns.eu-west-1.amazonaws.com/?x",
		"MessageAttributes": attributes,
	}
}

// delivery is the event with which SNS invokes a function.
func delivery(notifications ...map[string]any) map[string]any {
	var records []any
	for _, n := range notifications {
		records = append(records, map[string]any{
			"EventVersion": "1.0", "EventSource": "aws:sns", "EventSubscriptionArn": "arn:aws:sns:eu-west-1:123456789012:falco:x", "Sns": n,
		})
	}
	return map[string]any{"Records": records}
}

// queue is the event with which SQS invokes a function; the messages are numbered m-0, m-1, ...
func queue(bodies ...string) map[string]any {
	var records []any
	for i, body := range bodies {
		records = append(records, map[string]any{
			"messageId": fmt.Sprintf("m-%d", i), "receiptHandle": "x", "body": body, "attributes": map[string]any{"ApproximateReceiveCount": "1"},
			"messageAttributes": map[string]any{}, "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:falco", "awsRegion": "eu-west-1",
		})
	}
	return map[string]any{"Records": records}
}

// stream is the event with which Kinesis invokes a function; the records are numbered s-0, s-1, ...
func stream(data ...string) map[string]any {
	var records []any
	for i, d := range data {
		records = append(records, map[string]any{
			"kinesis": map[string]any{
				"kinesisSchemaVersion": "1.0", "partitionKey": "x", "sequenceNumber": fmt.Sprintf("s-%d", i), "data": d,
				"approximateArrivalTimestamp": 1767225600.123,
			},
			"eventSource": "aws:kinesis", "eventID": "x", "eventName": "aws:kinesis:record", "awsRegion": "eu-west-1",
		})
	}
	return map[string]any{"Records": records}
}

// bridged is the event with which EventBridge invokes a function.
func bridged(detail []byte) map[string]any {
	return map[string]any{
		"version": "0", "id": "x", "detail-type": "Falco Alert", "source": "custom.falco", "account": "123456789012", "time": "2026-01-01T00:00:00Z",
		"region": "eu-west-1", "resources": []any{}, "detail": json.RawMessage(detail),
	}
}

// toURL is the event with which a function URL invokes a function.
func toURL(method string, header map[string]string, body string, encoded bool) map[string]any {
	all := map[string]string{"host": "x.lambda-url.eu-west-1.on.aws", "content-type": "application/json"}
	maps.Copy(all, header)
	return map[string]any{
		"version": "2.0", "routeKey": "$default", "rawPath": "/", "rawQueryString": "", "headers": all, "body": body, "isBase64Encoded": encoded,
		"requestContext": map[string]any{"accountId": "anonymous", "http": map[string]any{"method": method, "path": "/", "protocol": "HTTP/1.1"}},
	}
}

// failedItems are the identifiers in a batch's answer; SQS takes an answer without the list for a failure of all.
func failedItems(tb testing.TB, answer []byte) []string {
	tb.Helper()
	var list struct {
		BatchItemFailures []struct{ ItemIdentifier string }
	}
	if err := json.Unmarshal(answer, &list); err != nil || list.BatchItemFailures == nil {
		tb.Fatalf("answer is %s, %v: want batchItemFailures", answer, err)
	}
	ids := []string{}
	for _, f := range list.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	return ids
}

func TestLambdaTakesAlertsFromEverywhere(t *testing.T) {
	alert := testkit.Find(t, "01").Alert
	want, err := falco.Decode(alert)
	if err != nil {
		t.Fatal(err)
	}
	raw := notification(awsForm(t, "aws-sns-raw/01.http"))
	data := awsJSON(t, "aws-kinesis/01.http", "Data")
	cases := map[string]any{
		"an invocation":                      json.RawMessage(alert),
		"a structured event":                 json.RawMessage(structured(alert)),
		"SNS, raw":                           delivery(raw),
		"SNS, a structured event":            delivery(map[string]any{"Message": string(structured(alert)), "Timestamp": "2026-01-01T00:00:00Z"}),
		"SQS":                                queue(awsJSON(t, "aws-sqs/01.http", "MessageBody")),
		"SQS, a structured event":            queue(string(structured(alert))),
		"SQS, a notification of SNS":         queue(string(encode(t, raw))),
		"Kinesis":                            stream(data),
		"EventBridge":                        bridged(alert),
		"EventBridge, a structured event":    bridged(structured(alert)),
		"a function URL":                     toURL("POST", nil, string(alert), false),
		"a function URL, in base64":          toURL("POST", nil, base64.StdEncoding.EncodeToString(alert), true),
		"a function URL, a structured event": toURL("POST", map[string]string{"content-type": "application/cloudevents+json"}, string(structured(alert)), false),
		"a function URL, a structured event in disguise":    toURL("POST", nil, string(structured(alert)), false),
		"a function URL, a batch of one":                    toURL("POST", map[string]string{"content-type": "application/cloudevents-batch+json"}, "["+string(structured(alert))+"]", false),
		"a function URL, a binary event":                    toURL("POST", binary, string(alert), false),
		"a function URL, a binary event in base64":          toURL("POST", binary, base64.StdEncoding.EncodeToString(alert), true),
		"Falcosidekick's invocation":                        json.RawMessage(awsBody(t, "aws-lambda/01.http")),
		"an invocation with blanks around":                  json.RawMessage(" " + string(alert) + "\n"),
		"SNS, with attributes for the filter of a listener": delivery(with(raw, "MessageAttributes", map[string]any{"team": map[string]any{"Type": "String", "Value": "x"}})),
	}
	for name, payload := range cases {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			answer, err := start(t, r, nil).Lambda(t.Context(), encode(t, payload))
			if err != nil {
				t.Fatal(err)
			}
			alerts := r.taken()
			if len(alerts) != 1 {
				t.Fatalf("%d responses", len(alerts))
			}
			got := alerts[0]
			got.UUID = "" // what Falco posted has none
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("alert (-want +got):\n%s", diff)
			}
			encoded := encode(t, answer)
			switch {
			case strings.HasPrefix(name, "SNS"), strings.HasPrefix(name, "SQS"), strings.HasPrefix(name, "Kinesis"):
				if failed := failedItems(t, encoded); len(failed) > 0 {
					t.Errorf("failed: %v", failed)
				}
			case strings.HasPrefix(name, "a function URL"):
				var a events.LambdaFunctionURLResponse
				if err := json.Unmarshal(encoded, &a); err != nil || a.StatusCode != http.StatusOK || a.IsBase64Encoded {
					t.Errorf("answer is %s, %v", encoded, err)
				}
			default:
				var e event.Event
				if err := json.Unmarshal(encoded, &e); err != nil {
					t.Fatal(err)
				}
				if record := recordOf(t, e); record.AlertID != want.ID() {
					t.Errorf("the outcome is about %s", record.AlertID)
				}
			}
		})
	}
}

// binary are the headers of an event in binary mode, as a function URL passes them on.
var binary = map[string]string{
	"ce-specversion": "1.0", "ce-id": "e-1", "ce-type": falco.TypeFalcosidekick, "ce-source": "https://falco.org", "ce-event_source": "syscall",
}

func awsBody(tb testing.TB, capture string) []byte {
	tb.Helper()
	var body json.RawMessage
	if err := json.NewDecoder(testkit.CaptureRequest(tb, capture, "").Body).Decode(&body); err != nil {
		tb.Fatal(err)
	}
	return body
}

// with is a copy of m with another value.
func with(m map[string]any, key string, value any) map[string]any {
	m = maps.Clone(m)
	m[key] = value
	return m
}

// Without rawjson, Falcosidekick sends the output as the message and all else as attributes.
func TestLambdaReadsAttributes(t *testing.T) {
	form := awsForm(t, "aws-sns/01.http")
	posted, err := falco.Decode(testkit.Find(t, "05").Alert)
	if err != nil {
		t.Fatal(err)
	}
	want := posted
	want.Fields = falco.Fields{}
	for name, value := range posted.Fields {
		if name == "proc.aname[2]" {
			name = "proc.aname.2" // the name of an attribute has no brackets
		}
		if value != nil { // nor has it no value
			want.Fields[name] = value
		}
	}
	forged := `{"rule":"Forged","priority":"Emergency","time":"2026-01-01T00:00:00Z","output_fields":{"k8s.pod.name":"innocent"}}`
	attributes := notification(form)["MessageAttributes"].(map[string]any)
	without := func(name string) map[string]any {
		m := maps.Clone(attributes)
		delete(m, name)
		return m
	}
	cases := map[string]struct {
		payload any
		change  func(*falco.Alert)
	}{
		"SNS":                        {delivery(notification(form)), nil},
		"SQS, a notification of SNS": {queue(string(encode(t, notification(form)))), nil},
		"an output that forges an alert": {
			delivery(with(notification(form), "Message", forged)), func(a *falco.Alert) { a.Output = forged },
		},
		"an output that is JSON": {delivery(with(notification(form), "Message", "1")), func(a *falco.Alert) { a.Output = "1" }},
		"no evt.time": {
			delivery(with(notification(form), "MessageAttributes", without("evt.time"))),
			func(a *falco.Alert) {
				a.Time = posted.Time.Truncate(1e9).Add(500e6) // the notification's own
				delete(a.Fields, "evt.time")
			},
		},
		"no hostname, tags and source": {
			delivery(with(notification(form), "MessageAttributes", func() map[string]any {
				m := without("hostname")
				delete(m, "tags")
				delete(m, "source")
				return m
			}())),
			func(a *falco.Alert) { a.Hostname, a.Tags, a.Source = "", nil, "syscalls" },
		},
		"tags in an array": {
			delivery(with(notification(form), "MessageAttributes", with(attributes, "tags", map[string]any{"Type": "String.Array", "Value": `["a","b"]`}))),
			func(a *falco.Alert) { a.Tags = []string{"a", "b"} },
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			expected := want
			expected.Fields = maps.Clone(want.Fields)
			if c.change != nil {
				c.change(&expected)
			}
			r := &recorder{}
			answer, err := start(t, r, nil).Lambda(t.Context(), encode(t, c.payload))
			if err != nil {
				t.Fatal(err)
			}
			if failed := failedItems(t, encode(t, answer)); len(failed) > 0 {
				t.Fatalf("failed: %v", failed)
			}
			if diff := cmp.Diff([]falco.Alert{expected}, r.taken()); diff != "" {
				t.Errorf("alert (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLambdaReportsBatchItems(t *testing.T) {
	good := string(testkit.Find(t, "01").Alert)
	bad := string(testkit.Find(t, "52").Alert)
	busy := strings.Replace(good, "Terminal shell in container", "busy", 1)
	huge := strings.Replace(good, `"output":"`, `"output":"`+strings.Repeat("x", serve.MaxBody), 1)
	base64s := func(texts ...string) []string {
		var encoded []string
		for _, text := range texts {
			encoded = append(encoded, base64.StdEncoding.EncodeToString([]byte(text)))
		}
		return encoded
	}
	cases := map[string]struct {
		payload any
		failed  []string
		calls   int
	}{
		"all good":                  {queue(good, good), []string{}, 2},
		"one invalid":               {queue(good, bad, good), []string{"m-1"}, 2},
		"one to send again":         {queue(busy, good), []string{"m-0"}, 2},
		"garbage and another type":  {queue("x", `{"specversion":"1.0","id":"1","source":"s","type":"x","data":{}}`, "", good), []string{"m-0", "m-1", "m-2"}, 1},
		"too large":                 {queue(huge, good), []string{"m-0"}, 1},
		"a stream, all good":        {stream(base64s(good, good)...), []string{}, 2},
		"a stream, some failures":   {stream(base64s(good, bad, busy, good)...), []string{"s-1", "s-2"}, 3},
		"a stream, an empty record": {stream(base64s(good, "")...), []string{"s-1"}, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := &recorder{respond: func(_ context.Context, a falco.Alert) (response.Outcome, error) {
				if a.Rule == "busy" {
					return response.Outcome{}, response.TransientError(errors.New("busy"), 0)
				}
				return response.Outcome{Verdict: response.Applied}, nil
			}}
			answer, err := start(t, r, nil).Lambda(t.Context(), encode(t, c.payload))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.failed, failedItems(t, encode(t, answer))); diff != "" {
				t.Errorf("failed (-want +got):\n%s", diff)
			}
			if calls := len(r.taken()); calls != c.calls {
				t.Errorf("%d responses, want %d", calls, c.calls)
			}
		})
	}
}

// An error makes Lambda try again, or tells the caller.
func TestLambdaFails(t *testing.T) {
	good := testkit.Find(t, "01").Alert
	from := func(source string) map[string]any {
		return map[string]any{"Records": []any{map[string]any{"eventSource": source, "body": string(good)}}}
	}
	bad := notification(awsForm(t, "aws-sns-raw/01.http"))
	bad["Message"] = string(testkit.Find(t, "52").Alert)
	cases := map[string]struct {
		payload any
		kind    response.Kind
	}{
		"nothing":                       {json.RawMessage(`null`), response.Invalid},
		"text":                          {"garbage", response.Invalid},
		"a number":                      {1, response.Invalid},
		"a list":                        {json.RawMessage("[" + string(good) + "]"), response.Invalid},
		"an empty object":               {json.RawMessage(`{}`), response.Invalid},
		"an alert without time":         {json.RawMessage(testkit.Find(t, "53").Alert), response.Invalid},
		"another event type":            {json.RawMessage(`{"specversion":"1.0","id":"1","source":"s","type":"x","data":{}}`), response.Invalid},
		"a malformed event":             {json.RawMessage(`{"specversion":"1.0"}`), response.Invalid},
		"too large":                     {json.RawMessage(`{"rule":"` + strings.Repeat("x", serve.MaxBody) + `"}`), response.Invalid},
		"no records":                    {json.RawMessage(`{"Records":[]}`), response.Invalid},
		"records that are null":         {json.RawMessage(`{"Records":null}`), response.Invalid},
		"records that are text":         {json.RawMessage(`{"Records":"x"}`), response.Invalid},
		"a record that is text":         {json.RawMessage(`{"Records":["x"]}`), response.Invalid},
		"a record that is null":         {json.RawMessage(`{"Records":[null]}`), response.Invalid},
		"a record of nobody":            {from(""), response.Invalid},
		"a record of DynamoDB":          {from("aws:dynamodb"), response.Invalid},
		"a record of S3":                {from("aws:s3"), response.Invalid},
		"a notification without itself": {from("aws:sns"), response.Invalid},
		"a stream's without data":       {from("aws:kinesis"), response.Invalid},
		"a stream's that is no base64":  {stream("#"), response.Invalid},
		"a bad notification":            {delivery(bad), response.Invalid},
		"attributes without a rule": {
			delivery(map[string]any{"Message": "x", "Timestamp": "2026-01-01T00:00:00Z", "MessageAttributes": map[string]any{}}), response.Invalid,
		},
		"a number that is none": {
			delivery(map[string]any{"Message": "x", "Timestamp": "2026-01-01T00:00:00Z", "MessageAttributes": map[string]any{
				"rule": map[string]any{"Type": "String", "Value": "R"}, "priority": map[string]any{"Type": "String", "Value": "Notice"},
				"n": map[string]any{"Type": "Number", "Value": "many"},
			}}), response.Invalid,
		},
		"a bridged one that is bad": {bridged([]byte(`{"rule":1}`)), response.Invalid},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			answer, err := start(t, r, nil).Lambda(t.Context(), encode(t, c.payload))
			if err == nil || answer != nil || response.KindOf(err) != c.kind || len(r.taken()) > 0 {
				t.Errorf("answer is %s, error %v of kind %s: want an error of kind %s", encode(t, answer), err, response.KindOf(err), c.kind)
			}
		})
	}
	for name, want := range map[string]error{
		"transient": response.TransientError(errors.New("x"), 0), "permanent": response.PermanentError(errors.New("x")), "unknown": errors.New("x"),
	} {
		t.Run("a response that fails, "+name, func(t *testing.T) {
			for _, payload := range []any{json.RawMessage(good), bridged(good), delivery(notification(awsForm(t, "aws-sns-raw/01.http")))} {
				answer, err := start(t, failing(want), nil).Lambda(t.Context(), encode(t, payload))
				if answer != nil || !errors.Is(err, want) {
					t.Errorf("answer is %v, error %v: want %v", answer, err, want)
				}
			}
		})
	}
	t.Run("a response that panics", func(t *testing.T) {
		r := &recorder{respond: func(context.Context, falco.Alert) (response.Outcome, error) { panic("boom") }}
		if answer, err := start(t, r, nil).Lambda(t.Context(), good); answer != nil || err == nil || strings.Contains(err.Error(), "boom") {
			t.Errorf("answer is %v, error %v", answer, err)
		}
	})
	t.Run("one of several notifications", func(t *testing.T) {
		r := &recorder{}
		payload := delivery(bad, notification(awsForm(t, "aws-sns-raw/01.http")))
		if answer, err := start(t, r, nil).Lambda(t.Context(), encode(t, payload)); answer != nil || err == nil || len(r.taken()) != 1 {
			t.Errorf("answer is %v, error %v: want the good one done, and an error", answer, err)
		}
	})
}

func TestLambdaDropsOwnOutcome(t *testing.T) {
	f := start(t, &recorder{}, nil)
	first, err := f.Lambda(t.Context(), testkit.Find(t, "01").Alert)
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := f.Lambda(t.Context(), encode(t, first)); err != nil || string(encode(t, answer)) != "null" {
		t.Errorf("answer is %v, error %v: want nothing", answer, err)
	}
}

func TestFunctionURL(t *testing.T) {
	alert := string(testkit.Find(t, "01").Alert)
	busy := response.TransientError(errors.New("busy\nnow"), 90e9)
	cases := map[string]struct {
		responder *recorder
		payload   map[string]any
		environ   map[string]string
		status    int
		header    map[string]string
	}{
		"POST":                  {&recorder{}, toURL("POST", nil, alert, false), nil, 200, map[string]string{"Ce-Specversion": "1.0", "Ce-Outcome": "applied"}},
		"GET":                   {&recorder{}, toURL("GET", nil, "", false), nil, 405, map[string]string{"Allow": "POST"}},
		"GET with bad base64":   {&recorder{}, toURL("GET", nil, "#", true), nil, 405, map[string]string{"Allow": "POST"}},
		"garbage":               {&recorder{}, toURL("POST", nil, "garbage", false), nil, 400, nil},
		"nothing":               {&recorder{}, toURL("POST", nil, "", false), nil, 400, nil},
		"bad base64":            {&recorder{}, toURL("POST", nil, "#", true), nil, 400, nil},
		"another type of event": {&recorder{}, toURL("POST", map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-type": "x", "ce-source": "s"}, alert, false), nil, 400, nil},
		"no name of a header":   {&recorder{}, toURL("POST", map[string]string{"ce-specversion": "1.0", "ce-id": "1", "ce-type": "x", "ce-source": "s", "ce-": "x", "": "x"}, alert, false), nil, 400, nil},
		"too large":             {&recorder{}, toURL("POST", nil, strings.Repeat(" ", serve.MaxBody+1), false), nil, 413, nil},
		"come back later":       {failing(busy), toURL("POST", nil, alert, false), nil, 429, map[string]string{"Retry-After": "90"}},
		"without a token":       {&recorder{}, toURL("POST", nil, alert, false), map[string]string{"AUTH_TOKEN": "t"}, 401, map[string]string{"Www-Authenticate": "Bearer"}},
		"with a token":          {&recorder{}, toURL("POST", map[string]string{"authorization": "Bearer t"}, alert, false), map[string]string{"AUTH_TOKEN": "t"}, 200, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			answer, err := start(t, c.responder, c.environ).Lambda(t.Context(), encode(t, c.payload))
			if err != nil {
				t.Fatal(err)
			}
			var a events.LambdaFunctionURLResponse
			if err := json.Unmarshal(encode(t, answer), &a); err != nil {
				t.Fatal(err)
			}
			header := http.Header{}
			for name, value := range a.Headers {
				header.Set(name, value)
			}
			got := reply{a.StatusCode, header, []byte(a.Body)}
			if a.StatusCode != c.status {
				t.Errorf("status is %d, want %d: %s", a.StatusCode, c.status, a.Body)
			}
			for name, want := range c.header {
				if header.Get(name) != want {
					t.Errorf("%s is %q, want %q", name, header.Get(name), want)
				}
			}
			if c.status == http.StatusOK {
				outcome(t, got)
			} else {
				refusedInOneLine(t, got)
			}
		})
	}
	if _, err := start(t, &recorder{}, nil).Lambda(t.Context(), []byte(`{"rawPath":"/","requestContext":{"http":1}}`)); err == nil {
		t.Error("a function URL's request of another shape gives no error")
	}
	// IAM guards invocations; the token is for HTTP.
	if _, err := start(t, &recorder{}, map[string]string{"AUTH_TOKEN": "t"}).Lambda(t.Context(), []byte(alert)); err != nil {
		t.Errorf("an invocation needs a token: %v", err)
	}
}
