package response_test

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// fill sets everything in a value to something that is not its zero.
func fill(v reflect.Value, name string) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(now.Add(time.Duration(len(name)) * time.Second)))
		return
	case v.Type() == reflect.TypeFor[falco.Priority]():
		v.Set(reflect.ValueOf(falco.Critical))
		return
	}
	switch v.Kind() { //nolint:exhaustive // Those that a record is made of.
	case reflect.String:
		v.SetString("<" + name + ">")
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(name)))
	case reflect.Float64:
		v.SetFloat(float64(len(name)) / 8)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), name)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf([]any{name, json.Number("1")}))
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{name: nil}))
	case reflect.Struct:
		for i := range v.NumField() {
			if field := v.Type().Field(i); field.Tag.Get("json") != "-" {
				fill(v.Field(i), name+"."+field.Name)
			}
		}
	}
}

// The data of an outcome event is byte for byte what encoding/json writes of the record: what claims hold, and what is
// given again out of them.
func TestEventIsTheRecordInJSON(t *testing.T) {
	var all response.Record
	fill(reflect.ValueOf(&all).Elem(), "record")
	records := map[string]response.Record{
		"nothing": {}, "everything": all, "a year too late": {Alert: falco.Alert{Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}},
		"no time": {Timings: response.Timings{Done: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}}, "odd numbers": {Timings: response.Timings{ResponseMS: 1e-7}},
		"no number": {Timings: response.Timings{ResponseMS: math.NaN()}}, "a change to a channel": {Changes: []response.Change{{After: make(chan int)}}},
		"a channel": {Details: map[string]any{"a": make(chan int)}}, "empty lists": {Changes: []response.Change{}, Details: map[string]any{}},
		"own types":         {Details: map[string]any{"a": response.Applied, "b": time.Second, "c": []string{"<"}, "d": json.RawMessage(`{ "x": "<" }`)}},
		"text that is none": {Message: "a\xff\u2028<&>\x00\"\\", Target: &response.Target{Kind: "\t"}},
	}
	for _, c := range testkit.Captures(t) {
		alert, err := falco.Decode(c.Alert)
		if err != nil {
			continue
		}
		for _, o := range []response.Outcome{
			{Verdict: response.Applied, Target: cart, Message: "done", Changes: []response.Change{{Field: "a", Before: 1, After: nil}}},
			response.Refuse(response.ConditionFalse, "no"),
			{Verdict: response.Failed, Reason: response.Gone, Repeat: true, Details: map[string]any{"n": 1.5}},
		} {
			encoded, err := json.Marshal(alert)
			if err != nil {
				t.Fatal(err)
			}
			records[c.Name+" "+string(o.Verdict)] = answer(t, response.Event{ID: "e", Type: falco.TypeRiposte, Data: encoded}, o, nil)
		}
	}
	for name, r := range records {
		t.Run(name, func(t *testing.T) {
			want, wantErr := json.Marshal(r)
			e, err := r.Event()
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("error is %v, want %v", err, wantErr)
			}
			if diff := cmp.Diff(string(want), string(e.Data())); err == nil && diff != "" {
				t.Errorf("it is not what encoding/json writes (-want +got):\n%s", diff)
			}
			if err == nil && (e.DataContentType() != "application/json" || e.DataBase64) {
				t.Errorf("data is %s, in base64: %v", e.DataContentType(), e.DataBase64)
			}
		})
	}
	if text, err := json.Marshal(all); err != nil || strings.Count(string(text), "record.") < 80 {
		t.Errorf("everything is %s, %v", text, err)
	}
}
