package serve_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// FuzzHandler: no request, of whatever form, ends in a panic or a 5xx, nor does a payload on Lambda; what is refused
// is refused in one line, and what is answered is answered with valid events.
func FuzzHandler(f *testing.F) {
	const ce, batch, plain = "application/cloudevents+json", "application/cloudevents-batch+json", "application/json"
	for _, c := range testkit.Captures(f) {
		f.Add(plain, "", "", "", "", "", "", c.Alert)
		f.Add(plain, "1.0", "1", falco.TypeFalcosidekick, "https://falco.org", "Rule", "x", c.Alert)
		f.Add(ce, "", "", "", "", "", "", structured(c.Alert))
		f.Add(batch, "", "", "", "", "", "", append(append([]byte("["), structured(c.Alert)...), ']'))
		f.Add(plain, "", "", "", "", "", "", encode(f, queue(string(c.Alert), "x")))
	}
	alert := testkit.Find(f, "01").Alert
	own := start(f, &recorder{}, nil)
	outcomes, err := own.Lambda(f.Context(), alert)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ce, "", "", "", "", "", "", encode(f, outcomes))
	f.Add(ce, "", "", "", "", "", "", bytes.ReplaceAll(encode(f, outcomes), []byte("recorder"), []byte("other")))
	f.Add(plain, "0.3", "1", response.TypeOutcome, "s", "", "", alert)
	f.Add(plain, "2.0", "\x00", "x\ny", "%zz", "_", "\r\nCe-Id: 2", []byte("{}"))
	for _, payload := range []any{
		delivery(notification(awsForm(f, "aws-sns/01.http"))), queue(string(encode(f, notification(awsForm(f, "aws-sns/01.http"))))),
		stream(awsJSON(f, "aws-kinesis/01.http", "Data")), bridged(alert), toURL("POST", binary, string(alert), false),
	} {
		f.Add(plain, "", "", "", "", "", "", encode(f, payload))
	}

	// Every refused event is an error in the log: nobody reads millions of them.
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		f.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = null
	function := start(f, &recorder{}, nil)
	os.Stderr = stderr

	f.Fuzz(func(t *testing.T, contentType, specVersion, id, kind, source, extension, value string, body []byte) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		for name, value := range map[string]string{
			"Content-Type": contentType, "Ce-Specversion": specVersion, "Ce-Id": id, "Ce-Type": kind, "Ce-Source": source,
			http.CanonicalHeaderKey("Ce-" + extension): value,
		} {
			if value != "" {
				request.Header[name] = []string{value}
			}
		}
		recorded := httptest.NewRecorder()
		function.Handle(recorded, request)
		answer := reply{recorded.Code, recorded.Header(), recorded.Body.Bytes()}
		switch answer.status {
		case http.StatusOK:
			valid(t, recorded.Result())
		case http.StatusNoContent:
			if len(answer.body) > 0 {
				t.Errorf("204 with %q", answer.body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			refusedInOneLine(t, answer)
		default:
			t.Errorf("status is %d: %s", answer.status, answer.body)
		}
		for name, values := range answer.header {
			for _, value := range values {
				if bytes.ContainsFunc([]byte(value), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
					t.Errorf("%s is %q: not a value of a header", name, value)
				}
			}
		}

		result, err := function.Lambda(t.Context(), body)
		switch {
		case err != nil && err.Error() == "":
			t.Error("on Lambda, refused without a reason")
		case err != nil && response.KindOf(err) != response.Invalid:
			t.Errorf("on Lambda, an error of kind %s: %v", response.KindOf(err), err)
		case err == nil:
			if _, err := json.Marshal(result); err != nil {
				t.Errorf("on Lambda, an answer that cannot be sent: %v", err)
			}
		}
	})
}

// valid checks that an answer is a valid event, or a batch of them.
func valid(t *testing.T, r *http.Response) {
	t.Helper()
	var events []event.Event
	if r.Header.Get("Content-Type") == event.ApplicationCloudEventsBatchJSON {
		batch, err := cehttp.NewEventsFromHTTPResponse(r)
		if err != nil {
			t.Fatalf("the answer is no batch: %v", err)
		}
		events = batch
	} else {
		e, err := cehttp.NewEventFromHTTPResponse(r)
		if err != nil {
			t.Fatalf("the answer is no event: %v", err)
		}
		events = []event.Event{*e}
	}
	for _, e := range events {
		recordOf(t, e)
	}
}
