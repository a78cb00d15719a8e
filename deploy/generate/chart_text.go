package generate

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// openings are places in the text of objects that get an expression of Go's templates. While an object is data, a word
// stands there that YAML leaves as it is.
type openings struct{ of []opening }

// opening is the text of one place, for the column where it begins.
type opening struct {
	kind openingKind
	text func(indent int) string
}

type openingKind int

const (
	// inline is a scalar, or a part of one.
	inline openingKind = iota
	// block is a list or a map that an expression makes, as the value of a key.
	block
	// lines is any number of items of a list or a map: an item of its own in a list, a key of its own in a map.
	lines
)

func (o *openings) add(kind openingKind, text func(indent int) string) string {
	o.of = append(o.of, opening{kind, text})
	return fmt.Sprintf("RIPOSTEx%dx", len(o.of)-1)
}

// value is an expression for a scalar.
func (o *openings) value(expression string) string {
	return o.add(inline, func(int) string { return "{{ " + expression + " }}" })
}

// node is an expression that makes a list or a map, as text.
func (o *openings) node(expression string) string {
	return o.add(block, func(indent int) string { return fmt.Sprintf("{{- %s | nindent %d }}", expression, indent) })
}

// items are lines of text in a list or a map, whatever they are. %d is the column where they begin.
func (o *openings) items(text string) string {
	return o.add(lines, func(indent int) string {
		pad := strings.Repeat(" ", indent)
		var out strings.Builder
		for line := range strings.Lines(strings.ReplaceAll(text, "%d", strconv.Itoa(indent))) {
			// Actions swallow what is before them.
			if !strings.HasPrefix(line, "{{-") {
				out.WriteString(pad)
			}
			out.WriteString(line)
		}
		return strings.TrimSuffix(out.String(), "\n")
	})
}

var (
	word     = regexp.MustCompile(`RIPOSTEx(\d+)x`)
	keyed    = regexp.MustCompile(`^( *(?:- )*)([^ ].*): RIPOSTEx(\d+)x$`)
	itemised = regexp.MustCompile(`^( *)- RIPOSTEx(\d+)x$`)
	alone    = regexp.MustCompile(`^( *)RIPOSTEx(\d+)x: (?:null|"")$`)
)

// text is the object as YAML, with the expressions in it.
func (o *openings) text(of any) (string, error) {
	content, err := yaml.Marshal(of)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for line := range strings.Lines(string(content)) {
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "{{", `{{ "{{" }}`)
		switch {
		case o.is(itemised, line, lines):
			m := itemised.FindStringSubmatch(line)
			line = o.at(m[2]).text(len(m[1]))
		case o.is(alone, line, lines):
			m := alone.FindStringSubmatch(line)
			line = o.at(m[2]).text(len(m[1]))
		case o.is(keyed, line, block):
			m := keyed.FindStringSubmatch(line)
			line = m[1] + m[2] + ": " + o.at(m[3]).text(len(m[1])+2)
		default:
			line = word.ReplaceAllStringFunc(line, func(w string) string { return o.at(word.FindStringSubmatch(w)[1]).text(0) })
		}
		out.WriteString(line + "\n")
	}
	return out.String(), nil
}

func (o *openings) at(number string) opening {
	i, _ := strconv.Atoi(number)
	return o.of[i]
}

func (o *openings) is(pattern *regexp.Regexp, line string, kind openingKind) bool {
	m := pattern.FindStringSubmatch(line)
	return m != nil && o.at(m[len(m)-1]).kind == kind
}

// shared is a line with the variants that have it.
type shared struct {
	text string
	in   set
}

// merge puts the texts of the variants into one: lines that not all have get the condition of those that do. Whatever is
// chosen, what comes out is that variant's text, to the letter.
func (c *charting) merge(texts []string, present set) (string, error) {
	var merged []shared
	for i, t := range texts {
		if present.has(i) {
			merged = align(merged, strings.SplitAfter(strings.TrimSuffix(t, "\n"), "\n"), i)
		}
	}
	var out strings.Builder
	for at := 0; at < len(merged); {
		in := merged[at].in
		end := at
		for end < len(merged) && merged[end].in == in {
			end++
		}
		condition := ""
		if in != present {
			if c.ambiguous(in) {
				return "", fmt.Errorf("%q is of another Broker and of OIDC or a bucket, but not of both at once: want a condition for it", merged[at].text)
			}
			condition = c.choice(in)
			out.WriteString("{{- if " + condition + " }}\n")
		}
		for _, line := range merged[at:end] {
			out.WriteString(strings.TrimSuffix(line.text, "\n") + "\n")
		}
		if condition != "" {
			out.WriteString("{{- end }}\n")
		}
		at = end
	}
	return out.String(), nil
}

// align adds the lines of variant i: the longest sequence of lines that both have is one, the rest is each one's own.
func align(merged []shared, text []string, i int) []shared {
	same := func(a, b int) bool {
		return strings.TrimSuffix(merged[a].text, "\n") == strings.TrimSuffix(text[b], "\n")
	}
	// length[a][b] is that of the longest sequence that merged[a:] and text[b:] share.
	length := make([][]int, len(merged)+1)
	for a := range length {
		length[a] = make([]int, len(text)+1)
	}
	for a := range slices.Backward(merged) {
		for b := range slices.Backward(text) {
			if same(a, b) {
				length[a][b] = length[a+1][b+1] + 1
			} else {
				length[a][b] = max(length[a+1][b], length[a][b+1])
			}
		}
	}
	var out []shared
	a, b := 0, 0
	for a < len(merged) || b < len(text) {
		switch {
		case a < len(merged) && b < len(text) && same(a, b):
			out = append(out, shared{merged[a].text, merged[a].in.with(i)})
			a, b = a+1, b+1
		case b == len(text) || a < len(merged) && length[a+1][b] >= length[a][b+1]:
			out = append(out, merged[a])
			a++
		default:
			out = append(out, shared{text[b], set(0).with(i)})
			b++
		}
	}
	return out
}
