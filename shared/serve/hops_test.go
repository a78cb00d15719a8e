package serve_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// In whatever form an event comes, it says how many functions answered one another up to it.
func TestDecodeReadsHops(t *testing.T) {
	alert := testkit.Find(t, "03").Alert
	binary := func(hops string) serve.Request {
		r := http.Request{Header: http.Header{"Content-Type": {"application/json"}}}
		binaryHeaders(&r)
		if hops != "" {
			r.Header.Set("Ce-Hops", hops)
		}
		return serve.Request{Header: r.Header, Body: alert}
	}
	event := func(hops string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":"e-1","source":"/x","type":%q%s,"data":%s}`, falco.TypeFalcosidekick, hops, alert)
	}
	in := func(mediaType, body string) serve.Request {
		return serve.Request{Header: http.Header{"Content-Type": {mediaType}}, Body: []byte(body)}
	}
	for name, c := range map[string]struct {
		request serve.Request
		want    []int
	}{
		"a bare alert":                           {in("application/json", string(alert)), []int{0}},
		"in a header":                            {binary("3"), []int{3}},
		"in no header":                           {binary(""), []int{0}},
		"in a header, too many":                  {binary("4000000000"), []int{8}},
		"in a header, no number":                 {binary("x"), []int{0}},
		"in the event":                           {in("application/cloudevents+json", event(`,"hops":3`)), []int{3}},
		"in the event, as text":                  {in("application/cloudevents+json", event(`,"hops":"3"`)), []int{3}},
		"in the event, too many":                 {in("application/cloudevents+json", event(`,"hops":2147483647`)), []int{8}},
		"in the event, below zero":               {in("application/cloudevents+json", event(`,"hops":-3`)), []int{0}},
		"nowhere in the event":                   {in("application/cloudevents+json", event("")), []int{0}},
		"in a body that does not say what it is": {in("", event(`,"hops":2`)), []int{2}},
		"each of a batch":                        {in("application/cloudevents-batch+json", "["+event(`,"hops":1`)+","+event("")+","+event(`,"hops":7`)+"]"), []int{1, 0, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			events, err := serve.Decode(t.Context(), c.request)
			if err != nil || len(events) != len(c.want) {
				t.Fatalf("%d events, %v: want %d", len(events), err, len(c.want))
			}
			for i, want := range c.want {
				if events[i].Hops != want {
					t.Errorf("event %d has %d hops, want %d", i, events[i].Hops, want)
				}
			}
		})
	}
}
