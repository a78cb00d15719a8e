package triggers

import (
	"bytes"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// document is one YAML document of a file.
type document struct {
	file  string
	index int // from 1
	first int // line of the file on which the document starts
	text  []byte
	root  *yaml.Node
}

// split cuts a file at its document separators, as kubectl does.
func split(file string, content []byte) []document {
	var docs []document
	var text []byte
	first := 1
	flush := func(next int) {
		if len(bytes.TrimSpace(withoutComments(text))) > 0 {
			docs = append(docs, document{file: file, index: len(docs) + 1, first: first, text: text})
		}
		text, first = nil, next
	}
	for i, line := range bytes.SplitAfter(content, []byte("\n")) {
		if separator(line) {
			flush(i + 2)
			continue
		}
		text = append(text, line...)
	}
	flush(0)
	return docs
}

func separator(line []byte) bool {
	rest, found := bytes.CutPrefix(line, []byte("---"))
	rest = bytes.TrimSpace(rest)
	return found && (len(rest) == 0 || rest[0] == '#')
}

func withoutComments(text []byte) []byte {
	var kept []byte
	for line := range bytes.Lines(text) {
		if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 && trimmed[0] != '#' {
			kept = append(kept, line...)
		}
	}
	return kept
}

// line returns the line in the file of the field at path, or of the closest
// field above it that is there.
func (d *document) line(path string) int {
	node := d.node()
	if node == nil {
		return 0
	}
	line := node.Line
	for _, key := range keys(path) {
		var at int
		node, at = child(node, key)
		if node == nil {
			break
		}
		line = at
	}
	return d.first + line - 1
}

// node returns the document as nodes with lines; nil if it cannot be parsed.
func (d *document) node() *yaml.Node {
	if d.root == nil {
		var root yaml.Node
		if err := yaml.Unmarshal(d.text, &root); err != nil || len(root.Content) == 0 {
			return nil
		}
		d.root = root.Content[0]
	}
	return d.root
}

// child returns the node under key and the line of the key.
func child(node *yaml.Node, key string) (*yaml.Node, int) {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == key {
				return node.Content[i+1], node.Content[i].Line
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i], node.Content[i].Line
		}
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode: // nothing below them has a key
	}
	return nil, 0
}

// keys takes a path apart: "spec.filters[0].exact[k8s.ns.name]" has the keys
// spec, filters, 0, exact and k8s.ns.name.
func keys(path string) []string {
	var out []string
	for path != "" {
		if path[0] == '[' {
			key, rest, _ := strings.Cut(path[1:], "]")
			out, path = append(out, key), strings.TrimPrefix(rest, ".")
			continue
		}
		end := strings.IndexAny(path, ".[")
		if end < 0 {
			return append(out, path)
		}
		out, path = append(out, path[:end]), strings.TrimPrefix(path[end:], ".")
	}
	return out
}
