package falco_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// posted is what Falco wrote into a capture's alert.json, read without package falco.
type posted struct {
	Rule, Priority, Source, Hostname, Output string
	Time                                     time.Time
	Tags                                     []string
	Fields                                   map[string]any `json:"output_fields"`
}

// want is what every form of the capture has to decode to. Beside the spelling of the priority and the order of
// the tags, Falcosidekick fills in a source where there is none.
func (p posted) want() falco.Alert {
	priorities := map[string]falco.Priority{
		"Emergency": falco.Emergency, "Critical": falco.Critical, "Warning": falco.Warning, "Notice": falco.Notice,
		"Informational": falco.Informational, "INFO": falco.Informational, "Debug": falco.Debug,
	}
	if p.Source == "" {
		p.Source = "syscalls"
	}
	return falco.Alert{
		Rule: p.Rule, Priority: priorities[p.Priority], Time: p.Time, Source: p.Source, Hostname: p.Hostname,
		Tags: p.Tags, Output: p.Output, Fields: p.Fields,
	}
}

func read(t *testing.T, alert []byte) posted {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(alert))
	d.UseNumber()
	var p posted
	if err := d.Decode(&p); err != nil {
		t.Fatal(err)
	}
	return p
}

// sameText treats a text that Falcosidekick has cut as equal to the whole one.
var sameText = cmp.Comparer(func(a, b string) bool {
	cut := func(short, long string) bool {
		head, tail, found := strings.Cut(short, "[...]")
		return found && len(long) > 512 && strings.HasPrefix(long, head) && strings.HasSuffix(long, tail)
	}
	return a == b || cut(a, b) || cut(b, a)
})

func TestDecodeCaptures(t *testing.T) {
	for _, c := range testkit.Captures(t) {
		t.Run(c.Name, func(t *testing.T) {
			if c.Rejected {
				alert, err := falco.Decode(c.Alert)
				if err == nil || err.Error() == "" || !cmp.Equal(alert, falco.Alert{}) {
					t.Errorf("decoded to %v, %v: want an error alone", alert, err)
				}
				return
			}
			want := read(t, c.Alert).want()
			bodies := map[string][]byte{"alert.json": c.Alert}
			for output, r := range map[string]*http.Request{
				"cloudevents": c.CloudEvent(t, ""), "openfaas": c.OpenFaaS(t, ""), "webhook": c.Webhook(t, ""),
			} {
				if r == nil {
					continue
				}
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Fatal(err)
				}
				bodies[output] = body
			}
			for output, body := range bodies {
				got, err := falco.Decode(body)
				if err != nil {
					t.Errorf("%s is refused: %v", output, err)
					continue
				}
				expected := want
				if strings.HasPrefix(c.Name, "45-") && output != "alert.json" {
					expected.Source = "internal" // Falcosidekick's own, for its test alert
				}
				if (got.UUID == "") != (output == "alert.json") {
					t.Errorf("%s: uuid is %q", output, got.UUID)
				}
				diff := cmp.Diff(expected, got, sameText, cmpopts.IgnoreFields(falco.Alert{}, "UUID"),
					cmpopts.EquateEmpty(), cmpopts.SortSlices(strings.Compare))
				if diff != "" {
					t.Errorf("%s (-want +got):\n%s", output, diff)
				}
				if id := got.ID(); id != expected.ID() {
					t.Errorf("%s: id is %s, want %s", output, id, expected.ID())
				}
			}
		})
	}
}

func TestDecodeKeepsValues(t *testing.T) {
	a, err := falco.Decode(testkit.Find(t, "37").Alert)
	if err != nil {
		t.Fatal(err)
	}
	want := falco.Fields{
		"container.id": "3ad7b26ded6d", "f": json.Number("1.0"), "g": json.Number("1e2"), "h": json.Number("0.10"),
		"big": json.Number("123456789012345678901234567890"), "evt.time": json.Number("1767225600123456789"),
	}
	if diff := cmp.Diff(want, a.Fields); diff != "" {
		t.Errorf("numbers are not as they were written (-want +got):\n%s", diff)
	}
	again, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{`"f":1.0`, `"g":1e2`, `"h":0.10`, `"big":123456789012345678901234567890`} {
		if !bytes.Contains(again, []byte(number)) {
			t.Errorf("encoded without %s: %s", number, again)
		}
	}
}

// envelope is an alert in which one value is replaced, or removed by an empty string.
func envelope(t *testing.T, key, value string) []byte {
	t.Helper()
	fields := map[string]json.RawMessage{
		"rule": []byte(`"R"`), "priority": []byte(`"Notice"`), "time": []byte(`"2026-01-01T00:00:00Z"`), "source": []byte(`"syscall"`),
		"output": []byte(`"o"`), "hostname": []byte(`"h"`), "tags": []byte(`["a"]`), "uuid": []byte(`"u"`), "output_fields": []byte(`{"a":"b"}`),
	}
	if fields[key] = []byte(value); value == "" {
		delete(fields, key)
	}
	b, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeRefuses(t *testing.T) {
	cases := map[string][]byte{
		"nothing":                      {},
		"null":                         []byte(`null`),
		"a number":                     []byte(`1`),
		"text":                         []byte(`"alert"`),
		"an array":                     []byte(`[{}]`),
		"an object cut short":          []byte(`{"rule":"R"`),
		"two objects":                  append(envelope(t, "", ""), envelope(t, "", "")...),
		"an object and text":           append(envelope(t, "", ""), "x"...),
		"no rule":                      envelope(t, "rule", ""),
		"a rule of another type":       envelope(t, "rule", `["R"]`),
		"a blank rule":                 envelope(t, "rule", `" \t"`),
		"no priority":                  envelope(t, "priority", ""),
		"a priority of another type":   envelope(t, "priority", `5`),
		"an unknown priority":          envelope(t, "priority", `"High"`),
		"a very long priority":         envelope(t, "priority", `"`+strings.Repeat("x", 5000)+`"`),
		"no time":                      envelope(t, "time", ""),
		"a time of another type":       envelope(t, "time", `1767225600`),
		"an empty time":                envelope(t, "time", `""`),
		"a time without zone":          envelope(t, "time", `"2026-01-01T00:00:00"`),
		"the zero time":                envelope(t, "time", `"0001-01-01T00:00:00Z"`),
		"a time after year 9999":       envelope(t, "time", `"9999-12-31T23:59:59-01:00"`),
		"a time before year 0":         envelope(t, "time", `"0000-01-01T00:00:00+01:00"`),
		"no output fields":             envelope(t, "output_fields", ""),
		"output fields that are null":  envelope(t, "output_fields", `null`),
		"output fields in a list":      envelope(t, "output_fields", `[1]`),
		"output fields without fields": envelope(t, "output_fields", `{}`),
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			a, err := falco.Decode(data)
			if err == nil || err.Error() == "" || !cmp.Equal(a, falco.Alert{}) {
				t.Fatalf("decoded %s to %v, %v: want an error alone", data, a, err)
			}
			if len(err.Error()) > 300 {
				t.Errorf("the reason has %d bytes", len(err.Error()))
			}
			if err := json.Unmarshal(data, &a); err == nil {
				t.Errorf("json.Unmarshal accepted %s", data)
			}
		})
	}
}

// Wrong types in what is not needed are absent, as are the names they would have had.
func TestDecodeTakesWrongTypesAsAbsent(t *testing.T) {
	for _, key := range []string{"uuid", "source", "hostname", "output", "tags"} {
		for _, value := range []string{`1`, `null`, `true`, `{"a":"b"}`, `[1,null,{}]`, `1e999`} {
			got, err := falco.Decode(envelope(t, key, value))
			if err != nil {
				t.Errorf("%s %s is refused: %v", key, value, err)
				continue
			}
			want, err := falco.Decode(envelope(t, key, ""))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s is not as if absent (-want +got):\n%s", key, value, diff)
			}
		}
	}
	a, err := falco.Decode(envelope(t, "tags", `["a",1,null,"b"]`))
	if err != nil || !slices.Equal(a.Tags, []string{"a", "b"}) {
		t.Errorf("tags are %q, %v: want those that are text", a.Tags, err)
	}
}

// Of members of one name the last one counts, as whoever decodes the same bytes with encoding/json sees it, large or small.
func TestDecodeTakesTheLastOfAName(t *testing.T) {
	for name, blanks := range map[string]int{"small": 0, "large": 100_000} {
		data := bytes.TrimSuffix(bytes.TrimSpace(envelope(t, "", "")), []byte("}"))
		data = append(data, strings.Repeat(" ", blanks)+`,"rule":"first","rule":"last","hostname":"h","hostname":1,"output_fields":{"a":1},"output_fields":{"b":"x","b":"y"}}`...)
		a, err := falco.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]any{"last", "", falco.Fields{"b": "y"}}, []any{a.Rule, a.Hostname, a.Fields}); diff != "" {
			t.Errorf("a %s alert (-want +got):\n%s", name, diff)
		}
	}
}

func TestIDIsThatOfTheDetection(t *testing.T) {
	first, second := testkit.Find(t, "01"), testkit.Find(t, "59")
	ids, uuids := map[string]bool{}, map[string]bool{}
	for _, r := range []*http.Request{
		first.CloudEvent(t, ""), first.OpenFaaS(t, ""), second.CloudEvent(t, ""), second.Webhook(t, ""),
	} {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		a, err := falco.Decode(body)
		if err != nil {
			t.Fatal(err)
		}
		ids[a.ID()], uuids[a.UUID] = true, true
	}
	if len(ids) != 1 || len(uuids) != 2 {
		t.Errorf("two posts of one alert have the ids %v and the uuids %v: want one id, two uuids", ids, uuids)
	}

	base, err := falco.Decode(first.Alert)
	if err != nil {
		t.Fatal(err)
	}
	if len(base.ID()) != 32 {
		t.Errorf("id is %q: want 32 digits", base.ID())
	}
	changes := map[string]struct {
		change func(*falco.Alert)
		same   bool
	}{
		"another uuid":                   {func(a *falco.Alert) { a.UUID = "x" }, true},
		"another output":                 {func(a *falco.Alert) { a.Output = "x" }, true},
		"other tags":                     {func(a *falco.Alert) { a.Tags = nil }, true},
		"another field":                  {func(a *falco.Alert) { a.Fields["proc.name"] = "x" }, true},
		"a nanosecond later":             {func(a *falco.Alert) { a.Time = a.Time.Add(1) }, false},
		"another host":                   {func(a *falco.Alert) { a.Hostname = "x" }, false},
		"another rule":                   {func(a *falco.Alert) { a.Rule = "x" }, false},
		"another source":                 {func(a *falco.Alert) { a.Source = "x" }, false},
		"another container":              {func(a *falco.Alert) { a.Fields["container.id"] = "ffffffffffff" }, false},
		"host and rule with moved bytes": {func(a *falco.Alert) { a.Hostname, a.Rule = a.Hostname+a.Rule[:1], a.Rule[1:] }, false},
	}
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			changed, err := falco.Decode(first.Alert)
			if err != nil {
				t.Fatal(err)
			}
			c.change(&changed)
			if (changed.ID() == base.ID()) != c.same {
				t.Errorf("the id stayed the same: %v, want %v", !c.same, c.same)
			}
		})
	}
}

// The same moment written in another zone, or with other zeros, is the same detection.
func TestIDIgnoresTheZone(t *testing.T) {
	ids := map[string]bool{}
	for _, moment := range []string{`"2026-01-01T00:00:00.5Z"`, `"2026-01-01T01:00:00.500+01:00"`, `"2025-12-31T19:00:00.500000000-05:00"`} {
		a, err := falco.Decode(envelope(t, "time", moment))
		if err != nil {
			t.Fatal(err)
		}
		ids[a.ID()] = true
	}
	if len(ids) != 1 {
		t.Errorf("one moment in three zones has the ids %v", ids)
	}
}

func TestAlertEncodesAsItWasDecoded(t *testing.T) {
	for _, c := range testkit.Captures(t) {
		if c.Rejected {
			continue
		}
		want, err := falco.Decode(c.Alert)
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(want)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		var got falco.Alert
		if err := json.Unmarshal(encoded, &got); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-decoded +decoded again):\n%s", c.Name, diff)
		}
	}
}
