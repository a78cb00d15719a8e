package triggers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var lineNumber = regexp.MustCompile(`\bline (\d+)`)

// yamlError returns what a YAML parser says of the document with the lines of the file, which are others from the
// second document on, and the first of them; 0 if it names none.
func (d *document) yamlError(err error) (line int, message string) {
	message = strings.TrimPrefix(strings.TrimPrefix(oneLine(err), "yaml: "), "unmarshal errors: ")
	message = lineNumber.ReplaceAllStringFunc(message, func(text string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(text, "line ")) // The expression takes digits only.
		n += d.first - 1
		if line == 0 {
			line = n
		}
		return fmt.Sprintf("line %d", n)
	})
	return line, strings.TrimPrefix(message, fmt.Sprintf("line %d: ", line))
}

// rest says what is wrong with what follows the document behind a separator that split does not know, such as "..." or
// "--- !tag", and on which line; nothing if there is nothing. Parsers of one document, kubectl's too, pass over it.
func (d *document) rest() (line int, message string) {
	decoder := yaml.NewDecoder(bytes.NewReader(d.text))
	var document, next yaml.Node
	err := decoder.Decode(&document)
	if err == nil {
		err = decoder.Decode(&next)
	}
	switch {
	case errors.Is(err, io.EOF):
		return 0, ""
	case err != nil:
		line, message = d.yamlError(err)
		return line, "not valid YAML: " + message
	}
	return d.first + next.Line - 1, "what begins here would be passed over"
}

// typeError says which field has a value of another type than it should have, if the error is about that.
func (d *document) typeError(err error) (field, message string) {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return "", oneLine(err)
	}
	got, _, _ := strings.Cut(wrong.Value, " ") // "number 1e9" where it is one that does not fit.
	field = wrong.Field
	if root := d.node(); root != nil {
		if found := offender(root, "", keys(wrong.Field), got); found != "" {
			field = found
		}
	}
	return field, fmt.Sprintf("the value is %s, want %s", article(got), wanted(wrong.Type))
}

// offender finds the first value of a JSON type at a path of JSON's decoder, which leaves out the indices of lists and
// the keys of maps.
func offender(node *yaml.Node, at string, rest []string, jsonType string) string {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if len(rest) == 0 && typeOf(node) == jsonType {
		return at
	}
	if node.Kind == yaml.SequenceNode {
		for i, item := range node.Content {
			if found := offender(item, fmt.Sprintf("%s[%d]", at, i), rest, jsonType); found != "" {
				return found
			}
		}
	}
	if node.Kind != yaml.MappingNode {
		return ""
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, below := node.Content[i].Value, rest
		if len(rest) > 0 {
			if name != rest[0] {
				continue
			}
			below = rest[1:]
		}
		if found := offender(node.Content[i+1], strings.TrimPrefix(at+key(name), "."), below, jsonType); found != "" {
			return found
		}
	}
	return ""
}

func typeOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "object"
	case node.Kind == yaml.SequenceNode:
		return "array"
	case node.Kind != yaml.ScalarNode:
		return ""
	}
	switch node.ShortTag() {
	case "!!int", "!!float":
		return "number"
	case "!!bool":
		return "bool"
	case "!!null":
		return "null"
	}
	return "string"
}

// article names a type of JSON in words.
func article(jsonType string) string {
	switch jsonType {
	case "object":
		return "one with fields"
	case "array":
		return "a list"
	case "bool":
		return "true or false"
	case "string":
		return "text"
	}
	return "a " + jsonType
}

// wanted names the type of a field in words.
func wanted(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // The others are in no manifest.
	case reflect.String:
		return "text, in quotes"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int32, reflect.Int64:
		return "a whole number"
	}
	return "fields with names"
}
