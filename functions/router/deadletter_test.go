package function

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

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	knattributes "knative.dev/eventing/pkg/kncloudevents/attributes"

	"github.com/riposte-dev/riposte/shared/deadletter"
)

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

func TestDeadLettersInAFolder(t *testing.T) {
	tests := map[string]string{
		"an alert":                             string(alertAt(t, 1)),
		"an alert with a line end":             string(alertAt(t, 2)) + "\n",
		"an alert of a host with an evil name": strings.Replace(string(alertAt(t, 3)), `"n1"`, `"../../../etc\u0000"`, 1),
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			g, dir := newGateway(t), t.TempDir()
			g.function("delete-pod", answers(422, "no right"))
			s := routing(t, g, folder(t, manifest("delete-pod", alerts, quick)), "DEAD_LETTER_URL", "file://"+dir)
			s.expect(t, 204, []byte(body))
			found := files(t, dir)
			if len(found) != 1 {
				t.Fatalf("the folder has %d files", len(found))
			}
			for path, text := range found {
				if !regexp.MustCompile(`^dead/\d{4}/\d\d/\d\d/\d{6}\.\d{9}-delete-pod-[0-9a-f]{32}-[0-9a-f]{16}\.json$`).MatchString(path) {
					t.Errorf("the file is %s", path)
				}
				var e event.Event
				if err := json.Unmarshal(text, &e); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(body, string(e.Data())); diff != "" {
					t.Errorf("the data is not byte for byte (-want +got):\n%s", diff)
				}
				if e.Extensions()["knativeerrordata"] != "bm8gcmlnaHQ=" || e.Extensions()["knativeerrordest"] != g.URL+"/function/delete-pod" || e.Type() != alerts {
					t.Errorf("the event is %v", e)
				}
				if raw := strings.Contains(string(text), body); raw == strings.HasSuffix(body, "\n") {
					t.Errorf("the data stands as it is: %t\n%s", raw, text)
				}
			}
		})
	}
}

// Dead letters of the router say why in Knative's words.
func TestAttributesOfDeadLettersAreKnatives(t *testing.T) {
	got := []string{deadletter.ErrorDest, deadletter.ErrorCode, deadletter.ErrorData}
	want := []string{knattributes.KnativeErrorDestExtensionKey, knattributes.KnativeErrorCodeExtensionKey, knattributes.KnativeErrorDataExtensionKey}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	if text := deadletter.ErrorText(make([]byte, 10_000)); len(text) != knattributes.KnativeErrorDataExtensionMaxLength {
		t.Errorf("an answer becomes %d bytes", len(text))
	}
}

// The next attempt takes the place of one that seemed to fail.
func TestDeadLetterIsOne(t *testing.T) {
	dir := t.TempDir()
	s, err := newStore("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	e := deadletter.Discarded(source, []byte("x"), errors.New("why"), at)
	for range 2 {
		if a := (&deadStore{deadletter.In(s.Store)}).take(t.Context(), e, "delete-pod", at); a.err != nil {
			t.Fatal(a.err)
		}
	}
	if found := files(t, dir); len(found) != 1 {
		t.Errorf("the folder has %d files", len(found))
	}
}

func TestNamesOfDeadLettersStayInTheFolder(t *testing.T) {
	dir := t.TempDir()
	s, err := newStore("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"../../x", "..", "a/b\\c", "\x00", strings.Repeat("long", 100), "é", "."} {
		e := event.New()
		e.SetID(id)
		e.SetType("x")
		e.SetSource("/x")
		e.DataEncoded = []byte("\xff\x00")
		if a := (&deadStore{deadletter.In(s.Store)}).take(t.Context(), e, "../"+id, time.Now()); a.err != nil {
			t.Errorf("%q: %v", id, a.err)
		}
	}
	found := files(t, dir)
	if len(found) != 7 {
		t.Errorf("the folder has %d files, want 7", len(found))
	}
	for path, text := range found {
		var e event.Event
		if err := json.Unmarshal(text, &e); err != nil || string(e.Data()) != "\xff\x00" || strings.Contains(path, "..") {
			t.Errorf("%s holds %s (%v)", path, text, err)
		}
	}
}
