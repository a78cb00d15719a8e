package deadletter_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/artifact"
	"github.com/riposte-dev/riposte/shared/deadletter"
)

func newEvent(id, data string) event.Event {
	e := event.New()
	e.SetID(id)
	e.SetType("x")
	e.SetSource("/x")
	e.SetDataContentType(event.ApplicationJSON)
	e.DataEncoded = []byte(data)
	return e
}

func open(t *testing.T) (*deadletter.Store, string) {
	t.Helper()
	dir := t.TempDir()
	artifacts, err := artifact.Open("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	return deadletter.In(artifacts), dir
}

// files are the contents of a folder by path.
func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir+"/")] = body
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What every reader of JSON gives back as it was stands as it is, the rest in base64.
func TestDataOfDeadLetters(t *testing.T) {
	tests := map[string]bool{
		`{"a": 1e40, "b":"\u00e9é"}`: true, `"x"`: true, "1": true,
		"": false, "{": false, ` {}`: false, "{}\n": false, "{\"a\":\"\xff\"}": false, "\xef\xbb\xbf{}": false,
		strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000): false, // Deeper than readers go.
	}
	for data, asItIs := range tests {
		text, err := deadletter.Encode(newEvent("1", data))
		if err != nil {
			t.Fatal(err)
		}
		var back event.Event
		if err := json.Unmarshal(text, &back); err != nil || string(back.Data()) != data || !utf8.Valid(text) {
			t.Errorf("%.80q comes back as %.80q (%v)", data, back.Data(), err)
		}
		if got := strings.HasSuffix(string(text), `,"data":`+data+"}"); got != asItIs {
			t.Errorf("%.80q stands as it is: %t, want %t", data, got, asItIs)
		}
	}
}

func TestNames(t *testing.T) {
	at := time.Date(2026, 1, 31, 23, 59, 59, 5, time.FixedZone("", 3600))
	long := strings.Repeat("long", 100)
	for name, tc := range map[string]struct{ function, id, want string }{
		"usual":                   {"delete-pod", "4f1a", "delete-pod-4f1a"},
		"an id that climbs":       {"../x", "../../etc/passwd", "x-etc-passwd"},
		"an id of a path":         {"a/b", `a\b`, "a-b-a-b"},
		"an id that is no text":   {"f", "\x00\xff", "f-"},
		"an id that is very long": {"f", long, "f-" + long[:64]},
	} {
		t.Run(name, func(t *testing.T) {
			got := deadletter.Name(newEvent(tc.id, "{}"), tc.function, at)
			rest, digest := got[:max(0, len(got)-22)], got[max(0, len(got)-22):]
			if want := "dead/2026/01/31/225959.000000005-" + tc.want; rest != want || !regexp.MustCompile(`^-[0-9a-f]{16}\.json$`).MatchString(digest) {
				t.Errorf("the name is %s, want %s-DIGEST.json", got, want)
			}
		})
	}
}

// One dead letter has one name; whatever makes another of it, another name.
func TestWhatIsTheSame(t *testing.T) {
	at := time.Now()
	base := func() event.Event {
		e := newEvent("1", "{}")
		e.SetExtension(deadletter.ErrorDest, "http://a")
		return e
	}
	first := deadletter.Name(base(), "f", at)
	for name, change := range map[string]func(*event.Event){
		"nothing":                         func(*event.Event) {},
		"what was answered":               func(e *event.Event) { e.SetExtension(deadletter.ErrorCode, 503) },
		"other data":                      func(e *event.Event) { e.DataEncoded = []byte("[]") },
		"another source":                  func(e *event.Event) { e.SetSource("/y") },
		"another type":                    func(e *event.Event) { e.SetType("y") },
		"another id that looks the same":  func(e *event.Event) { e.SetID("1/") },
		"another address of the function": func(e *event.Event) { e.SetExtension(deadletter.ErrorDest, "http://a/b") },
	} {
		e := base()
		change(&e)
		same := name == "nothing" || name == "what was answered"
		if got := deadletter.Name(e, "f", at); (got == first) != same {
			t.Errorf("%s: %s and %s", name, first, got)
		}
	}
}

// The next attempt takes the place of one that seemed to fail.
func TestKeepAgain(t *testing.T) {
	s, dir := open(t)
	e, at := newEvent("1", `{"a":1}`), time.Now()
	var name string
	for range 2 {
		var err error
		if name, err = s.Keep(t.Context(), e, "delete-pod", at); err != nil {
			t.Fatal(err)
		}
	}
	want, err := deadletter.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]byte{name: want}, files(t, dir)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

func TestDiscarded(t *testing.T) {
	s, dir := open(t)
	raw := []byte("\xff\x00 no event")
	dead := deadletter.Discarded("/functions/f", raw, errors.New("because"), time.Now())
	if again := deadletter.Discarded("/functions/f", raw, errors.New("because"), time.Now()); again.ID() != dead.ID() {
		t.Errorf("a repeat has the id %s, the first %s", again.ID(), dead.ID())
	}
	if _, err := s.Keep(t.Context(), dead, "f", time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, text := range files(t, dir) {
		var back event.Event
		if err := json.Unmarshal(text, &back); err != nil || string(back.Data()) != string(raw) || back.Type() != deadletter.TypeDiscarded ||
			back.Extensions()[deadletter.ErrorData] != "YmVjYXVzZQ==" || back.Extensions()[deadletter.ErrorCode] != int32(400) {
			t.Errorf("%s holds %s (%v)", name, text, err)
		}
	}
}

// Knative ends the attribute there.
func TestErrorText(t *testing.T) {
	for body, want := range map[string]int{"": 0, "abc": 4, strings.Repeat("a", 768): 1024, strings.Repeat("a", 5000): 1024} {
		if got := deadletter.ErrorText([]byte(body)); len(got) != want {
			t.Errorf("%d bytes become %d, want %d", len(body), len(got), want)
		}
	}
}

func TestCheck(t *testing.T) {
	for text, right := range map[string]bool{"file:///dead": true, "s3://b/p?region=eu-west-1": true, "": false, "http://x": false, "file://x/y": false, "s3://u:p4ss@b": false} {
		err := deadletter.Check("DEAD_LETTER_URL", text)
		if (err == nil) != right || err != nil && (strings.Contains(err.Error(), "p4ss") || !strings.HasPrefix(err.Error(), "DEAD_LETTER_URL is ")) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
