package serve_test

import (
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

// Every default parses, and is what its own text gives.
func TestDefaults(t *testing.T) {
	for name, target := range map[string]func() any{
		"every function's": func() any { return new(serve.Settings) },
		"the server's":     func() any { return new(serve.Hosting) },
		"protection":       func() any { return new(guard.Protection) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := config.Load(nil, target()); err != nil {
				t.Error(err)
			}
			written := map[string]string{}
			for _, p := range config.Params(target()) {
				if p.Help == "" || p.Help[len(p.Help)-1] != '.' {
					t.Errorf("%s has the help %q: want a sentence", p.Name, p.Help)
				}
				if p.Default != "" {
					written[p.Name] = p.Default
				}
			}
			if err := config.Load(written, target()); err != nil {
				t.Errorf("the defaults, written out: %v", err)
			}
			for _, name := range slices.Sorted(maps.Keys(written)) {
				environ := maps.Clone(written)
				environ[name] = "\x00"
				// Text takes anything; all else has to refuse this.
				if err := config.Load(environ, target()); err == nil && name != "POD_NAMESPACE" {
					t.Errorf("%s takes anything", name)
				}
			}
		})
	}
}

func TestHelp(t *testing.T) {
	type settings struct {
		Mode  string        `env:"MODE" envDefault:"a" oneof:"a,b" help:"One | the other."`
		Name  string        `env:"NAME" required:"true" help:"A name."`
		Token config.Secret `env:"TOKEN" help:"A token."`
	}
	define := func(rbac string) serve.Spec {
		return serve.Define(serve.Info{Name: "own", Summary: "does it.", RBAC: rbac}, func(settings, response.Settings) (response.Responder, error) {
			return &recorder{}, nil
		})
	}
	spec := define("kind: ServiceAccount\n---\nkind: ClusterRole\nrules:\n" +
		"- {apiGroups: [''], resources: [pods, nodes], verbs: [get, delete]}\n- {apiGroups: [apps], resources: [deployments], verbs: [get]}\n")
	cases := map[string]struct {
		write func(io.Writer) error
		lines []string
	}{
		"text": {spec.Help, []string{
			"own: does it.", "MODE   a | b", "(required)", "(none)", "A token.", "MIN_PRIORITY", "LISTEN_ADDRESS",
			"  get, delete: pods, nodes\n", "  get: deployments (apps)\n",
		}},
		"markdown": {spec.Markdown, []string{
			"| `MODE` | a \\| b | `a` | One \\| the other. |\n", "| `NAME` | text | (required) | A name. |\n", "| `MIN_PRIORITY` | ",
			"- get, delete: pods, nodes\n", "- get: deployments (apps)\n",
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := c.write(&b); err != nil {
				t.Fatal(err)
			}
			for _, line := range c.lines {
				if !strings.Contains(b.String(), line) {
					t.Errorf("no %q in:\n%s", line, b.String())
				}
			}
		})
	}
	broken := define("kind: [")
	for name, write := range map[string]func(io.Writer) error{"text": broken.Help, "markdown": broken.Markdown} {
		if err := write(io.Discard); err == nil {
			t.Errorf("%s: rbac.yaml that cannot be read is no error", name)
		}
	}
}
