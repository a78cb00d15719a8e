package function

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/deadletter"
	"github.com/riposte-dev/riposte/shared/testkit"
)

const structuredType = "Content-Type: application/cloudevents+json"

func TestEverythingIsKept(t *testing.T) {
	t.Parallel()
	const one = `{"specversion":"1.0","id":"%s","type":"x","source":"/x","datacontenttype":"application/json","data":{"a": 1e40}}`
	structured := func(id string) string { return fmt.Sprintf(one, id) }
	places := map[string]place{"in a folder": folder(t), "in a bucket": bucket(artifacttest.Start(t))}
	tests := map[string]struct {
		body   string
		header []string
		// want are type, id and data of what is kept, in the order of the names.
		want []string
	}{
		"an event in binary mode":             {`{"a": 1e40}`, binary(), []string{`x 1 {"a": 1e40}`}},
		"an event without data":               {"", binary(), []string{"x 1 "}},
		"an event with data of no known type": {"\xff\x00", binary("Content-Type: x/y"), []string{"x 1 \xff\x00"}},
		"a structured event":                  {structured("2"), []string{structuredType}, []string{`x 2 {"a": 1e40}`}},
		"one that does not say so":            {structured("3"), nil, []string{`x 3 {"a": 1e40}`}},
		"a batch": {
			"[" + structured("4") + "," + structured("5") + "]",
			[]string{"Content-Type: application/cloudevents-batch+json"},
			[]string{`x 4 {"a": 1e40}`, `x 5 {"a": 1e40}`},
		},
		"a batch with something else in it": {
			"[" + structured("6") + `,{"b":1}]`,
			[]string{"Content-Type: application/cloudevents-batch+json"},
			[]string{`x 6 {"a": 1e40}`, deadletter.TypeDiscarded + ` * {"b":1}`},
		},
		"a batch of nothing":                    {"[]", []string{"Content-Type: application/cloudevents-batch+json"}, []string{deadletter.TypeDiscarded + " * []"}},
		"a batch that is none":                  {"{", []string{"Content-Type: application/cloudevents-batch+json"}, []string{deadletter.TypeDiscarded + " * {"}},
		"a batch of more than any function has": {"[" + strings.Repeat("1,", 100) + "1]", []string{"Content-Type: application/cloudevents-batch+json"}, []string{deadletter.TypeDiscarded + " * [" + strings.Repeat("1,", 100) + "1]"}},
		"a bare alert":                          {`{"rule":"r"}`, []string{"Content-Type: application/json"}, []string{deadletter.TypeDiscarded + ` * {"rule":"r"}`}},
		"nothing":                               {"", nil, []string{deadletter.TypeDiscarded + " * "}},
		"bytes":                                 {"\x00\xff", []string{"Content-Type: ;;;"}, []string{deadletter.TypeDiscarded + " * \x00\xff"}},
		"an event without an id":                {"{}", binary("Ce-Id: "), []string{deadletter.TypeDiscarded + " * {}"}},
		"an event of another version":           {"[7]", binary("Ce-Specversion: 7"), []string{deadletter.TypeDiscarded + " * [7]"}},
		"an attribute with an illegal name":     {"{}", binary("Ce-Event_source: x", "Ce-: y", "Ce-A: z"), []string{"x 1 {}"}},
		"an event of an older version":          {"\xff[3]", binary("Ce-Specversion: 0.3"), []string{"x 1 \xff[3]"}},
		"a structured event that is cut off":    {structured("9")[:40], []string{structuredType}, []string{deadletter.TypeDiscarded + " * " + structured("9")[:40]}},
	}
	for where, p := range places {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			f := keeps(t, p, settings{"LOG_LEVEL": "ERROR"})
			for name, tc := range tests {
				before := p.objects(t)
				expect(t, f, 204, tc.body, tc.header...)
				expect(t, f, 204, tc.body, tc.header...) // A repeat, as the Broker sends one where the answer was lost.
				after := p.objects(t)
				maps.DeleteFunc(after, func(key string, _ []byte) bool { return before[key] != nil })
				var got []string
				for _, key := range slices.Sorted(maps.Keys(after)) {
					e := parse(t, after[key])
					id := e.ID()
					if e.Type() == deadletter.TypeDiscarded {
						id = "*"
					}
					got = append(got, e.Type()+" "+id+" "+string(e.Data()))
				}
				slices.Sort(got)
				slices.Sort(tc.want)
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("%s: what is kept (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// What Falcosidekick sends is kept byte for byte, in whatever way it came.
func TestCapturesAreKept(t *testing.T) {
	t.Parallel()
	p := folder(t)
	f := keeps(t, p, nil)
	for _, c := range testkit.Captures(t) {
		if c.Rejected { // Falcosidekick sends nothing of it.
			continue
		}
		for way, request := range map[string]*http.Request{"cloudevents": c.CloudEvent(t, ""), "webhook": c.Webhook(t, "")} {
			if request == nil { // Not every way was recorded of each.
				continue
			}
			body, err := io.ReadAll(request.Body)
			if err != nil {
				t.Fatal(err)
			}
			request.Body = io.NopCloser(bytes.NewReader(body))
			w := httptest.NewRecorder()
			if f.Handle(w, request); w.Code != http.StatusNoContent {
				t.Fatalf("%s by %s is answered %d", c.Name, way, w.Code)
			}
			found := false
			for _, text := range p.objects(t) {
				e := parse(t, text)
				found = found || string(e.Data()) == string(body) && (e.Type() == deadletter.TypeDiscarded) == (way == "webhook")
			}
			if !found {
				t.Errorf("%s by %s is not kept as it came", c.Name, way)
			}
		}
	}
}

// What a dead letter is kept as says what the router's does.
func TestObject(t *testing.T) {
	t.Parallel()
	p := folder(t)
	at := time.Now().UTC().Truncate(0)
	expect(t, keeps(t, p, nil), 204, `{"a": 1e40}`, binary("Ce-Time: "+at.Format(time.RFC3339Nano), "Ce-Rule: Terminal shell", "Ce-Knativebrokerttl: 254")...)
	for name, text := range p.objects(t) {
		if want := regexp.QuoteMeta(at.Format("dead/2006/01/02/150405.000000000")) + `-delete-pod-1-[0-9a-f]{16}\.json`; !regexp.MustCompile("^" + want + "$").MatchString(name) {
			t.Errorf("the name is %s", name)
		}
		want := `{"specversion":"1.0","id":"1","source":"/x","type":"x","datacontenttype":"application/json","time":"` + at.Format(time.RFC3339Nano) +
			`","knativebrokerttl":"254","knativeerrorcode":500,"knativeerrordata":"bm8=","knativeerrordest":"http://delete-pod.riposte.svc.cluster.local","rule":"Terminal shell","data":{"a": 1e40}}`
		if diff := cmp.Diff(want, string(text)); diff != "" {
			t.Errorf("the object (-want +got):\n%s", diff)
		}
	}
}

func TestWhoFailed(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"http://delete-pod.riposte.svc.cluster.local":                      "delete-pod",
		"http://delete-pod.riposte.svc.cluster.local/":                     "delete-pod",
		"https://slack:8443/a/b":                                           "slack",
		"http://gateway.openfaas:8080/function/isolate.openfaas-fn":        "isolate",
		"http://gateway.openfaas:8080/async-function/isolate.openfaas-fn/": "isolate",
		"http://127.0.0.1:8080/x":                                          "127.0.0.1",
		"http://[::1]:8080/x":                                              "1",
		"":                                                                 unknown, "/path": unknown, "http://%zz": unknown, "http://../": unknown, "http://é": unknown,
		"http://gateway/function/": unknown,
	} {
		if got := functionAt(address); got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}

func TestWhenItFailed(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 7, time.UTC)
	day, own, came := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), now.Add(-time.Hour), now.Add(-time.Minute)
	for name, tc := range map[string]struct {
		own     time.Time
		arrived any
		want    time.Time
	}{
		"neither":                     {time.Time{}, nil, day},
		"its own time":                {own, nil, own},
		"when the Broker got it":      {own, came.Format(time.RFC3339Nano), came},
		"an arrival that is no time":  {own, "yesterday", own},
		"a time long ago":             {now.AddDate(-1, 0, 0), nil, day},
		"a time in the far future":    {now.AddDate(1000, 0, 0), nil, day},
		"an arrival in the year zero": {own, "0000-01-01T00:00:00Z", own},
	} {
		e := event.New()
		if !tc.own.IsZero() {
			e.SetTime(tc.own)
		}
		if tc.arrived != nil {
			e.SetExtension(arrival, tc.arrived)
		}
		if got := when(e, now); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// Who sends an event with the id and the time of another does not take its place.
func TestForgeryTakesNoPlace(t *testing.T) {
	t.Parallel()
	p := folder(t)
	f := keeps(t, p, nil)
	now := "Ce-Time: " + time.Now().Format(time.RFC3339Nano)
	expect(t, f, 204, `{"real":1}`, binary(now)...)
	expect(t, f, 204, `{"forged":1}`, binary(now)...)
	expect(t, f, 204, `{"real":1}`, binary(now, "Ce-Knativeerrordest: http://isolate.riposte.svc.cluster.local")...)
	if found := p.objects(t); len(found) != 3 {
		t.Errorf("there are %d dead letters: %v", len(found), slices.Collect(maps.Keys(found)))
	}
}

func TestWhoMaySend(t *testing.T) {
	t.Parallel()
	p := folder(t)
	f := keeps(t, p, settings{"AUTH_TOKEN": "t0ken"})
	expect(t, f, 401, "{}", binary()...)
	expect(t, f, 401, "{}", binary("Authorization: Bearer wrong")...)
	if found := p.objects(t); len(found) != 0 {
		t.Errorf("%d dead letters of strangers are kept", len(found))
	}
	expect(t, f, 204, "{}", binary("Authorization: Bearer t0ken")...)
}

// The log has no text of an alert, and nothing that a stranger could write lines with.
func TestLogAndMetrics(t *testing.T) {
	t.Parallel()
	f := keeps(t, folder(t), nil)
	expect(t, f, 204, `{"rule":"s3cret"}`, binary("Ce-Id: a\tb"+strings.Repeat("c", 500), "Ce-Rule: s3cret")...)
	expect(t, f, 204, "s3cret")
	for result, want := range map[string]string{"kept": "1", "discarded": "1", "failed": "0"} {
		if got := metric(t, f, `riposte_dead_letters_total{result="`+result+`"}`); got != want {
			t.Errorf("%s are %q, want %q", result, got, want)
		}
	}
	log := f.Log(t)
	if strings.Contains(log, "s3cret") || strings.Contains(log, strings.Repeat("c", 100)) {
		t.Errorf("the log says too much: %s", log)
	}
	if n := strings.Count(log, `"msg":"dead letter kept"`); n != 2 {
		t.Errorf("the log has %d lines of dead letters:\n%s", n, log)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		environ settings
		wrong   string
	}{
		"a folder":         {settings{"DEAD_LETTER_URL": "file:///dead"}, ""},
		"a bucket":         {settings{"DEAD_LETTER_URL": "s3://b/p?region=eu-west-1"}, ""},
		"none":             {settings{}, "DEAD_LETTER_URL is not set"},
		"another service":  {settings{"DEAD_LETTER_URL": "http://dead-letter"}, `DEAD_LETTER_URL is "http://dead-letter"`},
		"a password in it": {settings{"DEAD_LETTER_URL": "s3://user:hunter2@b"}, `DEAD_LETTER_URL is "s3://...@b"`},
		"a token of none":  {settings{"DEAD_LETTER_URL": "file:///dead", "AUTH_TOKEN": " \n "}, "AUTH_TOKEN"},
	} {
		err := config.Load(tc.environ, new(Config))
		if (err == nil) != (tc.wrong == "") || err != nil && (!strings.Contains(err.Error(), tc.wrong) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A folder that takes nothing is told at the start, not by the first dead letter.
func TestFolderThatTakesNothing(t *testing.T) {
	t.Parallel()
	err := New().Start(t.Context(), settings{"DEAD_LETTER_URL": "file:///proc/self"})
	if err == nil || !strings.HasPrefix(err.Error(), "DEAD_LETTER_URL: ") {
		t.Errorf("the error is %v", err)
	}
}
