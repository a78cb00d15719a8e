package config_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/riposte-dev/riposte/shared/config"
)

// even is a setting's type of our own.
type even int

func (e *even) UnmarshalText(b []byte) error {
	if len(b)%2 != 0 {
		return errors.New("it is odd")
	}
	*e = even(len(b))
	return nil
}

func (even) Describe() string { return "text of even length" }

type common struct {
	DryRun bool `env:"DRY_RUN" envDefault:"false" help:"Change nothing."`
}

type settings struct {
	Grace time.Duration `env:"GRACE_PERIOD" envDefault:"30s" help:"Time."`
	common
	Count  int         `env:"COUNT" envDefault:"3"`
	Mode   string      `env:"MODE" envDefault:"delete" oneof:"delete,evict"`
	Name   string      `env:"NAME" required:"true"`
	Labels config.List `env:"LABELS"`
	Even   even        `env:"EVEN"`
	_      string      `env:"AWS_REGION" help:"Read by a library."`
	Plain  string
}

func TestLoad(t *testing.T) {
	cases := map[string]struct {
		environ map[string]string
		want    settings
	}{
		"defaults": {
			environ: map[string]string{"NAME": "n"},
			want:    settings{Grace: 30 * time.Second, Count: 3, Mode: "delete", Name: "n"},
		},
		"everything": {
			environ: map[string]string{
				"GRACE_PERIOD": "5m", "DRY_RUN": "true", "COUNT": "-7", "MODE": "evict", "NAME": " n ", "LABELS": "a, b ,c", "EVEN": "four",
				"AWS_REGION": "eu-west-1", "PATH": "/bin", "Plain": "x",
			},
			want: settings{
				Grace: 5 * time.Minute, common: common{DryRun: true}, Count: -7, Mode: "evict", Name: " n ",
				Labels: config.List{"a", "b", "c"}, Even: 4,
			},
		},
		"an empty variable is an unset one": {
			environ: map[string]string{"GRACE_PERIOD": "", "COUNT": "", "MODE": "", "NAME": "n", "LABELS": "", "EVEN": ""},
			want:    settings{Grace: 30 * time.Second, Count: 3, Mode: "delete", Name: "n"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got settings
			if err := config.Load(c.environ, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(settings{}), cmpopts.IgnoreTypes(struct{}{})); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

// mentions says whether one line of err holds all of the words.
func mentions(err error, words ...string) bool {
	if err == nil {
		return false
	}
	return slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

// What an operator needs: the variable, the value it has, and what is allowed.
func TestLoadNamesWhatIsWrong(t *testing.T) {
	cases := map[string]struct {
		environ map[string]string
		words   []string
	}{
		"no duration":        {map[string]string{"GRACE_PERIOD": "30"}, []string{"GRACE_PERIOD", `"30"`, "30s"}},
		"no whole number":    {map[string]string{"COUNT": "1.5"}, []string{"COUNT", `"1.5"`, "whole number"}},
		"a number too large": {map[string]string{"COUNT": "9223372036854775808"}, []string{"COUNT", `"9223372036854775808"`, "whole number"}},
		"neither true nor false": {
			map[string]string{"DRY_RUN": "yes"}, []string{"DRY_RUN", `"yes"`, "true or false"},
		},
		"a blank for true or false": {map[string]string{"DRY_RUN": " "}, []string{"DRY_RUN", `" "`, "true or false"}},
		"empty for true or false":   {map[string]string{"DRY_RUN": ""}, []string{"DRY_RUN", "empty", "true or false"}},
		"not one of those allowed":  {map[string]string{"MODE": "Delete"}, []string{"MODE", `"Delete"`, "delete, evict"}},
		"a required one missing":    {map[string]string{"NAME": ""}, []string{"NAME", "not set", "text"}},
		"a required one blank":      {map[string]string{"NAME": " "}, []string{"NAME", "not set", "text"}},
		"an empty entry":            {map[string]string{"LABELS": "a,,b"}, []string{"LABELS", `"a,,b"`, "comma-separated list", "empty"}},
		"a type of our own":         {map[string]string{"EVEN": "odd"}, []string{"EVEN", `"odd"`, "even length", "it is odd"}},
		"a name without underscore": {map[string]string{"DRYRUN": "true"}, []string{"DRYRUN", "DRY_RUN"}},
		"a name in lower case":      {map[string]string{"dry_run": "true"}, []string{"dry_run", "DRY_RUN"}},
		"a name with a dash":        {map[string]string{"DRY-RUN": "true"}, []string{"DRY-RUN", "DRY_RUN"}},
		"a name near that of a library's": {
			map[string]string{"AWSREGION": "eu-west-1"}, []string{"AWSREGION", "AWS_REGION"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if _, given := c.environ["NAME"]; !given {
				c.environ["NAME"] = "n"
			}
			var s settings
			err := config.Load(c.environ, &s)
			if !mentions(err, c.words...) {
				t.Errorf("error is %v: want a line with %q", err, c.words)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("one bad variable gives several lines: %v", err)
			}
		})
	}
}

// The path of the authorities of callers, say: empty, or under another name, everybody would be let in.
func TestLoadOfPaths(t *testing.T) {
	type paths struct {
		CA    string        `env:"CLIENT_CA_FILE"`
		Topic string        `env:"TOPIC"`
		Token config.Secret `env:"TOKEN"`
	}
	cases := map[string]struct {
		variable, value string
		words           []string
	}{
		"a path":                       {"CLIENT_CA_FILE", "/ca.crt", nil},
		"an empty path":                {"CLIENT_CA_FILE", "", []string{"CLIENT_CA_FILE", "empty"}},
		"a path without _FILE":         {"CLIENT_CA", "/ca.crt", []string{"CLIENT_CA ", "CLIENT_CA_FILE"}},
		"a path in another notation":   {"client-ca", "/ca.crt", []string{"client-ca ", "CLIENT_CA_FILE"}},
		"a file of what takes none":    {"TOPIC_FILE", "/topic", []string{"TOPIC_FILE", "TOPIC?"}},
		"a file of a secret":           {"TOKEN_FILE", "config_test.go", nil},
		"another notation of a file's": {"TOKENFILE", "config_test.go", []string{"TOKENFILE", "TOKEN_FILE?"}},
		"a name that begins like one":  {"CLIENT_CA_FILES", "x", nil},
		"the ending alone":             {"_FILE", "x", nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var s paths
			err := config.Load(map[string]string{c.variable: c.value}, &s)
			if c.words == nil && err != nil || c.words != nil && !mentions(err, c.words...) {
				t.Errorf("error is %v: want %q", err, c.words)
			}
		})
	}
}

func TestLoadNamesEverything(t *testing.T) {
	type other struct {
		Port int `env:"PORT"`
	}
	environ := map[string]string{"GRACE_PERIOD": "x", "COUNT": "x", "MODE": "x", "DRYRUN": "1", "dry-run": "1", "PORT": "x"}
	err := config.Load(environ, &settings{}, &other{})
	if err == nil {
		t.Fatal("accepted")
	}
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		got = append(got, strings.Fields(line)[0])
	}
	want := []string{"GRACE_PERIOD", "COUNT", "MODE", "NAME", "PORT", "DRYRUN", "dry-run"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("variables named (-want +got):\n%s", diff)
	}
}

// A setting of another struct, or its NAME_FILE, is no misspelling.
func TestLoadKnowsAllTargets(t *testing.T) {
	type one struct {
		A string `env:"A_B"`
	}
	type two struct {
		B string        `env:"AB"`
		C config.Secret `env:"A_BFILE"`
	}
	if err := config.Load(map[string]string{"A_B": "1", "AB": "2", "A_BFILE": "3"}, &one{}, &two{}); err != nil {
		t.Error(err)
	}
}

func TestLoadRefusesABadDefault(t *testing.T) {
	type bad struct {
		Wait time.Duration `env:"WAIT" envDefault:"soon"`
	}
	if err := config.Load(nil, &bad{}); !mentions(err, "WAIT", "soon", "default") {
		t.Errorf("error is %v", err)
	}
}

type ranged struct {
	Low  int `env:"LOW" envDefault:"1"`
	High int `env:"HIGH" envDefault:"2"`
}

func (r ranged) Validate() error {
	if r.Low > r.High {
		return errors.New("LOW is above HIGH")
	}
	return nil
}

func TestLoadValidates(t *testing.T) {
	if err := config.Load(map[string]string{"LOW": "2"}, &ranged{}); err != nil {
		t.Error(err)
	}
	if err := config.Load(map[string]string{"LOW": "3"}, &ranged{}); !mentions(err, "LOW is above HIGH") {
		t.Errorf("error is %v", err)
	}
	// With an unreadable value there is nothing to compare with.
	if err := config.Load(map[string]string{"LOW": "3", "HIGH": "x"}, &ranged{}); mentions(err, "above") || !mentions(err, "HIGH", "x") {
		t.Errorf("error is %v", err)
	}
}

func TestParams(t *testing.T) {
	got := config.Params(&settings{})
	want := []config.Param{
		{Name: "GRACE_PERIOD", Type: "a duration such as 30s or 5m", Default: "30s", Help: "Time."},
		{Name: "DRY_RUN", Type: "true or false", Default: "false", Help: "Change nothing."},
		{Name: "COUNT", Type: "a whole number", Default: "3"},
		{Name: "MODE", Type: "text", Default: "delete", Allowed: []string{"delete", "evict"}},
		{Name: "NAME", Type: "text", Required: true},
		{Name: "LABELS", Type: "a comma-separated list"},
		{Name: "EVEN", Type: "text of even length"},
		{Name: "AWS_REGION", Type: "text", Help: "Read by a library."},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Param{})); diff != "" {
		t.Errorf("params (-want +got):\n%s", diff)
	}
	type secret struct {
		Token config.Secret `env:"TOKEN"`
		Other []string      `env:"OTHER"`
		Ratio float64       `env:"RATIO"`
	}
	want = []config.Param{
		{Name: "TOKEN", Type: "text, or a path in NAME_FILE", Secret: true},
		{Name: "OTHER", Type: "a comma-separated list"},
		{Name: "RATIO", Type: "float64"},
	}
	if diff := cmp.Diff(want, config.Params(&secret{}), cmpopts.IgnoreUnexported(config.Param{})); diff != "" {
		t.Errorf("params (-want +got):\n%s", diff)
	}
}

func TestEnviron(t *testing.T) {
	t.Setenv("RIPOSTE_TEST", "a=b=c")
	if got := config.Environ()["RIPOSTE_TEST"]; got != "a=b=c" {
		t.Errorf("RIPOSTE_TEST is %q", got)
	}
}
