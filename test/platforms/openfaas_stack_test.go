package platforms

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// communityStack and proStack are the stack files of OpenFaaS's editions.
const (
	communityStack = "stack.yml"
	proStack       = "deploy/openfaas/pro/stack.yml"
)

// mounted is where OpenFaaS mounts secrets.
const mounted = "/var/openfaas/secrets/"

// stackFunction is an entry of a stack file.
type stackFunction struct {
	Environment      map[string]string `json:"environment"`
	EnvironmentFiles []string          `json:"environment_file"`
	Secrets          []string          `json:"secrets"`
}

// stackOf are the entries of a stack file, as faas-cli reads it where none of its variables is set.
func stackOf(t *testing.T, file string) map[string]stackFunction {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(testkit.Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	content = regexp.MustCompile(`\$\{\w+:-([^}]*)\}`).ReplaceAll(content, []byte("$1"))
	var s struct {
		Functions map[string]stackFunction `json:"functions"`
	}
	if err := yaml.Unmarshal(content, &s); err != nil || len(s.Functions) == 0 {
		t.Fatalf("%s has %d functions: %v", file, len(s.Functions), err)
	}
	return s.Functions
}

// environmentOf is what a function of the stack finds in its environment: files win over the stack, a later one over those
// before it.
// https://docs.openfaas.com/reference/yaml/
func environmentOf(t *testing.T, f stackFunction) map[string]string {
	t.Helper()
	all := maps.Clone(f.Environment)
	for _, file := range f.EnvironmentFiles {
		content, err := os.ReadFile(filepath.Join(testkit.Root(t), file))
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Environment map[string]string `json:"environment"`
		}
		if err := yaml.UnmarshalStrict(content, &e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		maps.Copy(all, e.Environment)
	}
	return all
}

// environOf is the environment of a function as the stack has it, for the test cluster: settings of the test are added, and
// what it sets although the stack has a secret for it is written where OpenFaaS mounts the secret.
func environOf(t *testing.T, name string, settings []string) []string {
	t.Helper()
	f := stackOf(t, communityStack)[name]
	all, secrets := environmentOf(t, f), t.TempDir()
	for _, s := range settings {
		variable, value, _ := strings.Cut(s, "=")
		file, secret := all[variable+"_FILE"]
		if !secret {
			all[variable] = value
			continue
		}
		if !slices.Contains(f.Secrets, strings.TrimPrefix(file, mounted)) {
			t.Errorf("%s: %s_FILE is %q, which is none of the secrets %q", name, variable, file, f.Secrets)
		}
		if err := os.WriteFile(filepath.Join(secrets, filepath.Base(file)), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if all["AUTH"] == "off" {
		delete(all, "AUTH_TOKEN_FILE")
	}
	environ := make([]string, 0, len(all))
	for variable, value := range all {
		environ = append(environ, variable+"="+strings.Replace(value, mounted, secrets+"/", 1))
	}
	slices.Sort(environ)
	return environ
}
