package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// An outcome is written as the SDK would write it, header for header.
func TestAnswersAreWhatTheSDKWrites(t *testing.T) {
	build := func(change func(*event.Event)) event.Event {
		e := event.New()
		e.SetID("1")
		e.SetType(response.TypeOutcome)
		e.SetSource("/functions/a")
		if change != nil {
			change(&e)
		}
		return e
	}
	for name, e := range map[string]event.Event{
		"an outcome": build(func(e *event.Event) {
			e.SetSubject("namespaces/shop/pods/cart-0")
			e.SetTime(time.Date(2026, 1, 1, 1, 2, 3, 450, time.FixedZone("", 3600)))
			for _, name := range []string{"response", "outcome", "rule", "priority", "eventsource", "k8snamespace", "alertid"} {
				e.SetExtension(name, "the "+name)
			}
			response.SetHops(e, 3)
			e.SetDataContentType(event.ApplicationJSON)
			e.DataEncoded = []byte(`{"a":1}`)
		}),
		"nothing but what it must have": build(nil),
		"no data":                       build(func(e *event.Event) { e.SetDataContentType(event.ApplicationJSON) }),
		"a schema":                      build(func(e *event.Event) { e.SetDataSchema("https://a/b") }),
		"other extensions": build(func(e *event.Event) {
			e.SetExtension("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			e.SetExtension("x1y", true)
			e.SetExtension("5", 7)
			e.SetExtension("at", time.Unix(1, 5))
			e.SetExtension("bytes", []byte("x"))
			e.SetExtension("where", url.URL{Scheme: "https", Host: "a", Path: "/b c"})
			e.SetExtension("empty", "")
		}),
		"text that needs care": build(func(e *event.Event) {
			e.SetSource("/functions/a b?c=%zz")
			e.SetSource("/functions/ä")
			e.SetSubject("é\n")
			e.SetExtension("rule", "a\r\nb  c")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			header, body, err := serve.BinaryMode(e)
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			if err := cehttp.WriteResponseWriter(t.Context(), binding.ToMessage(&e), http.StatusOK, w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string][]string(w.Header()), map[string][]string(header)); diff != "" {
				t.Errorf("header (-SDK +ours):\n%s", diff)
			}
			if !bytes.Equal(w.Body.Bytes(), body) {
				t.Errorf("body is %q, the SDK's %q", body, w.Body)
			}
		})
	}
}

// bySDK reads an event in binary mode as the SDK does.
func bySDK(ctx context.Context, header http.Header, body []byte) (*event.Event, error) {
	r := &http.Request{Method: http.MethodPost, Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
	return cehttp.NewEventFromHTTPRequest(r.WithContext(ctx))
}

// FuzzReadBinary holds the reader against the SDK's.
func FuzzReadBinary(f *testing.F) {
	f.Add("1.0", "1", falco.TypeFalcosidekick, "https://falco.org", "2026-01-01T00:00:00Z", "application/json", "rule", "A", []byte("{}"))
	f.Add("0.3", " 2 ", "t", "/a b", "yesterday", "text/plain; charset=utf-8", "hops", "2", []byte("x"))
	f.Add("1.0", "", "", "%zz", "", "", "event_source", "syscall", []byte(nil))
	f.Add("2.0", "1", "t", "urn:a", "2026-01-01T00:00:00.123456789+01:00", "application/xml", "dataschema", "https://a/b", []byte("<a/>"))
	f.Add("1.0", "1", "t", "/s", "2026-01-01T00:00:00Z", "a/b", "subject", "", []byte("\x00"))
	f.Add("0.3", "1", "t", "/s", "2026-01-01T00:00:00Z", "a/b", "schemaurl", "https://a/b", []byte("1"))
	f.Fuzz(func(t *testing.T, version, id, kind, source, at, content, name, value string, body []byte) {
		header := http.Header{}
		for n, v := range map[string]string{
			"Ce-Specversion": version, "Ce-Id": id, "Ce-Type": kind, "Ce-Source": source, "Ce-Time": at, "Content-Type": content, "Ce-" + name: value,
		} {
			if n != "Ce-" { // at which the SDK panics
				header.Set(n, v)
			}
		}
		if strings.HasPrefix(content, "application/cloudevents") { // which is another mode
			return
		}
		if version == "0.3" && !regexp.MustCompile(`^[A-Za-z0-9]+$`).MatchString(name) { // which the SDK takes or refuses by chance
			return
		}
		want, wrong := bySDK(t.Context(), header, body)
		got, err := serve.ReadBinary(header, body)
		if (err == nil) != (wrong == nil) {
			t.Fatalf("it says %v, the SDK %v", err, wrong)
		}
		if err == nil && !reflect.DeepEqual(*want, got) {
			t.Errorf("it reads %#v, the SDK %#v", got, *want)
		}
	})
}

// An error of the reader names what is wrong.
func TestBinaryModeThatIsWrong(t *testing.T) {
	good := http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Type": {"t"}, "Ce-Source": {"/s"}}
	for header, c := range map[string]struct{ value, want string }{
		"Ce-Specversion": {"2.0", `specversion is "2.0"`}, "Ce-Id": {"", `ce-id is ""`}, "Ce-Source": {"%zz", `ce-source is "%zz"`},
		"Ce-Time": {"yesterday", `ce-time is "yesterday"`}, "Ce-A_b": {"x", `ce-a_b is "x"`}, "Ce-": {"x", `ce- is "x"`},
	} {
		t.Run(header, func(t *testing.T) {
			all := good.Clone()
			all[header] = []string{c.value}
			if _, err := serve.ReadBinary(all, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("it gives %v, want an error with %s", err, c.want)
			}
		})
	}
	if _, err := serve.ReadBinary(http.Header{"Ce-Specversion": nil, "Ce-Id": nil}, nil); err == nil {
		t.Error("headers without values are read")
	}
}

// An event that is read the short way is what is read the long way.
func TestUsualEventsAreReadInFull(t *testing.T) {
	body := testkit.Find(t, "02").Alert
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	usual := http.Header{"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Type": {falco.TypeFalcosidekick}, "Ce-Source": {"https://falco.org"}}
	for name, c := range map[string]struct {
		values map[string][]string
		long   bool
	}{
		"Falcosidekick's":      {values: map[string][]string{"Ce-Rule": {"A"}, "Ce-Time": {"2026-01-01T00:00:00Z"}, "Ce-": {"x"}, "Ce-_": {"y"}}},
		"with a character set": {values: map[string][]string{"Content-Type": {"application/json; charset=utf-8"}}}, "with other parameters": {values: map[string][]string{"Content-Type": {"Application/JSON; a=b"}}},
		"a function's source": {values: map[string][]string{"Ce-Source": {"/functions/label"}}}, "a source with a port": {values: map[string][]string{"Ce-Source": {"https://falco.org:8080/a?b=c#d"}}},
		"a name as source": {values: map[string][]string{"Ce-Source": {"urn:falco"}}}, "a relative source": {values: map[string][]string{"Ce-Source": {"falco"}}},
		"in a trace": {values: map[string][]string{"Ce-Traceparent": {parent}, "Ce-Tracestate": {"a=b"}}}, "in a hop's trace": {values: map[string][]string{"Traceparent": {parent}}},
		"no trace": {values: map[string][]string{"Ce-Traceparent": {"x"}}}, "two ids": {values: map[string][]string{"Ce-Id": {"1", "2"}}},

		"an unusual source": {values: map[string][]string{"Ce-Source": {"HTTPS://falco.org/ä b"}}, long: true}, "no source at all": {values: map[string][]string{"Ce-Source": {"%zz"}}, long: true},
		"an id with blanks": {values: map[string][]string{"Ce-Id": {" 1 "}}, long: true}, "no id": {values: map[string][]string{"Ce-Id": {" "}}, long: true}, "no type": {values: map[string][]string{"Ce-Type": nil}, long: true},
		"an old format": {values: map[string][]string{"Ce-Specversion": {"0.3"}}, long: true}, "an unknown format": {values: map[string][]string{"Ce-Specversion": {"2.0"}}, long: true},
		"another type of body": {values: map[string][]string{"Content-Type": {"text/plain"}}, long: true}, "no type of body": {values: map[string][]string{"Content-Type": nil}, long: true},
		"a CloudEvent in a body": {values: map[string][]string{"Content-Type": {"application/cloudevents+json"}}, long: true}, "hops": {values: map[string][]string{"Ce-Hops": {"2"}}, long: true},
	} {
		t.Run(name, func(t *testing.T) {
			header := maps.Clone(usual)
			maps.Copy(header, c.values)
			got, ok := serve.Usual(t.Context(), header, body)
			if ok == c.long {
				t.Fatalf("it is read the long way: %v", !ok)
			}
			want, err := serve.DecodeBinary(t.Context(), header, body)
			if !ok {
				return
			}
			if err != nil || !reflect.DeepEqual(want, got) {
				t.Errorf("it reads %+v, in full %+v, %v", got, want, err)
			}
		})
	}
	if _, ok := serve.Usual(t.Context(), usual, nil); ok {
		t.Error("an event without data is read the short way")
	}
}

// A body is read whole, whatever the request says of its length.
func TestBodiesOfAnyLength(t *testing.T) {
	r := &recorder{}
	server := listen(t, r, nil)
	alert := testkit.Find(t, "02").Alert
	for _, blanks := range []int{0, 511 - len(alert)%511, 8<<10 - len(alert) - 1, 8<<10 - len(alert), 8<<10 - len(alert) + 1, 100_000} {
		body := append(bytes.Repeat([]byte(" "), blanks), alert...)
		for _, known := range []bool{true, false} {
			request := post(t, server.URL, "application/json", body)
			if !known {
				request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), -1
			}
			if answer := send(t, request); answer.status != http.StatusOK || len(r.taken()) != 1 {
				t.Errorf("%d blanks before an alert: status is %d: %s", blanks, answer.status, answer.body)
			}
		}
	}
}

// An outcome that is given again belongs to the trace of whoever asks for it, and to no other.
func TestRepeatsBelongToTheirOwnTraces(t *testing.T) {
	const first, second = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	server := listen(t, &recorder{}, map[string]string{"CLAIMS": "memory"})
	var body []byte
	for i, parent := range []string{"", "", first, "", second, ""} {
		request := testkit.Find(t, "02").CloudEvent(t, server.URL)
		if parent != "" {
			request.Header.Set("Ce-Traceparent", parent)
		}
		answer := send(t, request)
		e, _ := outcome(t, answer)
		if carried, _ := e.Extensions()["traceparent"].(string); carried != parent {
			t.Errorf("answer %d is of %q, want %q", i, carried, parent)
		}
		if i > 0 && !bytes.Equal(answer.body, body) {
			t.Errorf("answer %d is\n%s\nafter\n%s", i, answer.body, body)
		}
		body = answer.body
	}
}

// slow is a writer that takes its time: something else is answered before it has written.
type slow struct {
	*httptest.ResponseRecorder
	meanwhile func()
}

func (s slow) Write(p []byte) (int, error) {
	s.meanwhile()
	return s.ResponseRecorder.Write(p)
}

// Answers are encoded in room that is used again, and not before they are written.
func TestAnswersDoNotMix(t *testing.T) {
	f := start(t, &recorder{}, map[string]string{"CLAIMS": "memory"})
	alert := testkit.Find(t, "02").Alert
	var ask func(deep int)
	ask = func(deep int) {
		body := bytes.Replace(alert, []byte("Terminal shell in container"), fmt.Appendf(nil, "rule %d", deep), 1)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		w := slow{httptest.NewRecorder(), func() {
			if deep < 4 {
				ask(deep + 1)
			}
		}}
		f.Handle(w, r)
		_, record := outcome(t, reply{w.Code, w.Header(), w.Body.Bytes()})
		if want := fmt.Sprintf("rule %d", deep); record.Alert.Rule != want {
			t.Errorf("the answer to an alert of %s is about %s", want, record.Alert.Rule)
		}
	}
	ask(1)
	ask(2) // out of the function's memory
}
