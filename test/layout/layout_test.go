// Package layout proves that every function's folder is complete and says the same in code,
// manifests and documentation. It needs no cluster.
package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"
)

// root is the repository.
const root = "../.."

func functions(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "functions"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		t.Fatal("functions/ is empty")
	}
	return names
}

func read(t *testing.T, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{root}, path...)...))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func TestFolderIsComplete(t *testing.T) {
	for _, name := range functions(t) {
		t.Run(name, func(t *testing.T) {
			base := strings.ReplaceAll(name, "-", "")
			for _, file := range []string{base + ".go", base + "_test.go", "handler.go", "cmd/main.go", "func.yaml", "rbac.yaml", "README.md", "go.mod", "go.sum"} {
				if _, err := os.Stat(filepath.Join(root, "functions", name, file)); err != nil {
					t.Errorf("%s is missing", file)
				}
			}
			entries, err := os.ReadDir(filepath.Join(root, "functions", name))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if e.IsDir() && e.Name() != "cmd" && e.Name() != "testdata" {
					t.Errorf("%s/ is a folder: platforms build one flat package", e.Name())
				}
			}
		})
	}
}

// The func CLI reads every Go file of the folder and refuses func New beside func Handle; the golang-http
// template overlays handler.go and calls function.Handle.
func TestEntryPoints(t *testing.T) {
	for _, name := range functions(t) {
		t.Run(name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(root, "functions", name, "*.go"))
			if err != nil {
				t.Fatal(err)
			}
			where := map[string]string{}
			for _, file := range files {
				parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
				if err != nil {
					t.Fatal(err)
				}
				if parsed.Name.Name != "function" {
					t.Errorf("%s is package %s: want function", file, parsed.Name.Name)
				}
				for _, decl := range parsed.Decls {
					switch d := decl.(type) {
					case *ast.FuncDecl:
						if d.Recv == nil {
							where["func "+d.Name.Name] = filepath.Base(file)
						}
					case *ast.GenDecl:
						for _, s := range d.Specs {
							if v, ok := s.(*ast.ValueSpec); ok && d.Tok == token.VAR {
								where["var "+v.Names[0].Name] = filepath.Base(file)
							}
						}
					}
				}
			}
			if where["func New"] != "handler.go" || where["var Handle"] != "handler.go" {
				t.Errorf("handler.go does not declare func New and var Handle")
			}
			if where["func Handle"] != "" {
				t.Errorf("%s declares func Handle: want a variable", where["func Handle"])
			}
		})
	}
}

// Settings named in a manifest must exist, or they would silently do nothing.
func TestSettingsExist(t *testing.T) {
	for _, name := range functions(t) {
		t.Run(name, func(t *testing.T) {
			known := help(t, name)
			for _, manifest := range []string{read(t, "functions", name, "func.yaml"), stackEntry(t, name)} {
				for _, m := range regexp.MustCompile(`(?m)^\s+(?:- name: )?([A-Z][A-Z0-9_]{3,})(?::|$)`).FindAllStringSubmatch(manifest, -1) {
					variable := strings.TrimSuffix(m[1], "_FILE")
					if !strings.Contains(known, "  "+variable+" ") && !strings.HasPrefix(variable, "AWS_") && variable != "GOMEMLIMIT" {
						t.Errorf("a manifest sets %s, which --help does not know", m[1])
					}
				}
			}
		})
	}
}

func help(t *testing.T, name string) string {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), filepath.Join(root, "dist", "bin", name), "--help").Output()
	if err != nil {
		t.Fatalf("run dist/bin/%s --help (make build first): %v", name, err)
	}
	return string(text)
}

// stackEntry is the function's part of the stack files of both editions of OpenFaaS; empty for one that is left out there,
// with the reason in its openfaas.yaml.
func stackEntry(t *testing.T, name string) string {
	t.Helper()
	var overrides struct {
		Skip string `json:"skip"`
	}
	if _, err := os.Stat(filepath.Join(root, "functions", name, "openfaas.yaml")); err == nil {
		if err := yaml.Unmarshal([]byte(read(t, "functions", name, "openfaas.yaml")), &overrides); err != nil {
			t.Fatal(err)
		}
	}
	var entries strings.Builder
	for _, file := range []string{"stack.yml", "deploy/openfaas/pro/stack.yml"} {
		var stack struct{ Functions map[string]map[string]any }
		if err := yaml.Unmarshal([]byte(read(t, file)), &stack); err != nil {
			t.Fatal(err)
		}
		entry, ok := stack.Functions[name]
		if ok != (overrides.Skip == "") {
			t.Fatalf("%s has %s: %t; its openfaas.yaml leaves it out: %t", file, name, ok, overrides.Skip != "")
		}
		b, err := yaml.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		entries.Write(b)
	}
	return entries.String()
}

func TestRBAC(t *testing.T) {
	for _, name := range functions(t) {
		t.Run(name, func(t *testing.T) {
			account := false
			for doc := range strings.SplitSeq(read(t, "functions", name, "rbac.yaml"), "\n---\n") {
				var role rbacv1.ClusterRole
				if err := yaml.Unmarshal([]byte(doc), &role); err != nil {
					t.Fatal(err)
				}
				account = account || (role.Kind == "ServiceAccount" && role.Name == "riposte-"+name && role.Namespace == "riposte")
				if !strings.HasPrefix(role.Name, "riposte-"+name) {
					t.Errorf("%s %s: want a name that begins with riposte-%s", role.Kind, role.Name, name)
				}
				for _, rule := range role.Rules {
					if slices.Contains(slices.Concat(rule.Verbs, rule.Resources, rule.APIGroups), "*") {
						t.Errorf("%s grants *: want exactly what the function uses", role.Name)
					}
					if slices.Contains(rule.Resources, "secrets") {
						t.Errorf("%s grants access to secrets", role.Name)
					}
				}
			}
			if !account {
				t.Errorf("rbac.yaml has no ServiceAccount riposte-%s in namespace riposte", name)
			}
		})
	}
}

// Independent modules must not drift apart: a module has one version everywhere.
func TestVersionsAreEqual(t *testing.T) {
	seen := map[string]map[string][]string{}
	line := regexp.MustCompile(`(?m)^\s*(?:require )?([a-z0-9.-]+\.[a-z]+/\S+) (v\S+)$`)
	for _, module := range append([]string{"shared", "test", "test/e2e", "test/platforms", "triggers", "deploy", "deploy/local"}, prefixed("functions/", functions(t))...) {
		for _, m := range line.FindAllStringSubmatch(read(t, module, "go.mod"), -1) {
			if seen[m[1]] == nil {
				seen[m[1]] = map[string][]string{}
			}
			seen[m[1]][m[2]] = append(seen[m[1]][m[2]], module)
		}
	}
	for name, versions := range seen {
		if len(versions) > 1 {
			t.Errorf("%s has several versions: %v", name, versions)
		}
	}
}

func TestModulesSayTheSameGo(t *testing.T) {
	for _, module := range append([]string{"shared"}, prefixed("functions/", functions(t))...) {
		if !strings.Contains(read(t, module, "go.mod"), "\ngo 1.25.0\n") {
			t.Errorf("%s/go.mod: want go 1.25.0, which OpenFaaS's template builds with", module)
		}
	}
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}
