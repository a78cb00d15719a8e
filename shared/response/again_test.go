package response_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// published is the outcome event of the answer to e, as it travels.
func published(t *testing.T, f *observed, e response.Event) (event.Event, string) {
	t.Helper()
	a, err := f.Answer(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Event(make([]byte, 7, 6000))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := a.Record.Event()
	if err != nil {
		t.Fatal(err)
	}
	text := structured(t, got)
	if diff := cmp.Diff(structured(t, fresh), text); diff != "" {
		t.Errorf("the event is not the record's (-want +got):\n%s", diff)
	}
	return got, text
}

func structured(t *testing.T, e event.Event) string {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What is remembered is encoded once, and is the same to whoever asks for it; but who asks after more hops is told so.
func TestRepeatsGetTheSameEvent(t *testing.T) {
	f := replica(store.NewMemory(time.Now), &world{})
	e := raised(t, time.Now().Add(-time.Second))
	_, first := published(t, f, e)
	far := e
	far.Hops = 3
	var before event.Event
	for i, ask := range []response.Event{e, e, far, far, e} {
		got, text := published(t, f, ask)
		want := first
		if ask.Hops > 0 {
			want = strings.NewReplacer(`"hops":1`, `"hops":4`).Replace(first)
		}
		if diff := cmp.Diff(want, text); diff != "" {
			t.Errorf("repeat %d (-want +got):\n%s", i, diff)
		}
		if i == 1 && &got.Data()[0] != &before.Data()[0] {
			t.Error("the second repeat is encoded anew")
		}
		before = got
	}
}

// What a process remembers is bounded, whoever asks for how many alerts how often.
func TestMemoryOfRepeatsIsBounded(t *testing.T) {
	const most = 8 << 20
	f := replica(store.NewMemory(time.Now), &world{})
	at := time.Now().Add(-time.Minute)
	kept := 0
	for i := range 200 {
		data := fmt.Sprintf(`{"rule":"rule %d","priority":"Notice","time":%q,"output":"%s","source":"syscall",
			"output_fields":{"k8s.ns.name":"shop","k8s.pod.name":"cart-0","k8s.pod.uid":"u-1"}}`, i, at.Format(time.RFC3339Nano), strings.Repeat("x", 60_000))
		e := response.Event{ID: "e", Type: falco.TypeFalcosidekick, Data: []byte(data)}
		published(t, f, e)
		records, before := f.Remembered()
		published(t, f, e)
		published(t, f, e)
		again, after := f.Remembered()
		if after > most || records < 0 || again < 0 {
			t.Fatalf("after %d alerts it remembers %d bytes in %d records, then %d in %d: want at most %d", i+1, before, records, after, again, most)
		}
		if i == 0 && after-before < 60_000 {
			t.Errorf("the event of a repeat takes %d bytes: want its size counted", after-before)
		}
		kept = max(kept, again)
	}
	if kept > most/60_000 {
		t.Errorf("it remembers %d records of 60,000 bytes", kept)
	}
}

// Nothing that is longer than its bound passes for shorter.
func TestAtMost(t *testing.T) {
	for name, value := range map[string]any{
		"nothing": nil, "a flag": false, "numbers": map[string]any{"a": -1 << 62, "b": int32(-1 << 31), "c": int64(-1 << 63)}, "text": "a<\x00\xff\u2028é",
		"a verdict": response.Applied, "objects": map[string]any{"\x01": map[string]any{"": "<"}, "b": map[string]any{}}, "a list": []any{"x"}, "a number": 0.5,
		"much": map[string]any{"a": strings.Repeat("\x00", 20_000)}, "many": map[string]any{"a": map[string]any{"a": strings.Repeat("a", 20_000)}, "b": strings.Repeat("b", 60_000)},
	} {
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if most := response.AtMost(value); most < len(encoded) && most <= response.MostDetails {
			t.Errorf("%s has %d bytes, at most %d", name, len(encoded), most)
		}
	}
	if most := response.AtMost(map[string]any{"first": map[string]any{"id": strings.Repeat("0", 32)}}); most > response.MostDetails {
		t.Errorf("the details of a duplicate are at most %d bytes", most)
	}
}

// Wherever a sign of a credential stands, in whatever letters, it is looked for.
func TestSignsAreLookedFor(t *testing.T) {
	for _, sign := range response.Signs() {
		for _, text := range []string{sign, "xx" + strings.ToUpper(sign) + "xx", "é" + sign, strings.ToUpper(sign[:1]) + sign[1:]} {
			if !response.MayHave(text, sign) {
				t.Errorf("%q is not looked for in %q", sign, text)
			}
		}
		if response.MayHave("deleted pod shop/cart-0", sign) {
			t.Errorf("%q is looked for where it is not", sign)
		}
	}
}
