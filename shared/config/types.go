package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
)

// Secret is a setting that must not be seen: NAME holds the value, or NAME_FILE the path of
// a mounted file, which is read at each use so that a rotated secret takes effect.
type Secret struct {
	name, file string
	// value is behind a pointer because package fmt cannot call String on a field of an unexported
	// field, and prints what that holds: of a pointer, the address.
	value *string
}

// NewSecret is a secret with a fixed value, for tests.
func NewSecret(name, value string) Secret { return Secret{name: name, value: &value} }

// IsSet says whether the secret is configured.
func (s Secret) IsSet() bool { return s.file != "" || (s.value != nil && *s.value != "") }

// Read is the value now, without a trailing line break.
func (s Secret) Read() (string, error) {
	if s.file == "" {
		if s.value == nil {
			return "", nil
		}
		return *s.value, nil
	}
	b, err := os.ReadFile(s.file)
	if err != nil {
		return "", fmt.Errorf("read %s_FILE: %w", s.name, err)
	}
	value := strings.TrimRight(string(b), "\r\n")
	if value == "" {
		return "", fmt.Errorf("read %s_FILE: %s is empty", s.name, s.file)
	}
	return value, nil
}

// Lines are the values of a secret that may have several, one on a line, while it is rotated: one or more.
func (s Secret) Lines() ([]string, error) {
	text, err := s.Read()
	if err != nil {
		return nil, err
	}
	var values []string
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			values = append(values, line)
		}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("%s holds nothing but blanks: want a value on each line", s.name)
	}
	return values, nil
}

// String hides the value.
func (s Secret) String() string {
	if s.IsSet() {
		return "[secret]"
	}
	return ""
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the value from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the value from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Describe says what is allowed.
func (Secret) Describe() string { return "text, or a path in NAME_FILE" }

func setSecret(environ map[string]string, p Param) error {
	value, given := environ[p.Name]
	s := NewSecret(p.Name, value)
	file, fileGiven := environ[p.Name+fileSuffix]
	s.file = file
	switch {
	case fileGiven && file == "":
		return fmt.Errorf("%s_FILE is empty: want the path of a file, or the variable unset", p.Name)
	case *s.value != "" && s.file != "":
		return fmt.Errorf("%s and %s_FILE are both set: want one of them", p.Name, p.Name)
	case given && !s.IsSet():
		return fmt.Errorf("%s is empty: want a value, or the variable unset", p.Name)
	case p.Required && !s.IsSet():
		return fmt.Errorf("%s is not set: want it, or %s_FILE with the path of a file", p.Name, p.Name)
	case s.file != "":
		if _, err := s.Read(); err != nil {
			return fmt.Errorf("%s_FILE is %q: want a readable file that is not empty: %w", p.Name, s.file, err)
		}
	}
	if field, ok := reflect.TypeAssert[*Secret](p.field.Addr()); ok {
		*field = s
	}
	return nil
}

// List is a comma-separated list; blanks around the entries are dropped.
type List []string

// UnmarshalText reads the list.
func (l *List) UnmarshalText(b []byte) error {
	*l = nil
	for part := range strings.SplitSeq(string(b), ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			return errors.New("an entry is empty")
		}
		*l = append(*l, part)
	}
	return nil
}

// Describe says what is allowed.
func (List) Describe() string { return "a comma-separated list" }
