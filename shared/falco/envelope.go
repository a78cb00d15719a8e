package falco

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/riposte-dev/riposte/shared/plainjson"
)

// envelope is an alert's JSON object.
type envelope []plainjson.Member

// open decodes exactly one JSON object, numbers kept as written: Falco sends int64 above 2^53.
func open(data []byte) (envelope, error) {
	if e, ok := plainjson.Members(data); ok {
		return e, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("alert is not a JSON object: %w", err)
	}
	if m == nil {
		return nil, errors.New("alert is null: want a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("alert is followed by more data: want one JSON object")
	}
	e := make(envelope, 0, len(m))
	for name, value := range m {
		e = append(e, plainjson.Member{Name: name, Value: value})
	}
	return e, nil
}

// find is the place of a member, below 0 where there is none. Of those of one name the last one counts, as in encoding/json.
func (e envelope) find(name string) int {
	for i, m := range slices.Backward(e) {
		if m.Name == name {
			return i
		}
	}
	return -1
}

func (e envelope) get(name string) any {
	if i := e.find(name); i >= 0 {
		return e[i].Value
	}
	return nil
}

func (e envelope) text(name string) string {
	s, _ := e.get(name).(string)
	return s
}

func (e envelope) list(name string) []string {
	values, _ := e.get(name).([]any)
	var out []string
	for _, v := range values {
		if s, ok := v.(string); ok {
			if out == nil {
				out = make([]string, 0, len(values))
			}
			out = append(out, s)
		}
	}
	return out
}

// show quotes a value of the alert for an error, cut to a length that fits one line.
func (e envelope) show(name string) string {
	i := e.find(name)
	if i < 0 {
		return "missing"
	}
	b, err := json.Marshal(e[i].Value)
	if err != nil {
		return fmt.Sprintf("%T", e[i].Value)
	}
	if len(b) > 80 {
		return string(b[:80]) + "..."
	}
	return string(b)
}
