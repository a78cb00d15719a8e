package store

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxKey bounds a key, in bytes.
const maxKey = 200

// Check says what is wrong with a key or a value, if anything. Every store asks it before anything else, so that all of
// them refuse the same.
func Check(key string, value []byte) error {
	switch {
	case key == "":
		return fmt.Errorf("the key of a record is empty: want 1 to %d bytes of printable text", maxKey)
	case len(key) > maxKey:
		return fmt.Errorf("the key of a record, %.40q..., has %d bytes: want 1 to %d", key, len(key), maxKey)
	case !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("the key of a record is %q: want printable text", key)
	case len(value) > MaxValue:
		return fmt.Errorf("the value of record %q has %d bytes: want %d at most", key, len(value), MaxValue)
	}
	return nil
}
