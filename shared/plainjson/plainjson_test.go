package plainjson_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/plainjson"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// reference is what encoding/json reads, and whether the text is one JSON object.
func reference(data []byte) (map[string]any, bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil || m == nil {
		return nil, false
	}
	_, err := d.Token()
	return m, errors.Is(err, io.EOF)
}

// objects are texts, and whether Members reads them.
func objects() map[string]bool {
	return map[string]bool{
		`{}`: true, " \n\r\t{ \n\r\t} \n\r\t": true, `{"a":1}`: true, `{ "a" : 1 , "b" : [ 1 , 2 ] , "c" : { "d" : null } }`: true,
		`{"a":"x","a":"y"}`: true, `{"a":{"b":1},"a":2}`: true, `{"":""}`: true, `{"a":[]}`: true, `{"a":{}}`: true, `{"a":[[[]]]}`: true,
		`{"a":true,"b":false,"c":null}`: true, `{"a":-0}`: true, `{"a":0.5e-10}`: true, `{"a":1E+3}`: true, `{"a":12345678901234567890}`: true,
		`{"a":"\"\\\/\b\f\n\r\t"}`: true, `{"a":"\u003c\u00e9\u20AC\u0000"}`: true, `{"a":"\u2028é€😀"}`: true, `{"\u0061":1,"a":2}`: true,
		"{\"a\":\"\x7f\"}": true,
		strings.Repeat(`{"a":`, 32) + `1` + strings.Repeat(`}`, 32): true,

		// Left to encoding/json, which reads them.
		`{"a":"\ud83d\ude00"}`: false, `{"a":"\ud83d"}`: false, "{\"a\":\"\xff\"}": false, "{\"\xff\":1}": false, "{\"a\":\"\\n\xff\"}": false,
		strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 40): false,
		`{"a":"` + strings.Repeat("x", 64<<10) + `"}`:               false,

		// No JSON object.
		``: false, ` `: false, `null`: false, `[]`: false, `"a"`: false, `1`: false, `{`: false, `{"a"`: false, `{"a":`: false, `{"a":1`: false, `{"a":1,`: false,
		`{"a":1,}`: false, `{,}`: false, `{a:1}`: false, `{"a" 1}`: false, `{"a":1 "b":2}`: false, `{"a":1}}`: false, `{"a":1} x`: false, `{"a":1}{}`: false,
		`{"a":[1,]}`: false, `{"a":[,]}`: false, `{"a":[1 2]}`: false, `{"a":[1}`: false, `{"a":nul}`: false, `{"a":nulll}`: false, `{"a":True}`: false,
		`{"a":01}`: false, `{"a":+1}`: false, `{"a":1.}`: false, `{"a":.5}`: false, `{"a":1e}`: false, `{"a":1e+}`: false, `{"a":-}`: false, `{"a":0x1}`: false, `{"a":NaN}`: false,
		`{"a":"`: false, `{"a":"\`: false, `{"a":"\"}`: false, `{"a":"\u12"}`: false, `{"a":"\u123g"}`: false, `{"a":"\u+123"}`: false, `{"a":"\u1_23"}`: false, `{"a":"\x"}`: false, `{"a":"\'"}`: false,
		"{\"a\":\"\n\"}": false, "{\"a\":\"\\n\x00\"}": false, "\ufeff{}": false, "{}\x00": false, "{\v}": false,
	}
}

func same(tb testing.TB, data []byte) (ok bool) {
	tb.Helper()
	members, ok := plainjson.Members(data)
	if !ok {
		return false
	}
	got := map[string]any{}
	for _, m := range members {
		got[m.Name] = m.Value
	}
	want, valid := reference(data)
	if !valid || !reflect.DeepEqual(got, want) {
		tb.Errorf("%.200q reads\n%#v\nwant\n%#v, %v", data, got, want, valid)
	}
	return true
}

func TestMembers(t *testing.T) {
	for text, want := range objects() {
		if got := same(t, []byte(text)); got != want {
			t.Errorf("%.200q is read: %v, want %v", text, got, want)
		}
	}
	for _, c := range testkit.Captures(t) {
		if _, valid := reference(c.Alert); same(t, c.Alert) != (valid && len(c.Alert) <= 64<<10) {
			t.Errorf("capture %s is read: %v", c.Name, !valid)
		}
	}
}

// What was read does not change with the bytes it was read from.
func TestMembersAreACopy(t *testing.T) {
	data := []byte(`{"name":"value"}`)
	m, _ := plainjson.Members(data)
	copy(data, `{"xxxx":"yyyyy"}`)
	if _, ok := plainjson.Members([]byte(`{"other":{"a":[1,2]},"b":null}`)); !ok || !reflect.DeepEqual(m, []plainjson.Member{{Name: "name", Value: "value"}}) {
		t.Errorf("it reads %v now", m)
	}
}

func FuzzMembers(f *testing.F) {
	for text := range objects() {
		f.Add([]byte(text))
	}
	for _, c := range testkit.Captures(f) {
		f.Add(c.Alert)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		same(t, data)
		if m, ok := reference(data); ok {
			written(t, m)
		}
		written(t, string(data))
	})
}

// written holds what is written against json.Marshal.
func written(tb testing.TB, value any) {
	tb.Helper()
	want, wantErr := json.Marshal(value)
	got, err := plainjson.Append([]byte("before"), value)
	if (err == nil) != (wantErr == nil) {
		tb.Errorf("%#v: error is %v, want %v", value, err, wantErr)
	}
	if err == nil && string(got) != "before"+string(want) {
		tb.Errorf("%#v is written\n%s\nwant\nbefore%s", value, got, want)
	}
}

func TestAppend(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	deep := any(map[string]any{"end": []any{}})
	for range 100 {
		deep = []any{map[string]any{"a": deep}}
	}
	for name, value := range map[string]any{
		"null": nil, "text": "a <b> & \"c\" \\ é € 😀 \u2028\u2029 \ufffd \x7f", "every byte": string(every), "cut within a character": "x\xe2\x82", "no text": "",
		"flags": []any{true, false}, "whole numbers": []any{0, -1, int64(math.MinInt64), int32(7), uint64(math.MaxUint64)},
		"fractions": []any{0.0, 0.5, -1.25, 1e-6, 9.99e-7, 1e20, 1e21, math.MaxFloat64, math.Copysign(0, -1)}, "no number": math.NaN(), "without an end": math.Inf(1),
		"numbers as written": []any{json.Number("1"), json.Number("-0.5E+10"), json.Number("12345678901234567890"), json.Number("")},
		"bad number":         json.Number("1x"), "worse number": json.Number("x"), "blank number": json.Number(" 1"), "two numbers": json.Number("1 2"),
		"empty": []any{map[string]any{}, []any{}, []string{}}, "nil": []any{map[string]any(nil), []any(nil), []string(nil), (*int)(nil)},
		"objects": map[string]any{"b": 1, "a": map[string]any{"<": ">", "\xff": nil}, "": []any{"x", nil}}, "strings": []string{"a", "<"},
		"own types": map[string]any{"time": time.Unix(1, 2).UTC(), "duration": time.Second, "raw": json.RawMessage(` {"a" : "<"} `), "bytes": []byte("x")},
		"a channel": map[string]any{"a": []any{make(chan int)}}, "deep": deep,
	} {
		t.Run(name, func(t *testing.T) { written(t, value) })
	}
	many := map[string]any{}
	for i := range 100 {
		many[strings.Repeat("n", i)] = i
	}
	written(t, many)
}

// A value that contains itself is an error, not the end of the process.
func TestAppendWithoutAnEnd(t *testing.T) {
	loop := map[string]any{}
	loop["self"] = []any{loop}
	if _, err := plainjson.Append(nil, loop); err == nil {
		t.Error("it is written")
	}
}

func TestAppendTime(t *testing.T) {
	for _, at := range []time.Time{
		{},
		time.Unix(0, 0).UTC(), time.Unix(1, 1), time.Date(2026, 1, 1, 0, 0, 0, 123456000, time.FixedZone("", -(9*60+30)*60)),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.FixedZone("", 25*60*60)),
	} {
		want, wantErr := json.Marshal(at)
		got, err := plainjson.AppendTime(nil, at)
		if (err == nil) != (wantErr == nil) || err == nil && string(got) != string(want) {
			t.Errorf("%v is written %s, %v: want %s, %v", at, got, err, want, wantErr)
		}
	}
}
