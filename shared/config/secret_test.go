package config_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/config"
)

type withSecret struct {
	Token    config.Secret `env:"TOKEN"`
	Required config.Secret `env:"REQUIRED" required:"true"`
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	file, empty := filepath.Join(dir, "token"), filepath.Join(dir, "empty")
	write(t, file, "from file\r\n")
	write(t, empty, "\n")
	cases := map[string]struct {
		environ map[string]string
		want    string
		wrong   []string
	}{
		"unset":                      {environ: map[string]string{"REQUIRED": "r"}},
		"from the environment":       {environ: map[string]string{"REQUIRED": "r", "TOKEN": " t "}, want: " t "},
		"from a file":                {environ: map[string]string{"REQUIRED": "r", "TOKEN_FILE": file}, want: "from file"},
		"required from a file":       {environ: map[string]string{"REQUIRED_FILE": file}},
		"required and missing":       {environ: nil, wrong: []string{"REQUIRED", "REQUIRED_FILE"}},
		"both":                       {environ: map[string]string{"REQUIRED": "r", "TOKEN": "t", "TOKEN_FILE": file}, wrong: []string{"TOKEN and TOKEN_FILE"}},
		"a file that is missing":     {environ: map[string]string{"REQUIRED": "r", "TOKEN_FILE": file + "x"}, wrong: []string{"TOKEN_FILE", file + "x"}},
		"an empty file":              {environ: map[string]string{"REQUIRED": "r", "TOKEN_FILE": empty}, wrong: []string{"TOKEN_FILE", empty}},
		"an empty path":              {environ: map[string]string{"REQUIRED": "r", "TOKEN_FILE": ""}, wrong: []string{"TOKEN_FILE", "empty"}},
		"an empty path beside it":    {environ: map[string]string{"REQUIRED": "r", "TOKEN": "t", "TOKEN_FILE": ""}, wrong: []string{"TOKEN_FILE", "empty"}},
		"a folder":                   {environ: map[string]string{"REQUIRED": "r", "TOKEN_FILE": dir}, wrong: []string{"TOKEN_FILE", dir}},
		"a misspelt name of a file":  {environ: map[string]string{"REQUIRED": "r", "TOKENFILE": file}, wrong: []string{"TOKENFILE", "TOKEN_FILE"}},
		"a name in another notation": {environ: map[string]string{"REQUIRED": "r", "token_file": file}, wrong: []string{"token_file", "TOKEN_FILE"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var s withSecret
			err := config.Load(c.environ, &s)
			if len(c.wrong) > 0 {
				if !mentions(err, c.wrong...) {
					t.Errorf("error is %v: want a line with %q", err, c.wrong)
				}
				if err != nil && (strings.Contains(err.Error(), "%!") || strings.Contains(err.Error(), "<nil>")) {
					t.Errorf("error is not readable: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.Token.Read()
			if err != nil || got != c.want || s.Token.IsSet() != (c.want != "") {
				t.Errorf("secret is %q, %v, set %v: want %q", got, err, s.Token.IsSet(), c.want)
			}
		})
	}
}

func TestSecretRotates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "first")
	var s withSecret
	if err := config.Load(map[string]string{"TOKEN_FILE": file, "REQUIRED": "r"}, &s); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"first", "second\n"} {
		write(t, file, content)
		if got, err := s.Token.Read(); err != nil || got != strings.TrimSpace(content) {
			t.Errorf("secret is %q, %v: want %q", got, err, content)
		}
	}
	write(t, file, "")
	if got, err := s.Token.Read(); err == nil {
		t.Errorf("secret of an emptied file is %q", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Token.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("secret of a removed file is %q, %v", got, err)
	}
}

// holder is how a response keeps its settings: in a field that package fmt may look into but not call methods on.
type holder struct{ settings withSecret }

func TestSecretIsNeverPrinted(t *testing.T) {
	const value = "xoxb-4711-secret"
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, value)
	var fromFile withSecret
	if err := config.Load(map[string]string{"TOKEN_FILE": file, "REQUIRED": value}, &fromFile); err != nil {
		t.Fatal(err)
	}
	if _, err := fromFile.Token.Read(); err != nil {
		t.Fatal(err)
	}
	secret := config.NewSecret("TOKEN", value)
	if got, err := secret.Read(); err != nil || got != value {
		t.Fatalf("secret is %q, %v", got, err)
	}
	printed := map[string]string{}
	for what, v := range map[string]any{
		"secret": secret, "pointer": &secret, "struct": fromFile, "pointer to a struct": &fromFile, "unexported": holder{fromFile},
		"pointer to unexported": &holder{fromFile}, "list": []config.Secret{secret}, "map": map[string]config.Secret{"k": secret}, "any": []any{secret},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X"} {
			printed[what+" "+verb] = fmt.Sprintf(verb, v)
		}
		if b, err := json.Marshal(v); err == nil {
			printed[what+" json"] = string(b)
		}
		if b, err := yaml.Marshal(v); err == nil {
			printed[what+" yaml"] = string(b)
		}
		for name, h := range map[string]func(*bytes.Buffer) slog.Handler{
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(h(&b)).Info("settings", "settings", v)
			printed[what+" slog "+name] = b.String()
		}
	}
	printed["error"] = fmt.Sprint(config.Load(map[string]string{"TOKEN": value, "TOKEN_FILE": file, "REQUIRED": value}, &withSecret{}))
	for how, text := range printed {
		for _, leak := range []string{value, hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value)))} {
			if strings.Contains(text, leak) {
				t.Errorf("%s shows it: %s", how, text)
			}
		}
	}
	if got, err := (config.Secret{}).Read(); got != "" || err != nil {
		t.Errorf("a secret that was never set reads %q, %v", got, err)
	}
	if fmt.Sprint(secret) == "" || fmt.Sprint(config.Secret{}) != "" {
		t.Errorf("a set secret prints as %q, an unset one as %q: want to tell them apart", secret, config.Secret{})
	}
}
