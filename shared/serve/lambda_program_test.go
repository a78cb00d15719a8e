package serve_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// A real function's bootstrap, on Lambda's Runtime API: what comes in by each service is posted to Slack, once.
func TestBootstrap(t *testing.T) {
	slack := startSlack(t, nil)
	alert := testkit.Find(t, "01").Alert
	shell, err := falco.Decode(alert)
	if err != nil {
		t.Fatal(err)
	}
	file, err := falco.Decode(testkit.Find(t, "05").Alert)
	if err != nil {
		t.Fatal(err)
	}
	raw := notification(awsForm(t, "aws-sns-raw/01.http"))
	attributes := notification(awsForm(t, "aws-sns/01.http"))
	message := awsJSON(t, "aws-sqs/01.http", "MessageBody")
	data := awsJSON(t, "aws-kinesis/01.http", "Data")
	structuredHeader := map[string]string{"content-type": "application/cloudevents+json"}

	// answered is what a test expects: an outcome event, a list of failed items, an HTTP answer, or an error.
	type answered struct {
		about  string
		failed []string
		status int
		err    bool
	}
	cases := map[string]struct {
		payload any
		want    answered
		posts   int
	}{
		"an alert":                       {json.RawMessage(alert), answered{about: shell.ID()}, 1},
		"Falcosidekick's invocation":     {json.RawMessage(awsBody(t, "aws-lambda/01.http")), answered{about: shell.ID()}, 1},
		"a structured event":             {json.RawMessage(structured(alert)), answered{about: shell.ID()}, 1},
		"SNS, raw":                       {delivery(raw), answered{failed: []string{}}, 1},
		"SNS, attributes":                {delivery(attributes), answered{failed: []string{}}, 1},
		"SNS, garbage":                   {delivery(map[string]any{"Message": "x", "Timestamp": "2026-01-01T00:00:00Z"}), answered{err: true}, 0},
		"SQS, one good and one bad":      {queue(message, "garbage"), answered{failed: []string{"m-1"}}, 1},
		"SQS, a notification":            {queue(string(encode(t, raw))), answered{failed: []string{}}, 1},
		"SQS, attributes":                {queue(string(encode(t, attributes))), answered{failed: []string{}}, 1},
		"Kinesis":                        {stream(data), answered{failed: []string{}}, 1},
		"EventBridge":                    {bridged(alert), answered{about: shell.ID()}, 1},
		"a function URL":                 {toURL("POST", nil, string(alert), false), answered{about: shell.ID(), status: 200}, 1},
		"a function URL, binary":         {toURL("POST", binary, base64.StdEncoding.EncodeToString(alert), true), answered{about: shell.ID(), status: 200}, 1},
		"a function URL, structured":     {toURL("POST", structuredHeader, string(structured(alert)), false), answered{about: shell.ID(), status: 200}, 1},
		"a function URL, by GET":         {toURL("GET", nil, "", false), answered{status: 405}, 0},
		"a function URL, garbage":        {toURL("POST", nil, "garbage", false), answered{status: 400}, 0},
		"garbage":                        {"garbage", answered{err: true}, 0},
		"an alert that is refused":       {json.RawMessage(testkit.Find(t, "52").Alert), answered{err: true}, 0},
		"an alert of Falco about itself": {json.RawMessage(testkit.Find(t, "41").Alert), answered{about: "refused"}, 0},
		"another service's records":      {map[string]any{"Records": []any{map[string]any{"eventSource": "aws:dynamodb"}}}, answered{err: true}, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			// Each has a process of its own: one that has posted an alert does not post it again.
			lambda := testkit.StartLambda(t, program(t), append(coverage(), "MAX_ALERT_AGE=0", "SLACK_WEBHOOK_URL="+slack.url)...)
			answer := lambda.Invoke(t, encode(t, c.payload))
			posts := slack.taken()
			if len(posts) != c.posts {
				t.Errorf("%d posts to Slack, want %d", len(posts), c.posts)
			}
			rule := shell.Rule
			if strings.Contains(name, "attributes") {
				rule = file.Rule
			}
			for _, post := range posts {
				if !strings.Contains(post, rule) {
					t.Errorf("%s is not in what was posted: %s", rule, post)
				}
			}
			if c.want.err != (answer.Error != nil) {
				t.Fatalf("answer is %s, error %v", answer.Payload, answer.Error)
			}
			switch {
			case c.want.err:
				if strings.Contains(answer.Error.Message, "secret") {
					t.Errorf("the error shows where it posts: %s", answer.Error.Message)
				}
			case c.want.failed != nil:
				if diff := cmp.Diff(c.want.failed, failedItems(t, answer.Payload)); diff != "" {
					t.Errorf("failed (-want +got):\n%s", diff)
				}
			case c.want.status != 0:
				checkURLAnswer(t, answer.Payload, c.want.status, c.want.about)
			default:
				var e event.Event
				if err := json.Unmarshal(answer.Payload, &e); err != nil {
					t.Fatal(err)
				}
				if record := recordOf(t, e); !slices.Contains([]string{record.AlertID, string(record.Outcome)}, c.want.about) {
					t.Errorf("outcome %s is about %s, want %s", record.Outcome, record.AlertID, c.want.about)
				}
			}
		})
	}
}

func checkURLAnswer(t *testing.T, payload []byte, status int, about string) {
	t.Helper()
	var a events.LambdaFunctionURLResponse
	if err := json.Unmarshal(payload, &a); err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	for name, value := range a.Headers {
		header.Set(name, value)
	}
	got := reply{a.StatusCode, header, []byte(a.Body)}
	if got.status != status {
		t.Errorf("status is %d, want %d", got.status, status)
	}
	if status != http.StatusOK {
		refusedInOneLine(t, got)
		return
	}
	if _, record := outcome(t, got); record.AlertID != about {
		t.Errorf("the outcome is about %s, want %s", record.AlertID, about)
	}
}

// An error of Slack's makes Lambda try again; the webhook's secret is not in it.
func TestBootstrapFails(t *testing.T) {
	const url = "http://127.0.0.1:1/services/T0/B0/secret" // nobody listens there
	lambda := testkit.StartLambda(t, program(t), append(coverage(), "MAX_ALERT_AGE=0", "SLACK_WEBHOOK_URL="+url)...)
	for range 2 { // a failure does not end the process
		answer := lambda.Invoke(t, testkit.Find(t, "01").Alert)
		if answer.Error == nil || answer.Error.Message == "" || strings.Contains(answer.Error.Message, "secret") {
			t.Errorf("answer is %s, error %v", answer.Payload, answer.Error)
		}
	}
}

func TestBootstrapRefusesBadSettings(t *testing.T) {
	status, log := testkit.StartLambda(t, program(t), append(coverage(), "MIN_PRIORITY=High")...).Exit(t)
	if status != 2 || !strings.Contains(log, "MIN_PRIORITY") || !strings.Contains(log, "SLACK_WEBHOOK_URL") {
		t.Errorf("exit status is %d: %s", status, log)
	}
}
