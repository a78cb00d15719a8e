// Package plainjson reads and writes JSON to the same values and the same bytes as encoding/json, in a fraction of its time:
// alerts and outcomes, of which a storm brings thousands a second. It knows objects, lists and scalars as they are decoded,
// and none of a program's own types.
//
// It is sure of what it does or does not do it. What is malformed, unusual or large is left to encoding/json, so that there
// is one place that says what is wrong with it; its tests hold the two against each other.
package plainjson

import (
	"encoding/json"
	"strconv"
	"sync"
	"unicode/utf8"
)

const (
	// mostText is the largest text that is read, in bytes. The strings that come out are parts of one copy of it: who keeps
	// one of them keeps all of it.
	mostText = 64 << 10
	// mostDepth is how deep values may be nested.
	mostDepth = 32
)

// Member is one of a JSON object.
type Member struct {
	Name  string
	Value any
}

// Members reads one JSON object with nothing behind it, to its members in their order; of those of one name the last one
// counts. Numbers are json.Number. It is false where the text is no object, and where it is left to encoding/json: a large or
// deep one, one that is not UTF-8, one with surrogates.
func Members(data []byte) ([]Member, bool) {
	if len(data) > mostText {
		return nil, false
	}
	room := rooms.Get().(*[]Member) //nolint:forcetypeassert // Nothing else is put there.
	r := reader{text: string(data), members: (*room)[:0]}
	r.blank()
	ok := r.skip('{') && r.object(0)
	r.blank()
	var all []Member
	if ok = ok && r.at == len(r.text); ok {
		all = append(make([]Member, 0, len(r.members)), r.members...)
	}
	if cap(r.members) <= mostKept {
		*room = r.members
		clear((*room)[:cap(*room)]) // else it would keep the text
		rooms.Put(room)
	}
	return all, ok
}

// mostKept is for how many members room is kept.
const mostKept = 256

var rooms = sync.Pool{New: func() any { //nolint:gochecknoglobals // Room to work in, of which nothing is left.
	room := make([]Member, 0, 48)
	return &room
}}

// reader reads a text from one value to the next.
type reader struct {
	text string
	at   int
	// members are those of the objects and lists that are not read to their end. A map can be made of the right size then.
	members []Member
}

func (r *reader) blank() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\n', '\r', '\t':
			r.at++
		default:
			return
		}
	}
}

// skip goes past one character, if it is the next one.
func (r *reader) skip(c byte) bool {
	if r.at >= len(r.text) || r.text[r.at] != c {
		return false
	}
	r.at++
	return true
}

// word goes past true, false or null.
func (r *reader) word(w string) bool {
	if len(r.text)-r.at < len(w) || r.text[r.at:r.at+len(w)] != w {
		return false
	}
	r.at += len(w)
	return true
}

func (r *reader) value(depth int) (any, bool) {
	if r.at >= len(r.text) || depth > mostDepth {
		return nil, false
	}
	switch c := r.text[r.at]; c {
	case '"':
		r.at++
		return first(r.string())
	case '{':
		r.at++
		return first(r.asMap(depth))
	case '[':
		r.at++
		return first(r.list(depth))
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case 'n':
		return nil, r.word("null")
	}
	n := numberLen(r.text[r.at:])
	r.at += n
	return json.Number(r.text[r.at-n : r.at]), n > 0
}

// first keeps what was not read from being a value.
func first[T any](value T, ok bool) (any, bool) {
	if !ok {
		return nil, false
	}
	return value, true
}

// object reads what follows the bracket, to more members.
func (r *reader) object(depth int) bool {
	r.blank()
	for more := !r.skip('}'); more; {
		r.blank()
		if !r.skip('"') {
			return false
		}
		name, ok := r.string()
		r.blank()
		if !ok || !r.skip(':') {
			return false
		}
		r.blank()
		value, ok := r.value(depth + 1)
		if !ok {
			return false
		}
		r.members = append(r.members, Member{name, value})
		r.blank()
		if more = r.skip(','); !more && !r.skip('}') {
			return false
		}
	}
	return true
}

func (r *reader) asMap(depth int) (map[string]any, bool) {
	began := len(r.members)
	if !r.object(depth) {
		return nil, false
	}
	m := make(map[string]any, len(r.members)-began)
	for _, x := range r.members[began:] {
		m[x.Name] = x.Value
	}
	r.members = r.members[:began]
	return m, true
}

// list reads what follows the bracket.
func (r *reader) list(depth int) ([]any, bool) {
	began := len(r.members)
	r.blank()
	for more := !r.skip(']'); more; {
		r.blank()
		value, ok := r.value(depth + 1)
		if !ok {
			return nil, false
		}
		r.members = append(r.members, Member{"", value})
		r.blank()
		if more = r.skip(','); !more && !r.skip(']') {
			return nil, false
		}
	}
	l := make([]any, len(r.members)-began)
	for i, x := range r.members[began:] {
		l[i] = x.Value
	}
	r.members = r.members[:began]
	return l, true
}

// string reads what follows the quote.
func (r *reader) string() (string, bool) {
	wide := byte(0)
	for i := r.at; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			s := r.text[r.at:i]
			r.at = i + 1
			return s, wide < utf8.RuneSelf || utf8.ValidString(s)
		case c == '\\':
			return r.escaped(i)
		case c < ' ':
			return "", false
		default:
			wide |= c
		}
	}
	return "", false
}

// escaped reads on where the first backslash is.
func (r *reader) escaped(i int) (string, bool) {
	b := append(make([]byte, 0, 2*(i-r.at)+64), r.text[r.at:i]...)
	for i < len(r.text) {
		c := r.text[i]
		i++
		switch {
		case c == '"':
			r.at = i
			return string(b), utf8.Valid(b)
		case c < ' ', c == '\\' && i >= len(r.text):
			return "", false
		case c != '\\':
			b = append(b, c)
			continue
		}
		c = r.text[i]
		i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			const digits = 4
			if len(r.text)-i < digits {
				return "", false
			}
			code, err := strconv.ParseUint(r.text[i:i+digits], 16, 32)
			if err != nil || !utf8.ValidRune(rune(code)) { //nolint:gosec // Four digits of 4 bits.
				return "", false
			}
			b = utf8.AppendRune(b, rune(code)) //nolint:gosec // Four digits of 4 bits.
			i += digits
		default:
			return "", false
		}
	}
	return "", false
}

// numberLen is how long the number is that a text begins with; 0 where it begins with none.
func numberLen(s string) int {
	i := 0
	digits := func() bool {
		began := i
		for i < len(s) && '0' <= s[i] && s[i] <= '9' {
			i++
		}
		return i > began
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	if i < len(s) && s[i] == '0' {
		i++
	} else if !digits() {
		return 0
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return 0
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}
