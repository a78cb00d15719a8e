package function

import (
	"encoding/json"
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
				if !regexp.MustCompile(`^dead/\d{4}/\d\d/\d\d/\d{6}\.\d{9}-delete-pod-[0-9a-f]{32}\.json$`).MatchString(path) {
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

// What every reader of JSON gives back as it was stands as it is, the rest in base64.
func TestDataOfDeadLetters(t *testing.T) {
	tests := map[string]bool{
		`{"a": 1e40, "b":"\u00e9é"}`: true, `"x"`: true, "1": true,
		"": false, "{": false, ` {}`: false, "{}\n": false, "{\"a\":\"\xff\"}": false, "\xef\xbb\xbf{}": false,
	}
	for data, asItIs := range tests {
		e := event.New()
		e.SetID("1")
		e.SetType("x")
		e.SetSource("/x")
		e.SetDataContentType(event.ApplicationJSON)
		e.DataEncoded = []byte(data)
		text, err := structured(e)
		if err != nil {
			t.Fatal(err)
		}
		var back event.Event
		if err := json.Unmarshal(text, &back); err != nil || string(back.Data()) != data || !utf8.Valid(text) {
			t.Errorf("%q comes back as %q (%v)", data, back.Data(), err)
		}
		if got := strings.HasSuffix(string(text), `,"data":`+data+"}"); got != asItIs {
			t.Errorf("%q stands as it is: %t, want %t", data, got, asItIs)
		}
	}
}

// The next attempt takes the place of one that seemed to fail.
func TestDeadLetterIsOne(t *testing.T) {
	dir := t.TempDir()
	s, err := newStore("file://" + dir)
	if err != nil {
		t.Fatal(err)
	}
	e := event.New()
	e.SetID("1")
	e.SetType("x")
	e.SetSource("/x")
	at := time.Now()
	for range 2 {
		if a := (&deadStore{s}).take(t.Context(), e, "delete-pod", at); a.err != nil {
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
		if a := (&deadStore{s}).take(t.Context(), e, "../"+id, time.Now()); a.err != nil {
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
