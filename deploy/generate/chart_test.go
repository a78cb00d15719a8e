package generate

import (
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
)

// rendered is what Go's templates make of a text, with the few functions of Helm's that conditions have.
func rendered(t *testing.T, text string, values map[string]any) string {
	t.Helper()
	parsed, err := template.New("").Funcs(template.FuncMap{
		"list": func(all ...any) []any { return all },
		"has":  func(one any, all []any) bool { return slices.Contains(all, one) },
	}).Parse(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var out strings.Builder
	if err := parsed.Execute(&out, map[string]any{"Values": values}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func chosenValues(broker string, oidc bool, url string) map[string]any {
	return map[string]any{"broker": map[string]any{"class": broker}, "oidc": map[string]any{"enabled": oidc}, "deadLetter": map[string]any{"url": url}}
}

// Whatever is chosen, the merged text is that choice's, to the letter.
func TestMerge(t *testing.T) {
	const plain = "a\nb\nc\n"
	for name, texts := range map[string][]string{
		"all the same":                  {plain, plain, plain, plain, plain, plain, plain},
		"one is another":                {plain, "a\nkafka\nc\n", plain, plain, plain, plain, plain},
		"two are others":                {plain, "kafka\na\nb\nc\n", plain, "a\nb\nc\nrabbit\nmq\n", plain, plain, plain},
		"one has less":                  {plain, plain, "a\nc\n", plain, plain, plain, plain},
		"all but one have less":         {plain, "b\n", "b\n", "b\n", "b\n", plain, plain},
		"OIDC has more":                 {plain, plain, plain, "", plain, "a\nb\noidc\nc\n", plain},
		"a bucket has less":             {plain, plain, plain, plain, plain, plain, "a\nc\n"},
		"OIDC and a bucket have other":  {plain, plain, plain, plain, plain, "a\noidc\nb\nc\n", "a\nurl\nc\n"},
		"only there with OIDC":          {"", "", "", "", "", plain, ""},
		"nothing is shared":             {"a\n", "b\n", "c\n", "d\n", "e\n", "a\n", "a\n"},
		"the same lines in other order": {"a\nb\nc\nd\n", "d\nc\nb\na\n", "b\na\nd\nc\n", "c\nd\na\nb\n", plain, "a\nb\nc\nd\n", "a\nb\nc\nd\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := &charting{variants: variants()}
			var present set
			for i, text := range texts {
				if text != "" {
					present = present.with(i)
				}
			}
			merged, err := c.merge(texts, present)
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range c.variants {
				if !present.has(i) {
					continue
				}
				values := chosenValues(v.broker, v.oidc, map[bool]string{true: "s3://x"}[v.url])
				if got := strings.TrimPrefix(rendered(t, "\n"+merged, values), "\n"); got != texts[i] {
					t.Errorf("of %+v there is\n%s\nwant\n%s\nof\n%s", v, got, texts[i], merged)
				}
			}
		})
	}
}

func TestMergeOfWhatNothingTellsApart(t *testing.T) {
	c := &charting{variants: variants()}
	if merged, err := c.merge([]string{"a\n", "b\n", "a\n", "a\n", "a\n", "b\n", "a\n"}, 1<<7-1); err == nil {
		t.Errorf("there is no error, and this:\n%s", merged)
	}
}

func TestChoice(t *testing.T) {
	c := &charting{variants: variants()}
	for name, test := range map[string]struct {
		in   []int
		want string
	}{
		"all":                        {[]int{0, 1, 2, 3, 4, 5, 6}, ""},
		"one class":                  {[]int{1}, `eq .Values.broker.class "kafka"`},
		"the class of the others":    {[]int{0, 5, 6}, `eq .Values.broker.class "in-memory"`},
		"all but one class":          {[]int{0, 1, 2, 4, 5, 6}, `ne .Values.broker.class "rabbitmq"`},
		"some classes":               {[]int{0, 1, 2, 5, 6}, `has .Values.broker.class (list "in-memory" "kafka" "nats")`},
		"OIDC":                       {[]int{5}, ".Values.oidc.enabled"},
		"a bucket":                   {[]int{6}, ".Values.deadLetter.url"},
		"no bucket":                  {[]int{0, 1, 2, 3, 4, 5}, "not .Values.deadLetter.url"},
		"no OIDC and some classes":   {[]int{0, 2, 6}, `and (not .Values.oidc.enabled) (has .Values.broker.class (list "in-memory" "nats"))`},
		"neither OIDC nor a bucket":  {[]int{0, 1, 2, 3, 4}, "and (not .Values.oidc.enabled) (not .Values.deadLetter.url)"},
		"a class without its extras": {[]int{1, 2}, `has .Values.broker.class (list "kafka" "nats")`},
	} {
		t.Run(name, func(t *testing.T) {
			var in set
			for _, i := range test.in {
				in = in.with(i)
			}
			if diff := cmp.Diff(test.want, c.choice(in)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Braces of ours are text, expressions are put where they belong, and YAML stays YAML.
func TestOpenings(t *testing.T) {
	var o openings
	got, err := o.text(object{
		"braces":         "{{ .Alert }} and }}",
		"block":          o.node("toYaml .x"),
		"deep":           object{"list": []any{object{"key": o.node("toYaml .y")}, o.items(`{{- include "z" . | nindent %d }}`)}},
		"inline":         "http://" + o.value(".host") + "/path",
		"literal":        "first\nnamespace: " + o.value(".ns") + "\n",
		o.items("k: v"):  nil,
		"number and not": 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `k: v
block: {{- toYaml .x | nindent 2 }}
braces: '{{ "{{" }} .Alert }} and }}'
deep:
  list:
  - key: {{- toYaml .y | nindent 6 }}
{{- include "z" . | nindent 2 }}
inline: http://{{ .host }}/path
literal: |
  first
  namespace: {{ .ns }}
number and not: 1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What a Broker on Kafka is told, and no value stands for, is not lost in silence.
func TestDataOfKafka(t *testing.T) {
	c := &charting{openings: &openings{}}
	o := object{"kind": "ConfigMap", "metadata": object{"name": "kafka-broker"}, "data": object{"default.topic.retention": "1"}}
	if err := c.data(o, o, variant{broker: "kafka"}); err == nil || !strings.Contains(err.Error(), "default.topic.retention") {
		t.Errorf("the error is %v, want one that names default.topic.retention", err)
	}
}
