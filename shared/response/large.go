package response

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"
)

// cutMark stands where something is left out because the outcome would be too large with it.
const cutMark = "[...]"

// longest is how long a byte of a text can get in JSON.
const longest = len(`\u0000`)

// The bounds of an outcome without its alert, in bytes, encoded.
const (
	mostMessage = 12 << 10
	mostChanges = 32 << 10
	mostDetails = 64 << 10
)

// bound cuts the record to a bounded size. What a response quotes of the objects it found is their owners': of a
// NetworkPolicy without end a part tells enough, while an outcome above the 1 MiB that the next function accepts is told to
// nobody, and one that does not fit into a claim would be answered, and counted, again and again.
func (r *Record) bound() {
	if longest*len(r.Message) > mostMessage {
		r.Message = (&cutter{mostMessage}).text(r.Message)
	}
	if b, err := json.Marshal(r.Changes); len(r.Changes) > 0 && err == nil && len(b) > mostChanges {
		c, all := &cutter{mostChanges}, r.Changes
		r.Changes = nil
		for _, x := range all {
			if c.left <= 0 {
				r.Changes = append(r.Changes, Change{Field: cutMark})
				break
			}
			c.left -= len(`{"field":,"before":,"after":},`)
			r.Changes = append(r.Changes, Change{Field: c.text(x.Field), Before: c.decoded(x.Before), After: c.decoded(x.After)})
		}
	}
	if atMost(r.Details) <= mostDetails {
		return
	}
	if b, err := json.Marshal(r.Details); err == nil && len(b) > mostDetails {
		if details, ok := (&cutter{mostDetails}).decoded(r.Details).(map[string]any); ok {
			r.Details = details
		}
	}
}

// atMost is as much as a value can take when it is encoded. It is more than any bound for what has to be encoded to know that.
func atMost(value any) int {
	switch v := value.(type) {
	case nil, bool, int, int32, int64:
		return len("-9223372036854775808")
	case string:
		return len(`""`) + longest*len(v)
	case Verdict:
		return len(`""`) + longest*len(v)
	case map[string]any:
		n := len(`{}`)
		for name, member := range v {
			if n > mostDetails {
				break
			}
			n += len(`"":,`) + longest*len(name) + atMost(member)
		}
		return n
	}
	return mostDetails + 1
}

// cutter cuts what is encoded to so many bytes, but for a few marks.
type cutter struct{ left int }

// decoded cuts whatever encodes to JSON.
func (c *cutter) decoded(value any) any {
	b, err := json.Marshal(value)
	if err != nil {
		return value // Said where the outcome is encoded.
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return value
	}
	return c.value(plain)
}

func (c *cutter) value(value any) any {
	if c.left <= 0 {
		return cutMark
	}
	c.left -= len(",") // at least, and the brackets of what is empty
	switch v := value.(type) {
	case string:
		return c.text(v)
	case json.Number:
		c.left -= len(v)
	case []any:
		c.left -= len("[]")
		for i := range v {
			if c.left <= 0 {
				return append(v[:i:i], cutMark)
			}
			v[i] = c.value(v[i])
		}
	case map[string]any:
		c.left -= len("{}")
		out := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if c.left <= 0 {
				out[cutMark] = cutMark
				break
			}
			key := c.text(name)
			out[key] = c.value(v[name])
		}
		return out
	default: // true, false and null
		c.left -= len("false")
	}
	return value
}

// text cuts by what the text takes when it is encoded.
func (c *cutter) text(text string) string {
	if len(text) <= 64 { // names, for the most part
		c.left -= encodedLen(text)
		return text
	}
	for i, r := range text {
		if c.left -= runeLen(r); c.left < 0 {
			return text[:i] + cutMark
		}
	}
	return text
}

func encodedLen(text string) int {
	n := len(`"":`)
	for _, r := range text {
		n += runeLen(r)
	}
	return n
}

// runeLen is how long a character is in JSON, at most.
func runeLen(r rune) int {
	switch {
	case r < ' ' || r == '<' || r == '>' || r == '&' || r == utf8.RuneError || r == '\u2028' || r == '\u2029':
		return len(`\u0000`)
	case r == '"' || r == '\\':
		return len(`\"`)
	}
	return utf8.RuneLen(r)
}
