package plainjson

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Append appends a value as json.Marshal writes it. Values of other types than those that decoding gives are handed to it.
func Append(b []byte, value any) ([]byte, error) { return appendValue(b, value, 0) }

func appendValue(b []byte, value any, depth int) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(b, "null"...), nil
	case string:
		return AppendString(b, v), nil
	case bool:
		return strconv.AppendBool(b, v), nil
	case int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case int64:
		return strconv.AppendInt(b, v, 10), nil
	case float64:
		// Others are written with an exponent.
		if abs := math.Abs(v); abs == 0 || abs >= 1e-6 && abs < 1e21 {
			return strconv.AppendFloat(b, v, 'f', -1, 64), nil
		}
	case json.Number:
		if n := numberLen(string(v)); n > 0 && n == len(v) {
			return append(b, v...), nil
		}
	case []string:
		if v != nil {
			return appendStrings(b, v), nil
		}
	case []any:
		if v != nil && depth < mostDepth {
			return appendList(b, v, depth)
		}
	case map[string]any:
		if v != nil && depth < mostDepth {
			return appendObject(b, v, depth)
		}
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	return append(b, encoded...), nil
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, s)
	}
	return append(b, ']')
}

func appendList(b []byte, list []any, depth int) (_ []byte, err error) {
	b = append(b, '[')
	for i, value := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendValue(b, value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendObject writes the members in the order of their names.
func appendObject(b []byte, object map[string]any, depth int) (_ []byte, err error) {
	var room [32]string
	names := room[:0]
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, '{')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(AppendString(b, name), ':')
		if b, err = appendValue(b, object[name], depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// asItIs are the bytes that a text is written with as they are.
var asItIs = func() (table [256]bool) { //nolint:gochecknoglobals // A table that nothing writes to.
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'
	}
	return table
}()

// AppendString appends a text in quotes, safe within HTML and JavaScript too, as json.Marshal writes it.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	began := 0
	for i := 0; i < len(s); {
		c := s[i]
		if asItIs[c] {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				b = append(append(b, s[began:i]...), `\ufffd`...)
			case r == '\u2028' || r == '\u2029':
				b = append(append(b, s[began:i]...), '\\', 'u', '2', '0', '2', hex[r&0xf])
			default:
				i += size
				continue
			}
			i += size
			began = i
			continue
		}
		b = append(b, s[began:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
		i++
		began = i
	}
	return append(append(b, s[began:]...), '"')
}

// AppendTime appends a time as json.Marshal writes it.
func AppendTime(b []byte, t time.Time) ([]byte, error) {
	b, err := t.AppendText(append(b, '"'))
	if err != nil {
		return nil, fmt.Errorf("encode a time: %w", err)
	}
	return append(b, '"'), nil
}
