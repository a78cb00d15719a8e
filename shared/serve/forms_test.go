package serve_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// form is one way in which an alert arrives over HTTP. It is nil where Falcosidekick sends nothing.
type form func(tb testing.TB, c testkit.Capture, url string) *http.Request

func structured(alert []byte) []byte {
	return fmt.Appendf(nil, `{"specversion":"1.0","id":"e-1","source":"https://falco.org","type":%q,"datacontenttype":"application/json","data":%s}`,
		falco.TypeFalcosidekick, alert)
}

func binaryHeaders(r *http.Request) *http.Request {
	for name, value := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "e-1", "Ce-Source": "https://falco.org", "Ce-Type": falco.TypeFalcosidekick,
	} {
		r.Header.Set(name, value)
	}
	return r
}

// forms are all of them, by name.
var forms = map[string]form{
	"Falcosidekick's CloudEvent": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return c.CloudEvent(tb, url)
	},
	"Falcosidekick's webhook": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return c.Webhook(tb, url)
	},
	"Falcosidekick to OpenFaaS": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return c.OpenFaaS(tb, url)
	},
	"Falco's own JSON": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return post(tb, url, "application/json", c.Alert)
	},
	"JSON that does not say so": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return post(tb, url, "", c.Alert)
	},
	"a binary CloudEvent": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return binaryHeaders(post(tb, url, "application/json", c.Alert))
	},
	"a binary CloudEvent of the router": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		r := binaryHeaders(post(tb, url, "application/json", c.Alert))
		r.Header.Set("Ce-Type", falco.TypeRiposte)
		return r
	},
	"a structured CloudEvent": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return post(tb, url, "application/cloudevents+json; charset=utf-8", structured(c.Alert))
	},
	"a structured CloudEvent that does not say so": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return post(tb, url, "application/json", structured(c.Alert))
	},
	"a structured CloudEvent in base64": func(tb testing.TB, c testkit.Capture, url string) *http.Request {
		tb.Helper()
		return post(tb, url, "application/cloudevents+json", fmt.Appendf(nil,
			`{"specversion":"1.0","id":"e-1","source":"https://falco.org","type":%q,"data_base64":%q}`,
			falco.TypeFalcosidekick, base64.StdEncoding.EncodeToString(c.Alert)))
	},
}

// carried is the alert that a request carries: what stands in its body, or in the capture.
func carried(tb testing.TB, name string, c testkit.Capture) []byte {
	tb.Helper()
	if !strings.HasPrefix(name, "Falcosidekick") {
		return c.Alert
	}
	body, err := io.ReadAll(forms[name](tb, c, "").Body)
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

func TestEveryCaptureInEveryForm(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, map[string]string{"MIN_PRIORITY": "Debug"})
	for _, c := range testkit.Captures(t) {
		// Two captures are not for responses: Falco and Falcosidekick about themselves.
		guarded := strings.HasPrefix(c.Name, "41-") || strings.HasPrefix(c.Name, "45-")
		for name, build := range forms {
			request := build(t, c, server.URL)
			if request == nil {
				continue
			}
			t.Run(c.Name+" as "+name, func(t *testing.T) {
				answer := send(t, request)
				if c.Rejected {
					if answer.status != http.StatusBadRequest || len(r.taken()) > 0 {
						t.Errorf("status is %d: want 400, and no response", answer.status)
					}
					refusedInOneLine(t, answer)
					return
				}
				want, err := falco.Decode(carried(t, name, c))
				if err != nil {
					t.Fatal(err)
				}
				e, record := outcome(t, answer)
				if record.AlertID != want.ID() || record.ID != e.ID() {
					t.Errorf("the outcome is about alert %s: want %s", record.AlertID, want.ID())
				}
				alerts := r.taken()
				if guarded {
					if record.Outcome != "refused" || len(alerts) > 0 {
						t.Errorf("outcome is %s after %d calls: want refused", record.Outcome, len(alerts))
					}
					return
				}
				if diff := cmp.Diff([]falco.Alert{want}, alerts); diff != "" {
					t.Errorf("alert in Respond (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(want.Compact(), record.Alert); diff != "" {
					t.Errorf("alert in the outcome (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestEveryCaptureInOneBatch(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	var events, ids []string
	var want []falco.Alert
	for _, c := range testkit.Captures(t) {
		if c.Rejected {
			continue
		}
		a, err := falco.Decode(c.Alert)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, a.ID())
		events = append(events, string(structured(c.Alert)))
		if !strings.HasPrefix(c.Name, "41-") && !strings.HasPrefix(c.Name, "45-") {
			want = append(want, a)
		}
	}
	body := []byte("[" + strings.Join(events, ",\n") + "]")
	answer := send(t, post(t, server.URL, "application/cloudevents-batch+json", body))
	if answer.status != http.StatusOK {
		t.Fatalf("status is %d: %s", answer.status, answer.body)
	}
	replies, err := cehttp.NewEventsFromHTTPResponse(&http.Response{Header: answer.header, Body: io.NopCloser(bytes.NewReader(answer.body))})
	if err != nil {
		t.Fatalf("the answer is no batch: %v", err)
	}
	var got []string
	for _, e := range replies {
		got = append(got, recordOf(t, e).AlertID)
	}
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("alerts of the outcomes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, r.taken()); diff != "" {
		t.Errorf("alerts in Respond (-want +got):\n%s", diff)
	}
}

// Other outputs of Falcosidekick, and other versions of it.
func TestOtherSenders(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	base := testkit.Find(t, "01")
	changed := func(change func(http.Header)) *http.Request {
		request := base.CloudEvent(t, server.URL)
		change(request.Header)
		return request
	}
	cases := map[string]*http.Request{
		"extensions of the operator":    testkit.CaptureRequest(t, "ce-ext/01-cloudevents.http", server.URL),
		"in-cluster, through a proxy":   testkit.CaptureRequest(t, "proxied-all/01-proxy.http", server.URL),
		"in-cluster, as Falco Talon's":  testkit.CaptureRequest(t, "proxied-all/03-proxy.http", server.URL),
		"2.29: extension event_source":  changed(func(h http.Header) { h.Del("Ce-Eventsource"); h.Set("Ce-Event_source", "syscall") }),
		"2.28: a second source":         changed(func(h http.Header) { h.Del("Ce-Eventsource"); h.Add("Ce-Source", "syscall") }),
		"2.28: the source is overruled": changed(func(h http.Header) { h.Del("Ce-Eventsource"); h.Set("Ce-Source", "syscall") }),
		"an attribute without a name":   changed(func(h http.Header) { h["Ce-"] = []string{"x"} }),
		"a time that is none":           changed(func(h http.Header) { h.Set("Ce-Time", "yesterday") }),
		"a schema that is none":         changed(func(h http.Header) { h.Set("Ce-Dataschema", "%zz") }),
		"an empty subject":              changed(func(h http.Header) { h.Set("Ce-Subject", "") }),
		"an older specversion":          changed(func(h http.Header) { h.Set("Ce-Specversion", "0.3") }),
		"headers of Knative": changed(func(h http.Header) {
			h.Set("Ce-Knativearrivaltime", "2026-01-01T00:00:00Z")
			h.Set("Prefer", "reply")
			h.Set("Kn-Namespace", "default")
		}),
		"a dead-lettered event": changed(func(h http.Header) { h.Set("Ce-Knativeerrordest", "http://x"); h.Set("Ce-Knativeerrorcode", "500") }),
	}
	want, err := falco.Decode(base.Alert)
	if err != nil {
		t.Fatal(err)
	}
	for name, request := range cases {
		t.Run(name, func(t *testing.T) {
			_, record := outcome(t, send(t, request))
			if record.AlertID != want.ID() || len(r.taken()) != 1 {
				t.Errorf("the outcome is about %s: want %s", record.AlertID, want.ID())
			}
		})
	}
}

// What is not an event of ours is refused for good, whatever is wrong with it.
func TestMalformedEvents(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	base := testkit.Find(t, "01")
	alert := string(base.Alert)
	changed := func(change func(http.Header)) *http.Request {
		request := base.CloudEvent(t, server.URL)
		change(request.Header)
		return request
	}
	const ce, batch, plain = "application/cloudevents+json", "application/cloudevents-batch+json", "application/json"
	body := func(contentType, body string) *http.Request { return post(t, server.URL, contentType, []byte(body)) }
	good := string(structured(base.Alert))
	small := string(structured([]byte(`{"rule":"R","priority":"Notice","time":"2026-01-01T00:00:00Z","output_fields":{"a":1}}`)))
	cases := map[string]*http.Request{
		"nothing":                             body("", ""),
		"nothing as JSON":                     body(plain, ""),
		"a form":                              body("application/x-www-form-urlencoded", "a=b"),
		"a gzipped body":                      body(plain, "\x1f\x8b\x08"),
		"two alerts":                          body(plain, alert+alert),
		"binary without id":                   changed(func(h http.Header) { h.Del("Ce-Id") }),
		"binary without type":                 changed(func(h http.Header) { h.Del("Ce-Type") }),
		"binary without source":               changed(func(h http.Header) { h.Del("Ce-Source") }),
		"binary with an empty type":           changed(func(h http.Header) { h.Set("Ce-Type", "") }),
		"binary of another type":              changed(func(h http.Header) { h.Set("Ce-Type", "com.example.created") }),
		"binary of a version to come":         changed(func(h http.Header) { h.Set("Ce-Specversion", "2.0") }),
		"binary without data":                 binaryHeaders(body(plain, "")),
		"binary around a structured one":      binaryHeaders(body(plain, good)),
		"structured, no JSON":                 body(ce, "{"),
		"structured, null":                    body(ce, "null"),
		"structured, a list":                  body(ce, "["+good+"]"),
		"structured, an alert":                body(ce, alert),
		"structured, empty":                   body(ce, "{}"),
		"structured without data":             body(ce, `{"specversion":"1.0","id":"e-1","source":"s","type":"falco.rule.output.v1"}`),
		"structured with data null":           body(ce, strings.Replace(good, alert, "null", 1)),
		"structured with data as text":        body(ce, strings.Replace(good, alert, `"x"`, 1)),
		"structured with bad base64":          body(ce, strings.Replace(good, `"data":`+alert, `"data_base64":"#"`, 1)),
		"structured with an id that is no id": body(ce, strings.Replace(good, `"e-1"`, `{"a":1}`, 1)),
		"structured with a bad time":          body(ce, strings.Replace(good, `"id"`, `"time":"x","id"`, 1)),
		"structured with a number as version": body(plain, strings.Replace(good, `"1.0"`, `1.0`, 1)),
		"structured with the version null":    body(plain, strings.Replace(good, `"1.0"`, `null`, 1)),
		"structured with an alien extension":  body(ce, strings.Replace(good, `"id"`, `"x_y":"z","id"`, 1)),
		"structured of another type":          body(ce, strings.Replace(good, falco.TypeFalcosidekick, "com.example.created", 1)),
		"batch, no JSON":                      body(batch, "["),
		"batch, one event":                    body(batch, good),
		"batch, null":                         body(batch, "null"),
		"batch, empty":                        body(batch, "[]"),
		"batch of null":                       body(batch, "[null]"),
		"batch of numbers":                    body(batch, "[1]"),
		"batch of alerts":                     body(batch, "["+alert+"]"),
		"batch with one of another type":      body(batch, "["+strings.Replace(good, falco.TypeFalcosidekick, "x", 1)+"]"),
		"batch with too many":                 body(batch, "["+strings.Repeat(small+",", 1000)+small+"]"),
	}
	for name, request := range cases {
		t.Run(name, func(t *testing.T) {
			answer := send(t, request)
			if answer.status != http.StatusBadRequest || len(r.taken()) > 0 {
				t.Errorf("status is %d: want 400, and no response", answer.status)
			}
			refusedInOneLine(t, answer)
		})
	}
}

// JSON in alerts may be written in any way; what says it is JSON may be, too.
func TestContentTypes(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	c := testkit.Find(t, "01")
	for _, contentType := range []string{
		"", "application/json", "application/json; charset=utf-8", "text/plain", "APPLICATION/JSON", "application/octet-stream", "not/a/type;;", "\"",
	} {
		if answer := send(t, post(t, server.URL, contentType, c.Alert)); answer.status != http.StatusOK {
			t.Errorf("%q: status is %d: %s", contentType, answer.status, answer.body)
		}
	}
	for _, contentType := range []string{
		event.ApplicationCloudEventsJSON, "Application/CloudEvents+JSON", "application/cloudevents+json;charset=UTF-8", "text/plain", "",
	} {
		if answer := send(t, post(t, server.URL, contentType, structured(c.Alert))); answer.status != http.StatusOK {
			t.Errorf("structured as %q: status is %d: %s", contentType, answer.status, answer.body)
		}
	}
	indented, err := json.MarshalIndent(json.RawMessage(c.Alert), "\t", "    ")
	if err != nil {
		t.Fatal(err)
	}
	if answer := send(t, post(t, server.URL, "application/json", indented)); answer.status != http.StatusOK {
		t.Errorf("indented: status is %d: %s", answer.status, answer.body)
	}
}

// No input is known that makes the SDK panic any more; one that is not known must not end the process.
func TestSurvive(t *testing.T) {
	decode := func(panics bool) (err error) {
		defer serve.Survive(&err)
		if panics {
			panic("boom")
		}
		return nil
	}
	if decode(true) == nil || decode(false) != nil {
		t.Errorf("with a panic %v, without %v", decode(true), decode(false))
	}
}
