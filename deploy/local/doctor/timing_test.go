package doctor

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseTimings(t *testing.T) {
	cases := map[string]struct {
		values []string
		want   []metric
		err    bool
	}{
		"none":                           {},
		"empty":                          {values: []string{"", " , "}},
		"the name alone":                 {values: []string{"miss"}, want: []metric{{name: "miss"}}},
		"what the router sends":          {values: []string{`match;dur=0.12, delete-pod;dur=28.1;desc="200"`}, want: []metric{{"match", 120 * time.Microsecond, ""}, {"delete-pod", 28100 * time.Microsecond, "200"}}},
		"several headers":                {values: []string{"a;dur=1", "b;dur=2"}, want: []metric{{"a", time.Millisecond, ""}, {"b", 2 * time.Millisecond, ""}}},
		"separators in quotes":           {values: []string{`a;desc="x, y; \"z\"";dur=1`}, want: []metric{{"a", time.Millisecond, `x, y; "z"`}}},
		"blanks and capitals":            {values: []string{" a ; DUR = 1 ; Desc = b "}, want: []metric{{"a", time.Millisecond, "b"}}},
		"the first of two equal ones":    {values: []string{"a;desc=x;desc=y"}, want: []metric{{name: "a", desc: "x"}}},
		"unknown parameters":             {values: []string{"a;foo=bar;dur=1"}, want: []metric{{"a", time.Millisecond, ""}}},
		"a quote that does not end":      {values: []string{`a;desc="x, b`}, want: []metric{{name: "a", desc: `"x, b`}}},
		"a backslash at the end":         {values: []string{`a;desc="x\`}, want: []metric{{name: "a", desc: `"x\`}}},
		"no name":                        {values: []string{";dur=1"}, err: true},
		"a name with a blank":            {values: []string{"a b;dur=1"}, err: true},
		"a duration that is none":        {values: []string{"a;dur=x"}, err: true},
		"a negative duration":            {values: []string{"a;dur=-1"}, err: true},
		"a duration that is no number":   {values: []string{"a;dur=NaN"}, err: true},
		"a duration too long to be true": {values: []string{"a;dur=1e300"}, err: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := parseTimings(c.values)
			if (err != nil) != c.err {
				t.Fatalf("error is %v", err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(metric{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
