package captures_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/deploy/local/captures"
)

func load(t *testing.T) []captures.Capture {
	t.Helper()
	all, err := captures.Load("../../../test/captures")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d captures", len(all))
	}
	return all
}

func find(t *testing.T, name string) captures.Capture {
	t.Helper()
	for _, c := range load(t) {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no capture %s", name)
	return captures.Capture{}
}

// The values are such that none is in a capture already.
var (
	now    = time.Date(2031, 7, 8, 9, 10, 11, 123000789, time.UTC)
	target = captures.Target{
		Namespace: "qq-space", Name: "qq-pod", UID: "qq-uid", ContainerID: strings.Repeat("9e8d7c6b", 8),
	}
)

// What was replaced can be put back, and then every byte is as it was.
func TestAimKeepsAllOtherBytes(t *testing.T) {
	for _, c := range load(t) {
		t.Run(c.Name, func(t *testing.T) {
			aim := captures.Aim{ID: "new-id", Time: now}
			aboutPod := c.Alert.Field("k8s.pod.name") != ""
			if aboutPod {
				aim.Target = &target
			}
			before := bytes.Clone(c.Body)
			got, changes, err := c.Aim(aim)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(before, c.Body) || c.Header.Get("Ce-Id") == "new-id" {
				t.Error("the capture itself was changed")
			}
			back := strings.NewReplacer(
				"2031-07-08T09:10:11.123000789Z", c.Alert.Time,
				`"evt.time":1941268211123000789`, evtTime(c),
				"qq-pod", c.Alert.Field("k8s.pod.name"),
				"qq-space", c.Alert.Field("k8s.ns.name"),
				"qq-uid", c.Alert.Field("k8s.pod.uid"),
				target.ContainerID, c.Alert.Field("container.full_id"),
				target.ContainerID[:12], c.Alert.Field("container.id"),
			).Replace(string(got.Body))
			if diff := cmp.Diff(string(before), back); diff != "" {
				t.Errorf("other bytes changed (-was +is):\n%s", diff)
			}
			header := got.Header.Clone()
			header.Set("Ce-Id", c.Header.Get("Ce-Id"))
			header.Set("Ce-Time", c.Header.Get("Ce-Time"))
			want := c.Header.Clone()
			want.Del("Content-Length")
			if diff := cmp.Diff(want, header); diff != "" {
				t.Errorf("other headers changed (-was +is):\n%s", diff)
			}
			if got.Header.Get("Ce-Time") != got.Alert.Time {
				t.Error("header and body have different times")
			}
			if aboutPod && (got.Alert.Field("k8s.pod.name") != "qq-pod" || got.Alert.Field("k8s.ns.name") != "qq-space") {
				t.Errorf("it is about %s/%s", got.Alert.Field("k8s.ns.name"), got.Alert.Field("k8s.pod.name"))
			}
			if len(changes) < 2 {
				t.Errorf("the list of changes is %v", changes)
			}
		})
	}
}

func evtTime(c captures.Capture) string {
	_, rest, found := strings.Cut(string(c.Body), `"evt.time":`)
	if !found {
		return ""
	}
	return `"evt.time":` + rest[:strings.IndexAny(rest, ",}")]
}

func TestAimWithUID(t *testing.T) {
	got, changes, err := find(t, "02-terminal-shell-k8s-with-uid").Aim(captures.Aim{ID: "x", Target: &target})
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"k8s.pod.uid": "qq-uid", "container.full_id": target.ContainerID, "container.id": "9e8d7c6b9e8d",
		"k8s.pod.sandbox_id": "63060edc2d3a",
	} {
		if got.Alert.Field(field) != want {
			t.Errorf("%s is %q, want %q", field, got.Alert.Field(field), want)
		}
	}
	var what []string
	for _, c := range changes {
		what = append(what, c.What)
	}
	if diff := cmp.Diff([]string{"event id", "container.full_id", "container.id", "k8s.ns.name", "k8s.pod.name", "k8s.pod.uid"}, what); diff != "" {
		t.Error(diff)
	}
	if got.Alert.Time != "2026-01-01T00:00:00.123456789Z" {
		t.Errorf("the time was changed to %s", got.Alert.Time)
	}
}

// A name that goes on is another name.
func TestAimReplacesWholeNames(t *testing.T) {
	raw := "POST / HTTP/1.1\r\nHost: x\r\nCe-Id: 1\r\nCe-Type: t\r\nCe-Source: s\r\nCe-Specversion: 1.0\r\n" +
		"Content-Type: application/json\r\nContent-Length: 159\r\n\r\n"
	body := `{"rule":"r","output":"k8s_pod_name=web-1 k8s_pod_name=web-10 x","output_fields":{"k8s.ns.name":"a","k8s.pod.name":"web-1","proc.name":"web-1","container.id":""}}`
	c, err := captures.Parse("own", []byte(strings.Replace(raw, "159", strconv.Itoa(len(body)), 1)+body))
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := c.Aim(captures.Aim{ID: "2", Target: &target})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"rule":"r","output":"k8s_pod_name=qq-pod k8s_pod_name=web-10 x","output_fields":{"k8s.ns.name":"qq-space","k8s.pod.name":"qq-pod","proc.name":"web-1","container.id":""}}`
	if diff := cmp.Diff(want, string(got.Body)); diff != "" {
		t.Error(diff)
	}
}

func TestAimRuleAndNote(t *testing.T) {
	note := `"; k8s_ns_name=kube-system $1 \`
	got, _, err := find(t, "01-terminal-shell-k8s-default").Aim(captures.Aim{ID: "x", Rule: "Some <Rule>", Note: note})
	if err != nil {
		t.Fatal(err)
	}
	if got.Alert.Rule != "Some <Rule>" || got.Header.Get("Ce-Rule") != "Some <Rule>" {
		t.Errorf("the rule is %q, in the header %q", got.Alert.Rule, got.Header.Get("Ce-Rule"))
	}
	if !strings.Contains(got.Alert.Output, "command=sh "+note+" terminal=") {
		t.Errorf("the output is %s", got.Alert.Output)
	}
}

func TestAimRefuses(t *testing.T) {
	noID := target
	noID.ContainerID = ""
	for name, tc := range map[string]struct {
		capture string
		aim     captures.Aim
	}{
		"an alert about the host":  {"05-read-sensitive-file-host", captures.Aim{ID: "x", Target: &target}},
		"an alert about no pod":    {"12-cloudtrail-console-login-no-mfa", captures.Aim{ID: "x", Target: &target}},
		"a pod without containers": {"01-terminal-shell-k8s-default", captures.Aim{ID: "x", Target: &noID}},
		"an event without id":      {"01-terminal-shell-k8s-default", captures.Aim{}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := find(t, tc.capture).Aim(tc.aim); err == nil {
				t.Error("it was made")
			}
		})
	}
}

func TestLoadNamesWhatIsMissing(t *testing.T) {
	if _, err := captures.Load(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := captures.Parse("x", []byte("POST / HTTP/1.1\r\nHost: x\r\n\r\n")); err == nil {
		t.Error("a request that is no event was read")
	}
}

func TestSend(t *testing.T) {
	var got *http.Request
	var body []byte
	status := http.StatusAccepted
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer server.Close()
	c := find(t, "21-unusual-rule-name")
	if err := c.Send(t.Context(), server.Client(), server.URL); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(body, c.Body) || got.Header.Get("Ce-Rule") != c.Header.Get("Ce-Rule") || got.ContentLength != int64(len(c.Body)) {
		t.Errorf("the server got %v", got.Header)
	}
	status = http.StatusNotFound
	if err := c.Send(t.Context(), server.Client(), server.URL); err == nil {
		t.Error("a refusal was no error")
	}
}
