package function

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/outbound/outboundtest"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

const (
	secretKey    = "s3cr3tK3y0000000000000000000000000000000"
	sessionToken = "s3ss10nT0k3n000000000000000000000000000"
)

var secrets = []string{secretKey, sessionToken}

// invocation is one call of AWS's Invoke API.
type invocation struct {
	Function, Qualifier, Type, Region string
	Payload                           string
}

// cloud is AWS Lambda as a caller sees it: its Invoke API.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
type cloud struct {
	*httptest.Server
	mu    sync.Mutex
	calls []invocation
}

// newCloud lets the AWS SDK find a cloud that answers invocations with a handler, and credentials for it.
func newCloud(t *testing.T, answer http.HandlerFunc) *cloud {
	t.Helper()
	c := &cloud{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/"), "/invocations")
		function, err := url.PathUnescape(name)
		payload, readErr := io.ReadAll(r.Body)
		if !ok || err != nil || readErr != nil || r.Method != http.MethodPost {
			t.Errorf("unexpected request: %s %s (%v, %v)", r.Method, r.URL, err, readErr)
		}
		// AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/lambda/aws4_request, SignedHeaders=...
		scope := strings.Split(r.Header.Get("Authorization"), "/")
		if len(scope) < 5 || scope[3] != "lambda" {
			t.Errorf("the request is not signed for Lambda: %q", r.Header.Get("Authorization"))
			scope = make([]string, 5)
		}
		c.mu.Lock()
		c.calls = append(c.calls, invocation{function, r.URL.Query().Get("Qualifier"), r.Header.Get("X-Amz-Invocation-Type"), scope[2], string(payload)})
		c.mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(payload)))
		answer(w, r)
	}))
	t.Cleanup(c.Close)
	setCloud(t, c.URL)
	return c
}

// setCloud is the environment of the AWS SDK, with nothing of this machine's own in it.
func setCloud(t *testing.T, endpoint string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_LAMBDA": endpoint, "AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "", "AWS_PROFILE": "",
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_SESSION_TOKEN": sessionToken,
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "",
		"AWS_MAX_ATTEMPTS": "5", "AWS_RETRY_MODE": "standard", // Neither may bring back what the function turned off.
	} {
		t.Setenv(name, value)
	}
}

// made are the calls so far, without their payloads.
func (c *cloud) made() []invocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := []invocation{}
	for _, call := range c.calls {
		call.Payload = ""
		calls = append(calls, call)
	}
	return calls
}

// answers is what AWS says: a status, headers as NAME: VALUE, and a body.
func answers(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Requestid", "5b6a3c1e-0000-4000-8000-000000000001")
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// fails is an error of the Invoke API.
func fails(status int, code, message string, headers ...string) http.HandlerFunc {
	body, err := json.Marshal(map[string]string{"Type": "User", "Message": message})
	if err != nil {
		panic(err)
	}
	return answers(status, string(body), append(headers, "X-Amzn-Errortype: "+code, "Content-Type: application/json")...)
}

func newLambda(t *testing.T, c Config, dryRun bool) response.Responder {
	t.Helper()
	if c.Type == "" {
		c.Type = "RequestResponse"
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r, err := newResponder(c, response.Settings{DryRun: dryRun})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func captured(t *testing.T, name string) falco.Alert {
	t.Helper()
	alert, err := falco.Decode(testkit.Find(t, name).Alert)
	if err != nil {
		t.Fatal(err)
	}
	return alert
}

func TestRetries(t *testing.T) {
	alert := captured(t, "12")
	outboundtest.RetryTests(t, outboundtest.Sink{
		Answer: "null", Transient: []int{http.StatusConflict}, Secrets: secrets,
		Send: func(ctx context.Context, server string) error {
			setCloud(t, server)
			_, err := newLambda(t, Config{Function: "answer"}, false).Respond(ctx, alert) //nolint:contextcheck // The client outlives a request.
			return err
		},
	})
}

func TestInvocations(t *testing.T) {
	const arn = "arn:aws:lambda:us-east-2:123456789012:function:answer"
	tests := map[string]struct {
		config Config
		dryRun bool
		answer http.HandlerFunc
		want   response.Outcome
		call   invocation
	}{
		"by name": {
			config: Config{Function: "answer"},
			answer: answers(200, `{"revoked":3}`, "X-Amz-Executed-Version: $LATEST"),
			want: response.Outcome{
				Verdict: response.Applied, Message: "invoked Lambda function answer", Target: target("answer"),
				Details: map[string]any{"status_code": int32(200), "executed_version": "$LATEST", "payload": `{"revoked":3}`},
			},
			call: invocation{Function: "answer", Type: "RequestResponse", Region: "eu-west-1"},
		},
		"by alias": {
			config: Config{Function: "answer", Qualifier: "live"},
			answer: answers(200, `null`, "X-Amz-Executed-Version: 7"),
			want: response.Outcome{
				Verdict: response.Applied, Message: "invoked Lambda function answer:live", Target: target("answer:live"),
				Details: map[string]any{"status_code": int32(200), "executed_version": "7", "payload": "null"},
			},
			call: invocation{Function: "answer", Qualifier: "live", Type: "RequestResponse", Region: "eu-west-1"},
		},
		"by an ARN of another region": {
			config: Config{Function: arn},
			answer: answers(200, ""),
			want: response.Outcome{
				Verdict: response.Applied, Message: "invoked Lambda function " + arn, Target: target(arn), Details: map[string]any{"status_code": int32(200)},
			},
			call: invocation{Function: arn, Type: "RequestResponse", Region: "us-east-2"},
		},
		"into the queue": {
			config: Config{Function: "answer", Type: "Event"},
			answer: answers(202, ""),
			want: response.Outcome{
				Verdict: response.Applied, Message: "queued the alert for Lambda function answer", Target: target("answer"),
				Details: map[string]any{"status_code": int32(202)},
			},
			call: invocation{Function: "answer", Type: "Event", Region: "eu-west-1"},
		},
		"to see whether it is allowed": {
			config: Config{Function: "answer", Type: "DryRun"},
			answer: answers(204, ""),
			want: response.Outcome{
				Verdict: response.DryRun, Message: "would invoke Lambda function answer; AWS allows it", Target: target("answer"),
				Details: map[string]any{"status_code": int32(204)},
			},
			call: invocation{Function: "answer", Type: "DryRun", Region: "eu-west-1"},
		},
		"in a dry run, whatever the type": {
			config: Config{Function: "answer", Type: "Event"}, dryRun: true,
			answer: answers(204, ""),
			want: response.Outcome{
				Verdict: response.DryRun, Message: "would invoke Lambda function answer; AWS allows it", Target: target("answer"),
				Details: map[string]any{"status_code": int32(204)},
			},
			call: invocation{Function: "answer", Type: "DryRun", Region: "eu-west-1"},
		},
		"of a function that fails": {
			config: Config{Function: "answer"},
			answer: answers(200, `{"errorType":"Runtime.ExitError","errorMessage":"exit status 2"}`, "X-Amz-Function-Error: Unhandled", "X-Amz-Executed-Version: $LATEST"),
			want: response.Outcome{
				Verdict: response.Failed, Reason: response.FunctionError, Message: "Lambda function answer reported an error: Unhandled", Target: target("answer"),
				Details: map[string]any{
					"status_code": int32(200), "executed_version": "$LATEST", "payload": `{"errorType":"Runtime.ExitError","errorMessage":"exit status 2"}`,
				},
			},
			call: invocation{Function: "answer", Type: "RequestResponse", Region: "eu-west-1"},
		},
		"of a function that says much": {
			config: Config{Function: "answer"},
			answer: answers(200, strings.Repeat("é", 1<<20)),
			want: response.Outcome{
				Verdict: response.Applied, Message: "invoked Lambda function answer", Target: target("answer"),
				Details: map[string]any{"status_code": int32(200), "payload": strings.Repeat("é", 2048) + "..."},
			},
			call: invocation{Function: "answer", Type: "RequestResponse", Region: "eu-west-1"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, test.answer)
			got, err := newLambda(t, test.config, test.dryRun).Respond(t.Context(), captured(t, "12"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]invocation{test.call}, c.made()); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, got)
		})
	}
}

func target(name string) response.Target {
	return response.Target{Kind: "LambdaFunction", Resource: "lambda", Name: name}
}

// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
func TestErrorsOfAWS(t *testing.T) {
	tests := map[string]struct {
		answer http.HandlerFunc
		kind   response.Kind
		after  time.Duration
	}{
		"not allowed":            {fails(403, "AccessDeniedException", "User: u is not authorized to perform: lambda:InvokeFunction"), response.Permanent, 0},
		"an expired token":       {fails(403, "ExpiredTokenException", "The security token included in the request is expired"), response.Permanent, 0},
		"a wrong signature":      {fails(403, "InvalidSignatureException", "The Canonical String should have been 'x-amz-security-token:"+sessionToken+"'"), response.Permanent, 0},
		"no such function":       {fails(404, "ResourceNotFoundException", "Function not found: answer"), response.Permanent, 0},
		"a payload it refuses":   {fails(400, "InvalidRequestContentException", "no"), response.Permanent, 0},
		"a payload too large":    {fails(413, "RequestTooLargeException", "no"), response.Permanent, 0},
		"busy":                   {fails(429, "TooManyRequestsException", "Rate Exceeded.", "Retry-After: 3"), response.Transient, 3 * time.Second},
		"busy without a time":    {fails(429, "TooManyRequestsException", "Rate Exceeded."), response.Transient, 0},
		"being updated":          {fails(409, "ResourceConflictException", "An update is in progress"), response.Transient, 0},
		"starting":               {fails(409, "SnapStartNotReadyException", "not yet"), response.Transient, 0},
		"broken":                 {fails(500, "ServiceException", "internal"), response.Transient, 0},
		"without a network":      {fails(502, "ENILimitReachedException", "no"), response.Transient, 0},
		"a page of a proxy":      {answers(503, "<html>", "Content-Type: text/html"), response.Transient, 0},
		"a refusal without code": {answers(403, ""), response.Permanent, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, test.answer)
			_, err := newLambda(t, Config{Function: "answer"}, false).Respond(t.Context(), captured(t, "12"))
			if response.KindOf(err) != test.kind || response.RetryAfter(err) != test.after {
				t.Errorf("kind is %s, to come back after %s; want %s, %s", response.KindOf(err), response.RetryAfter(err), test.kind, test.after)
			}
			if len(c.made()) != 1 {
				t.Errorf("%d calls, want 1", len(c.made()))
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, err)
		})
	}
}

// Without credentials nothing is sent to Lambda, and it depends on their provider whether they may come later.
func TestCredentials(t *testing.T) {
	provider := func(t *testing.T, answer http.HandlerFunc) map[string]string {
		t.Helper()
		s := httptest.NewServer(answer)
		t.Cleanup(s.Close)
		return map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": s.URL + "/credentials"}
	}
	tests := map[string]struct {
		environ func(t *testing.T) map[string]string
		kind    response.Kind
		calls   int
	}{
		"none anywhere": {func(*testing.T) map[string]string { return nil }, response.Transient, 0},
		"from a provider": {func(t *testing.T) map[string]string {
			t.Helper()
			return provider(t, answers(200, fmt.Sprintf(`{"AccessKeyId":"AKID","SecretAccessKey":%q,"Token":%q,"Expiration":"2100-01-01T00:00:00Z"}`, secretKey, sessionToken)))
		}, response.Unknown, 1},
		"from a provider that refuses": {func(t *testing.T) map[string]string {
			t.Helper()
			return provider(t, answers(403, `{"code":"AccessDenied","message":"`+sessionToken+`"}`))
		}, response.Permanent, 0},
		"from a provider that is broken": {func(t *testing.T) map[string]string {
			t.Helper()
			return provider(t, answers(500, secretKey))
		}, response.Transient, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t, answers(200, "null"))
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
				t.Setenv(name, "")
			}
			for name, value := range test.environ(t) {
				t.Setenv(name, value)
			}
			_, err := newLambda(t, Config{Function: "answer"}, false).Respond(t.Context(), captured(t, "12"))
			if response.KindOf(err) != test.kind || len(c.made()) != test.calls {
				t.Errorf("kind is %s (%v), %d calls; want %s, %d", response.KindOf(err), err, len(c.made()), test.kind, test.calls)
			}
			outboundtest.AssertLeaksNoSecret(t, secrets, err)
		})
	}
}

func TestSettings(t *testing.T) {
	tests := map[string]struct {
		config Config
		wrong  string // the variable that the error names; empty where the settings are good
	}{
		"a name":                       {Config{Function: "answer_1-x"}, ""},
		"a name with an alias":         {Config{Function: "answer:live"}, ""},
		"a name with the latest":       {Config{Function: "answer:$LATEST"}, ""},
		"an ARN":                       {Config{Function: "arn:aws:lambda:eu-west-1:123456789012:function:answer"}, ""},
		"an ARN of China":              {Config{Function: "arn:aws-cn:lambda:cn-north-1:123456789012:function:answer:3"}, ""},
		"a part of an ARN":             {Config{Function: "123456789012:function:answer"}, ""},
		"an alias of its own":          {Config{Function: "answer", Qualifier: "live"}, ""},
		"a path":                       {Config{Function: "../../2015-03-31/functions/other"}, "LAMBDA_FUNCTION"},
		"a URL":                        {Config{Function: "https://abc.lambda-url.eu-west-1.on.aws/"}, "LAMBDA_FUNCTION"},
		"an ARN of something else":     {Config{Function: "arn:aws:sns:eu-west-1:123456789012:topic"}, "LAMBDA_FUNCTION"},
		"two aliases":                  {Config{Function: "answer:live", Qualifier: "live"}, "LAMBDA_QUALIFIER"},
		"the longest name and alias":   {Config{Function: strings.Repeat("a", 64) + ":" + strings.Repeat("b", 128)}, ""},
		"a name that is too long":      {Config{Function: strings.Repeat("a", 65)}, "LAMBDA_FUNCTION"},
		"an alias too long in it":      {Config{Function: "answer:" + strings.Repeat("b", 129)}, "LAMBDA_FUNCTION"},
		"the longest alias":            {Config{Function: "answer", Qualifier: strings.Repeat("b", 128)}, ""},
		"an alias that is too long":    {Config{Function: "answer", Qualifier: strings.Repeat("b", 129)}, "LAMBDA_QUALIFIER"},
		"an alias that cannot be":      {Config{Function: "answer", Qualifier: "a b"}, "LAMBDA_QUALIFIER"},
		"an alias with another inside": {Config{Function: "answer", Qualifier: "a:b"}, "LAMBDA_QUALIFIER"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.config.Validate()
			if (err != nil) != (test.wrong != "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("error is %v, want one about %q", err, test.wrong)
			}
		})
	}
}

func TestRegion(t *testing.T) {
	const arn = "arn:aws:lambda:us-east-2:123456789012:function:answer"
	tests := map[string]struct {
		function string
		environ  map[string]string
		fails    bool
	}{
		"in AWS_REGION":               {"answer", map[string]string{"AWS_REGION": "eu-west-1"}, false},
		"in AWS_DEFAULT_REGION":       {"answer", map[string]string{"AWS_DEFAULT_REGION": "eu-west-1"}, false},
		"in the ARN":                  {arn, nil, false},
		"nowhere":                     {"answer", nil, true},
		"in a profile that is not":    {"answer", map[string]string{"AWS_PROFILE": "nobody"}, true},
		"nowhere, in a part of one":   {"123456789012:function:answer", nil, true},
		"in an ARN against AWS's own": {arn, map[string]string{"AWS_REGION": "eu-west-1"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			setCloud(t, "http://127.0.0.1:1")
			t.Setenv("AWS_REGION", "")
			for name, value := range test.environ {
				t.Setenv(name, value)
			}
			_, err := newResponder(Config{Function: test.function, Type: "Event"}, response.Settings{})
			if (err != nil) != test.fails {
				t.Errorf("error is %v, want one: %t", err, test.fails)
			}
		})
	}
}
