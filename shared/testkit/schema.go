package testkit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// outcomeSchema is docs/outcome.schema.json, read once: it is asked about thousands of outcomes.
var outcomeSchema struct { //nolint:gochecknoglobals // A file that does not change while tests run.
	once   sync.Once
	schema *jsonschema.Resolved
	err    error
}

func loadSchema(path string) (*jsonschema.Resolved, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	var s jsonschema.Schema
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	return resolved, nil
}

// ValidateOutcome says what is wrong with the data of an outcome event by docs/outcome.schema.json, which is what
// receivers rely on.
func ValidateOutcome(tb testing.TB, data []byte) error {
	tb.Helper()
	s := &outcomeSchema
	s.once.Do(func() { s.schema, s.err = loadSchema(filepath.Join(Root(tb), "docs", "outcome.schema.json")) })
	if s.err != nil {
		tb.Fatal(s.err)
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return fmt.Errorf("outcome is no JSON: %w", err)
	}
	return s.schema.Validate(value)
}
