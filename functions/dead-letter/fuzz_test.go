package function

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/riposte-dev/riposte/shared/deadletter"
	"github.com/riposte-dev/riposte/shared/serve"
)

// Whatever comes becomes dead letters that can be written, read back, and named.
func FuzzRead(f *testing.F) {
	f.Add("application/json", "1.0", "1", "x", "http://delete-pod", "500", `{"a":1}`)
	f.Add("application/cloudevents+json", "", "", "", "", "", `{"specversion":"1.0","id":"1","type":"x","source":"/x","data":{"a":1}}`)
	f.Add("application/cloudevents-batch+json", "", "", "", "", "", `[{"specversion":"1.0","id":"1","type":"x","source":"/x","data_base64":"AA=="},{}]`)
	f.Add("", "0.3", "\x00", "Y˛", "http://../function/", "1-1", "s\x82\x8c\xf0") // Data of version 0.3 is written in another way.
	f.Add("", "0.3", "\x00", "", "http://../function/", "-1", "\xff")
	f.Fuzz(func(t *testing.T, mediaType, version, id, kind, where, code, body string) {
		header := http.Header{}
		for name, value := range map[string]string{
			"Content-Type": mediaType, "Ce-Specversion": version, "Ce-Id": id, "Ce-Type": kind, "Ce-Source": "/x",
			"Ce-Knativeerrordest": where, "Ce-Knativeerrorcode": code, "Ce-" + kind: code,
		} {
			if value != "" {
				header.Set(name, value)
			}
		}
		letters := read(serve.Request{Header: header, Body: []byte(body)}, time.Now())
		if len(letters) == 0 {
			t.Fatal("nothing is kept")
		}
		for _, l := range letters {
			text, err := deadletter.Encode(l.event)
			if err != nil {
				t.Fatal(err)
			}
			var back event.Event
			if err := json.Unmarshal(text, &back); err != nil || string(back.Data()) != string(l.event.Data()) {
				t.Fatalf("%s comes back as %s (%v)", text, back, err)
			}
			name := deadletter.Name(l.event, l.function, l.at)
			if len(name) > 220 || strings.Contains(name, "/.") || strings.Count(name, "/") != 4 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Fatalf("the name is %q", name)
			}
		}
	})
}
