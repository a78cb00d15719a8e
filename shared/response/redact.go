package response

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
)

// Redacted stands where something was taken out.
const Redacted = "[redacted]"

// shortest is the length, in characters, from which a redacted value is taken out of free text too. Shorter ones, such
// as a user's name of two letters, would tear holes into every word.
const shortest = 4

// Redaction takes values out of what is published: the values of the output fields that REDACT names, wherever they
// occur, and what looks like a credential (credentials.go). It never touches what the response itself sees, nor what
// identifies the alert and its target. docs/outcome.md says what it cannot find.
type Redaction struct {
	Fields config.List `env:"REDACT" help:"Output fields whose values are left out of outcomes and messages; * matches any part of a name. Credentials are left out anyway; see docs/outcome.md."`
}

// identifying are the fields without which a function that follows an outcome would find another pod, or none, or take
// the alert for another one.
func identifying() []string { return append(ofTarget(), falco.EventFields()...) }

func ofTarget() []string {
	return []string{
		"k8s.ns.name", "k8s.pod.name", "k8s.pod.uid", "k8s.pod.id", "container.id", "container.full_id",
		"ka.target.resource", "ka.target.namespace", "ka.target.name",
	}
}

// identifies says whether a field is one of them.
func identifies(field string) bool {
	return slices.Contains(ofTarget(), field) || slices.Contains(falco.EventFields(), field)
}

// fieldPattern is a field's name, or a pattern of some: proc.cmdline, user.*, ka.uri.param[command].
var fieldPattern = regexp.MustCompile(`^[!-~]+$`)

// Validate refuses what would take the alert's target away.
func (r Redaction) Validate() error {
	for _, pattern := range r.Fields {
		if !fieldPattern.MatchString(pattern) {
			return fmt.Errorf("REDACT has %q: want names of output fields, separated by commas, in which * matches any part", pattern)
		}
		for _, field := range identifying() {
			if matches(pattern, field) {
				return fmt.Errorf("REDACT has %q, which takes out %s: want fields and patterns other than %s, by which a function that follows an outcome finds the target",
					pattern, field, strings.Join(identifying(), ", "))
			}
		}
	}
	return nil
}

// matches says whether * and the letters of pattern make up name.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, found := strings.CutPrefix(name, parts[0])
	if !found {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		if _, rest, found = strings.Cut(rest, part); !found {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

func (r Redaction) covers(field string) bool {
	return len(r.Fields) > 0 && !identifies(field) && slices.ContainsFunc(r.Fields, func(p string) bool { return matches(p, field) })
}

// Apply is the record as it may be published. The record itself stays as it is.
func (r Redaction) Apply(record Record) Record {
	r.apply(&record)
	return record
}

func (r Redaction) apply(record *Record) {
	s := r.scrubber(record.Alert)
	record.Alert = r.alert(s, record.Alert)
	record.Message = s.text(record.Message)
	record.Details = s.object(record.Details)
	record.Changes = slices.Clone(record.Changes)
	for i, c := range record.Changes {
		record.Changes[i] = Change{Field: s.text(c.Field), Before: s.value(c.Before), After: s.value(c.After)}
	}
}

// Alert is the alert as it may be published: cut, too, if it is very large.
func (r Redaction) Alert(a falco.Alert) falco.Alert { return r.alert(r.scrubber(a), a) }

// alert looks for values first: of one that was cut, the rest could not be recognised. Credentials can be, and what
// nobody will see need not be searched.
func (r Redaction) alert(s *scrubber, a falco.Alert) falco.Alert {
	if s.replacer != nil {
		values := *s
		values.credentials = false
		a = r.scrub(&values, a)
	}
	return r.scrub(&scrubber{credentials: true}, a.Compact())
}

// scrub copies the fields only if it has to change one: of most alerts nothing is taken out.
func (r Redaction) scrub(s *scrubber, a falco.Alert) falco.Alert {
	fields := a.Fields
	if fields == nil {
		fields = falco.Fields{}
	}
	copied := false
	for name, value := range a.Fields {
		scrubbed, same := r.field(s, name, value)
		if same {
			continue
		}
		if !copied {
			fields, copied = maps.Clone(fields), true
		}
		fields[name] = scrubbed
	}
	a.Fields, a.Output = fields, s.text(a.Output)
	return a
}

// field is what is left of a field, and whether that is all of it.
func (r Redaction) field(s *scrubber, name string, value any) (scrubbed any, same bool) {
	switch {
	case value == nil || identifies(name):
		return value, true
	case r.covers(name):
		return Redacted, false
	}
	var before, after string
	switch v := value.(type) {
	case bool:
		return value, true
	case string:
		before, after = v, s.text(v)
	case json.Number:
		before, after = v.String(), s.text(v.String())
	default:
		return s.value(value), false
	}
	if after == before {
		return value, true
	}
	return after, false
}

// scrubber takes the values of one alert out of texts.
type scrubber struct {
	values []string
	// begun are the beginnings of values that were cut before they came here: what follows in a text is theirs too.
	begun    []string
	replacer *strings.Replacer
	// credentials says that they are taken out too.
	credentials bool
}

func (r Redaction) scrubber(a falco.Alert) *scrubber {
	s := &scrubber{credentials: true}
	if len(r.Fields) == 0 {
		return s
	}
	for _, name := range slices.Sorted(maps.Keys(a.Fields)) {
		if r.covers(name) {
			s.collect(a.Fields[name])
		}
	}
	slices.SortFunc(s.values, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, v := range s.values {
		pairs = append(pairs, v, Redacted)
	}
	s.replacer = strings.NewReplacer(pairs...)
	return s
}

// collect notes what a value looks like in texts, also in one that is JSON itself.
func (s *scrubber) collect(value any) {
	switch v := value.(type) {
	case string:
		v = strings.TrimSpace(v)
		if begin, cut := uncut(v); cut && utf8.RuneCountInString(begin) >= shortest {
			s.begun = append(s.begun, begin)
		}
		if utf8.RuneCountInString(v) < shortest {
			return
		}
		s.values = append(s.values, v)
		for _, html := range []bool{false, true} {
			if quoted := quote(v, html); quoted != v {
				s.values = append(s.values, quoted)
			}
		}
	case json.Number:
		s.collect(v.String())
	case []any:
		for _, e := range v {
			s.collect(e)
		}
	case map[string]any:
		for _, e := range v {
			s.collect(e)
		}
	}
}

// quote is how a text stands in JSON.
func quote(text string, html bool) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if err := e.Encode(text); err != nil {
		return text
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(b.String()), `"`), `"`)
}

// uncut is a text without the mark that says it was longer once.
func uncut(text string) (string, bool) {
	for _, mark := range []string{"[...]", "...", "…"} {
		if begin, cut := strings.CutSuffix(text, mark); cut {
			return strings.TrimRight(begin, "\ufffd"), true
		}
	}
	return text, false
}

// text is a text without the values and without credentials.
func (s *scrubber) text(text string) string {
	if s.replacer != nil {
		text = s.tail(s.replacer.Replace(text))
		for _, begin := range s.begun {
			if before, _, found := strings.Cut(text, begin); found {
				text = before + Redacted
			}
		}
	}
	if s.credentials {
		text = withoutCredentials(text)
	}
	return text
}

// tail takes the beginning of a value off the end of a text that was cut within it.
func (s *scrubber) tail(text string) string {
	begin, cut := uncut(text)
	if !cut {
		return text
	}
	for _, v := range s.values {
		for n := min(len(v)-1, len(begin)); n >= shortest; n-- {
			if strings.HasSuffix(begin, v[:n]) {
				return begin[:len(begin)-n] + Redacted
			}
		}
	}
	return text
}

// value does the same for whatever encodes to JSON.
func (s *scrubber) value(value any) any {
	switch v := value.(type) {
	case nil, bool, int, int32, int64, float64:
		return v
	case string:
		return s.text(v)
	case json.Number:
		if text := s.text(v.String()); text != v.String() {
			return text
		}
		return v
	case Verdict:
		if text := s.text(string(v)); text != string(v) {
			return text
		}
		return v
	case []string:
		out := make([]string, len(v))
		for i, e := range v {
			out[i] = s.text(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = s.value(e)
		}
		return out
	case map[string]any:
		return s.object(v)
	}
	return s.encoded(value)
}

func (s *scrubber) object(m map[string]any) map[string]any {
	if m == nil || s.keepsAll(m) {
		return m
	}
	out := make(map[string]any, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out[s.text(name)] = s.value(m[name])
	}
	return out
}

// keepsAll says that nothing in an object has to be taken out, nor become another type. It need not be copied then.
func (s *scrubber) keepsAll(m map[string]any) bool {
	for name, value := range m {
		if s.text(name) != name || !s.keeps(value) {
			return false
		}
	}
	return true
}

func (s *scrubber) keeps(value any) bool {
	switch v := value.(type) {
	case nil, bool, int, int32, int64, float64:
		return true
	case string:
		return s.text(v) == v
	case Verdict:
		return s.text(string(v)) == string(v)
	case map[string]any:
		return v != nil && s.keepsAll(v)
	}
	return false
}

// encoded is for types of a response's own. Lists and objects become what a receiver decodes: an outcome that is given again, out of
// its record, has the same bytes then.
func (s *scrubber) encoded(value any) any {
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
	scrubbed := s.value(plain)
	if text, scalar := plain.(string); scalar && scrubbed == text {
		return value
	}
	return scrubbed
}
