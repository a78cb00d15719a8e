package function

import (
	"errors"
	"fmt"
	"strings"

	// This is text/template but for the call of methods, of which a View has none. To look one up by name is what would
	// have the linker keep every method of every type: nine megabytes.
	template "github.com/DataDog/datadog-agent/pkg/template/text"
)

// Template is MESSAGE_TEMPLATE.
type Template struct {
	text   string
	parsed *template.Template
}

// UnmarshalText parses the template and tries it on an alert and an outcome without any values, so that a wrong
// field, and one that is taken for granted, shows at start.
func (t *Template) UnmarshalText(b []byte) error {
	parsed, err := template.New("MESSAGE_TEMPLATE").Option("missingkey=zero").Parse(string(b))
	if err != nil {
		return err
	}
	t.text, t.parsed = string(b), parsed
	_, err = t.execute(View{})
	_, outcomeErr := t.execute(View{Response: "delete-pod", Outcome: "applied"})
	return errors.Join(err, outcomeErr)
}

// MarshalText is the template as it was read.
func (t Template) MarshalText() ([]byte, error) { return []byte(t.text), nil }

// Describe says what is allowed.
func (Template) Describe() string { return "a Go text template" }

// execute makes the text; without a template there is none.
func (t Template) execute(v View) (string, error) {
	if t.parsed == nil {
		return "", nil
	}
	var b strings.Builder
	if err := t.parsed.Execute(&b, v); err != nil {
		return "", fmt.Errorf("render the message: %w", err)
	}
	return b.String(), nil
}
