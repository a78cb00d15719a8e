package testkit_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/testkit"
)

func TestCapturesAreWhole(t *testing.T) {
	var rejected, unanswered int
	for _, c := range testkit.Captures(t) {
		if len(c.Alert) == 0 {
			t.Errorf("%s has no alert", c.Name)
		}
		if c.Rejected != strings.Contains(c.Name, "-reject-") {
			t.Errorf("%s: rejected is %v", c.Name, c.Rejected)
		}
		requests := map[string]*http.Request{
			"cloudevents": c.CloudEvent(t, ""), "openfaas": c.OpenFaaS(t, ""), "webhook": c.Webhook(t, ""),
		}
		switch {
		case c.Rejected:
			rejected++
		case c.SidekickStatus == 0:
			unanswered++
		case c.SidekickStatus != http.StatusOK || requests["openfaas"] == nil || requests["webhook"] == nil:
			t.Errorf("%s: Falcosidekick answered %d and sent %v", c.Name, c.SidekickStatus, requests)
		}
		for output, r := range requests {
			if r == nil {
				continue
			}
			body, err := io.ReadAll(r.Body)
			if err != nil || !json.Valid(body) || int64(len(body)) != r.ContentLength || r.Method != http.MethodPost {
				t.Errorf("%s: the %s request is not whole: %v", c.Name, output, err)
			}
		}
	}
	if rejected != 9 || unanswered != 2 {
		t.Errorf("%d captures were rejected and %d not answered, want 9 and 2", rejected, unanswered)
	}
}

func TestCaptureRequests(t *testing.T) {
	c := testkit.Find(t, "01")
	first, second := c.CloudEvent(t, "http://127.0.0.1:8080"), c.CloudEvent(t, "http://127.0.0.1:8080")
	one, _ := io.ReadAll(first.Body)
	two, _ := io.ReadAll(second.Body)
	if len(one) == 0 || !bytes.Equal(one, two) {
		t.Error("the second request has another body than the first")
	}
	if got := second.URL.String(); got != "http://127.0.0.1:8080/" {
		t.Errorf("sent to %s", got)
	}
	if got := second.Header.Get("Ce-Rule"); got != "Terminal shell in container" {
		t.Errorf("ce-rule is %q", got)
	}
	if got := c.OpenFaaS(t, "").URL.String(); got != "http://127.0.0.1:19103/function/falco-pod-delete.openfaas-fn" {
		t.Errorf("without a server, sent to %s", got)
	}
	if r := testkit.Find(t, "22-crlf-injection-rule").CloudEvent(t, ""); r != nil {
		t.Error("capture 22 has a CloudEvent that Falcosidekick did not send")
	}
}

func TestRetarget(t *testing.T) {
	full := strings.Repeat("0123456789ab", 6)[:64]
	everything := testkit.Retargeting{
		Time: time.Date(2030, 5, 6, 7, 8, 9, 10, time.FixedZone("CEST", 7200)), Namespace: "shop", Pod: "cart-0", ContainerID: full, UID: "u-2",
	}
	cases := map[string]struct {
		body string
		with testkit.Retargeting
		want string
	}{
		"nothing asked for, nothing changed": {
			body: ` {"time":"2026-01-01T00:00:00Z", "output_fields" : {"k8s.pod.name":"web"}}` + "\n",
			want: ` {"time":"2026-01-01T00:00:00Z", "output_fields" : {"k8s.pod.name":"web"}}` + "\n",
		},
		"every value, and no other byte": {
			body: `{ "output":"at 2026 k8s_pod_name=web", "time" : "2026-01-01T00:00:00Z","output_fields":{"n":1.0,"evt.time":1767225600000000001 ,"k8s.ns.name":"default",` +
				`"k8s.pod.name":"web","k8s.pod.uid":"u-1","k8s.pod.id":"u-1","container.id":"3ad7b26ded6d","container.full_id":"3ad7"}} `,
			with: everything,
			want: `{ "output":"at 2026 k8s_pod_name=web", "time" : "2030-05-06T05:08:09.00000001Z","output_fields":{"n":1.0,"evt.time":1904274489000000010 ,"k8s.ns.name":"shop",` +
				`"k8s.pod.name":"cart-0","k8s.pod.uid":"u-2","k8s.pod.id":"u-2","container.id":"0123456789ab","container.full_id":"` + full + `"}} `,
		},
		"values that name nothing stay": {
			body: `{"time":1767225600,"output_fields":{"k8s.ns.name":null,"k8s.pod.name":"<NA>","k8s.pod.uid":"","container.id":"host","k8s.pod.id":7,"evt.time":"x"}}`,
			with: everything,
			want: `{"time":1767225600,"output_fields":{"k8s.ns.name":null,"k8s.pod.name":"<NA>","k8s.pod.uid":"","container.id":"host","k8s.pod.id":7,"evt.time":"x"}}`,
		},
		"the id of a pod's sandbox": {
			body: `{"output_fields":{"container.id":"63060edc2d3a","k8s.pod.name":"web","k8s.pod.sandbox_id":"63060edc2d3a"}}`,
			with: everything,
			want: `{"output_fields":{"container.id":"63060edc2d3a","k8s.pod.name":"cart-0","k8s.pod.sandbox_id":"63060edc2d3a"}}`,
		},
		"the pod of an audit event": {
			body: `{"output_fields":{"ka.target.name":"web","ka.target.namespace":"default","ka.target.resource":"pods"}}`,
			with: everything,
			want: `{"output_fields":{"ka.target.name":"cart-0","ka.target.namespace":"shop","ka.target.resource":"pods"}}`,
		},
		"the deployment of an audit event stays": {
			body: `{"output_fields":{"ka.target.name":"web","ka.target.namespace":"default","ka.target.resource":"deployments"}}`,
			with: everything,
			want: `{"output_fields":{"ka.target.name":"web","ka.target.namespace":"default","ka.target.resource":"deployments"}}`,
		},
		"the same names elsewhere stay": {
			body: `{"k8s.pod.name":"a","deep":{"output_fields":{"k8s.pod.name":"b"}},"output_fields":{"deep":{"k8s.pod.name":"c","time":"d"},"list":["k8s.pod.name","e"]}}`,
			with: everything,
			want: `{"k8s.pod.name":"a","deep":{"output_fields":{"k8s.pod.name":"b"}},"output_fields":{"deep":{"k8s.pod.name":"c","time":"d"},"list":["k8s.pod.name","e"]}}`,
		},
		"an alert inside a structured event": {
			body: `{"specversion":"1.0","time":"2026-01-01T00:00:00Z","data":{"time":"2026-01-01T00:00:00Z","output_fields":{"k8s.pod.name":"web"}}}`,
			with: everything,
			want: `{"specversion":"1.0","time":"2030-05-06T05:08:09.00000001Z","data":{"time":"2030-05-06T05:08:09.00000001Z","output_fields":{"k8s.pod.name":"cart-0"}}}`,
		},
		"no JSON": {body: "00:00:00.1: Notice", with: everything, want: "00:00:00.1: Notice"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, string(testkit.Retarget([]byte(c.body), c.with))); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCaptureRetarget(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	before := testkit.Find(t, "02")
	after := before.Retarget(testkit.Retargeting{Time: now, Pod: "cart-0"})
	r := after.CloudEvent(t, "")
	if got := r.Header.Get("Ce-Time"); got != "2030-01-02T03:04:05Z" {
		t.Errorf("ce-time is %q", got)
	}
	bodies := map[string][]byte{"alert": after.Alert}
	for output, r := range map[string]*http.Request{"cloudevents": r, "openfaas": after.OpenFaaS(t, ""), "webhook": after.Webhook(t, "")} {
		bodies[output], _ = io.ReadAll(r.Body)
	}
	for output, body := range bodies {
		if !bytes.Contains(body, []byte(`"k8s.pod.name":"cart-0"`)) || !bytes.Contains(body, []byte(`"time":"2030-01-02T03:04:05Z"`)) {
			t.Errorf("%s still has the old values: %s", output, body)
		}
	}
	if bytes.Contains(before.Alert, []byte("cart-0")) || before.CloudEvent(t, "").Header.Get("Ce-Time") != "2026-01-01T00:00:00.123456789Z" {
		t.Error("the original changed")
	}
}
