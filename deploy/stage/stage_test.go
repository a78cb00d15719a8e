package stage_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/riposte-dev/riposte/deploy/source"
	"github.com/riposte-dev/riposte/deploy/stage"
)

const module = "github.com/riposte-dev/riposte/"

// tree is a small repository: function one imports shared/a and, by it, shared/b; function two imports shared/c, and its
// tests the module test. Nothing of it is anywhere else.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"go.work": "go 1.25.0\n\nuse (\n\t./functions/one\n\t./functions/two\n\t./shared\n\t./test\n)\n\nreplace " + module + "shared v0.1.0 => ./shared\n\nreplace " + module + "test v0.1.0 => ./test\n",

		"shared/go.mod":            "module " + module + "shared\n\ngo 1.25.0\n",
		"shared/go.sum":            "",
		"shared/a/a.go":            "package a\n\nimport \"" + module + "shared/b\"\n\nfunc A() string { return b.B() + processor() }\n",
		"shared/a/a_amd64.go":      "package a\n\nimport _ \"" + module + "shared/e\"\n\nfunc processor() string { return quick() }\n\nfunc quick() string\n",
		"shared/a/a_arm64.go":      "package a\n\nfunc processor() string { return \"arm\" }\n",
		"shared/a/a_other.go":      "//go:build !amd64 && !arm64\n\npackage a\n\nfunc processor() string { return \"other\" }\n",
		"shared/a/a_amd64.s":       "#include \"a.h\"\n",
		"shared/a/a.h":             "\n",
		"shared/a/a_arm64.s":       "\n",
		"shared/a/a_test.go":       "package a\n\nimport \"testing\"\n\nfunc TestA(t *testing.T) {}\n",
		"shared/a/export_test.go":  "package a\n",
		"shared/a/windows_test.go": "//go:build windows\n\npackage a\n",
		"shared/a/tools.go":        "//go:build tools\n\npackage a\n\nimport _ \"example.com/nowhere\"\n",
		"shared/b/b.go":            "package b\n\nimport \"embed\"\n\n//go:embed texts all:hidden tools.go\nvar Texts embed.FS\n\nfunc B() string { return \"b\" }\n",
		"shared/b/tools.go":        "package b\n",
		"shared/b/texts/one.txt":   "one",
		"shared/b/texts/x_test.go": "package texts\n",
		"shared/b/hidden/.dot":     "dot",
		"shared/b/testdata/x":      "x",
		"shared/b/README.md":       "b",
		"shared/c/c.go":            "package c\n\nfunc C() string { return \"c\" }\n",
		"shared/d/d.go":            "package d\n",
		"shared/e/e.go":            "package e\n",
		"test/go.mod":              "module " + module + "test\n\ngo 1.25.0\n",
		"test/t/t.go":              "package t\n",

		"functions/one/go.mod":         "module " + module + "functions/one\n\ngo 1.25.0\n\nrequire " + module + "shared v0.1.0\n",
		"functions/one/go.sum":         "",
		"functions/one/one.go":         "package function\n\nimport (\n\t_ \"embed\"\n\n\t\"" + module + "shared/a\"\n)\n\n//go:embed rbac.yaml\nvar rbac string\n\nfunc One() string { return a.A() + rbac }\n",
		"functions/one/one_test.go":    "package function\n",
		"functions/one/cmd/main.go":    "//go:build lambda.norpc\n\npackage main\n\nimport function \"" + module + "functions/one\"\n\nfunc main() { println(function.One()) }\n",
		"functions/one/rbac.yaml":      "kind: ServiceAccount\n",
		"functions/one/func.yaml":      "# A comment.\nname: one\ncreated: 2026-11-21T00:00:00Z\ndeploy:\n  options: {resources: {limits: {cpu: \"1\"}}}\n  subscriptions:\n    - source: default\n      filters: {type: a}\n",
		"functions/one/README.md":      "one",
		"functions/two/go.mod":         "module " + module + "functions/two\n\ngo 1.25.0\n\nrequire (\n\t" + module + "shared v0.1.0\n\t" + module + "test v0.1.0\n)\n",
		"functions/two/go.sum":         "",
		"functions/two/two.go":         "package function\n\nimport \"" + module + "shared/c\"\n\nfunc Two() string { return c.C() }\n",
		"functions/two/two_test.go":    "package function\n\nimport _ \"" + module + "test/t\"\n",
		"functions/two/rbac.yaml":      "kind: ServiceAccount\n",
		"functions/two/func.yaml":      "name: two\n",
		"functions/two/testdata/x.txt": "x",
	} {
		write(t, filepath.Join(root, filepath.FromSlash(name)), content)
	}
	// Go has functions without a body where there is an assembler's file only.
	write(t, filepath.Join(root, "shared", "a", "a_amd64.s"), "#include \"a.h\"\n\nTEXT ·quick(SB), 4, $0-16\n\tMOVQ $0, ret+0(FP)\n\tMOVQ $0, ret+8(FP)\n\tRET\n")
	return root
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// staged stages one function for a platform and says whether anything changed.
func staged(t *testing.T, root, platform, name string) bool {
	t.Helper()
	changed, err := stage.Stage(t.Context(), root, platform, source.Function{Name: name, Folder: filepath.Join("functions", name)})
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

// snapshot is all that is below a folder, by its path: contents, and where links lead to.
func snapshot(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(folder, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		switch {
		case entry.Type()&fs.ModeSymlink != 0:
			all[below], err = os.Readlink(file)
		case entry.Type().IsRegular():
			var content []byte
			content, err = os.ReadFile(file)
			all[below] = string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func names(all map[string]string) []string {
	var out []string
	for name := range all {
		out = append(out, filepath.ToSlash(name))
	}
	slices.Sort(out)
	return out
}

func TestWhatIsStaged(t *testing.T) {
	root := tree(t)
	packageA := []string{"shared/a/a.go", "shared/a/a.h", "shared/a/a_amd64.go", "shared/a/a_amd64.s", "shared/a/a_arm64.go", "shared/a/a_arm64.s", "shared/a/a_other.go", "shared/e/e.go"}
	packageB := []string{"shared/b/b.go", "shared/b/hidden/.dot", "shared/b/texts/one.txt", "shared/b/texts/x_test.go", "shared/b/tools.go"}
	own := []string{"go.mod", "go.sum", "one.go", "rbac.yaml"}
	for name, tc := range map[string]struct {
		platform, function string
		want               []string
	}{
		"one for func":     {stage.Func, "one", slices.Concat(own, []string{"func.yaml"}, packageA, packageB)},
		"one for OpenFaaS": {stage.OpenFaaS, "one", slices.Concat(own, []string{"shared/go.mod", "shared/go.sum"}, packageA, packageB)},
		"two for func":     {stage.Func, "two", []string{"func.yaml", "go.mod", "go.sum", "shared/c/c.go", "two.go"}},
	} {
		t.Run(name, func(t *testing.T) {
			staged(t, root, tc.platform, tc.function)
			folder := filepath.Join(root, stage.Folder(tc.platform, tc.function))
			slices.Sort(tc.want)
			if diff := cmp.Diff(tc.want, names(snapshot(t, folder))); diff != "" {
				t.Errorf("what is staged (-want +got):\n%s", diff)
			}
			// To build for the others would build the standard library first.
			for processor, command := range map[string][]string{"amd64": {"build", "./..."}, "arm64": {"list", "-deps", "./..."}, "riscv64": {"list", "-deps", "./..."}} {
				build := exec.CommandContext(t.Context(), "go", command...)
				build.Dir = folder
				build.Env = append(build.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "GOPROXY=off", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+processor)
				if out, err := build.CombinedOutput(); err != nil {
					t.Errorf("for %s it does not build by itself: %v\n%s", processor, err, out)
				}
			}
		})
	}
}

func TestStagingTwiceChangesNothing(t *testing.T) {
	root, other := tree(t), tree(t)
	for _, platform := range []string{stage.Func, stage.OpenFaaS} {
		t.Run(platform, func(t *testing.T) {
			if !staged(t, root, platform, "one") {
				t.Error("the first time nothing changed")
			}
			first := snapshot(t, filepath.Join(root, ".stage"))
			if staged(t, root, platform, "one") {
				t.Error("the second time something changed")
			}
			if diff := cmp.Diff(first, snapshot(t, filepath.Join(root, ".stage"))); diff != "" {
				t.Errorf("the second time (-first +second):\n%s", diff)
			}
			staged(t, other, platform, "one")
			if diff := cmp.Diff(first, snapshot(t, filepath.Join(other, ".stage"))); diff != "" {
				t.Errorf("elsewhere (-here +there):\n%s", diff)
			}
		})
	}
}

// A build tool looks at times: what has not changed keeps its own.
func TestWhatIsTheSameKeepsItsTime(t *testing.T) {
	root := tree(t)
	staged(t, root, stage.Func, "one")
	then := time.Now().Add(-time.Hour).Truncate(time.Second)
	file := filepath.Join(root, stage.Folder(stage.Func, "one"), "shared", "b", "b.go")
	if err := os.Chtimes(file, then, then); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "shared", "a", "a_other.go"), "//go:build !amd64 && !arm64\n\npackage a\n\nfunc processor() string { return \"changed\" }\n")
	if !staged(t, root, stage.Func, "one") {
		t.Error("nothing changed")
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if !info.ModTime().Equal(then) {
		t.Errorf("a file that is the same is of %s, want %s", info.ModTime(), then)
	}
}

func TestChangeRestagesWhatImportsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		file, content string
		want          []string
	}{
		"a package of the first":            {"shared/a/a_arm64.go", "package a\n\nfunc processor() string { return \"new\" }\n", []string{"one"}},
		"a package that it imports by that": {"shared/b/texts/one.txt", "new", []string{"one"}},
		"a new file in an embedded folder":  {"shared/b/texts/two.txt", "two", []string{"one"}},
		"a package of the second":           {"shared/c/c.go", "package c\n\nfunc C() string { return \"new\" }\n", []string{"two"}},
		"a function itself":                 {"functions/two/func.yaml", "name: two\n# New.\n", []string{"two"}},
		"a package that nobody imports":     {"shared/d/d.go", "package d\n\nvar D int\n", nil},
		"a test":                            {"shared/a/a_test.go", "package a\n", nil},
		"a test's data":                     {"shared/b/testdata/x", "new", nil},
		"a main of ours":                    {"functions/one/cmd/main.go", "package main\n", nil},
		"a README":                          {"shared/b/README.md", "new", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := tree(t)
			for _, f := range []string{"one", "two"} {
				staged(t, root, stage.Func, f)
			}
			write(t, filepath.Join(root, filepath.FromSlash(tc.file)), tc.content)
			var got []string
			for _, f := range []string{"one", "two"} {
				if staged(t, root, stage.Func, f) {
					got = append(got, f)
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("restaged are (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOnlyWhatIsStagedStays(t *testing.T) {
	for name, leave := range map[string]func(t *testing.T, folder, outside string){
		"a file": func(t *testing.T, folder, _ string) {
			t.Helper()
			write(t, filepath.Join(folder, "two.go"), "package other\n")
		},
		"a folder": func(t *testing.T, folder, _ string) {
			t.Helper()
			write(t, filepath.Join(folder, "cmd", "x", "main.go"), "x")
		},
		"a package that was": func(t *testing.T, folder, _ string) {
			t.Helper()
			write(t, filepath.Join(folder, "shared", "c", "c.go"), "x")
		},
		"an empty folder": func(t *testing.T, folder, _ string) {
			t.Helper()
			must(t, os.Mkdir(filepath.Join(folder, "empty"), 0o750))
		},
		"a file that was changed": func(t *testing.T, folder, _ string) { t.Helper(); write(t, filepath.Join(folder, "one.go"), "x") },
		"a file that is gone":     func(t *testing.T, folder, _ string) { t.Helper(); must(t, os.Remove(filepath.Join(folder, "go.mod"))) },
		"a folder in place of a file": func(t *testing.T, folder, _ string) {
			t.Helper()
			must(t, os.Remove(filepath.Join(folder, "go.mod")))
			write(t, filepath.Join(folder, "go.mod", "x"), "x")
		},
		"a file in place of a folder": func(t *testing.T, folder, _ string) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(folder, "shared")))
			write(t, filepath.Join(folder, "shared"), "x")
		},
		"a link in place of a file": func(t *testing.T, folder, outside string) {
			t.Helper()
			must(t, os.Remove(filepath.Join(folder, "one.go")))
			must(t, os.Symlink(filepath.Join(outside, "theirs"), filepath.Join(folder, "one.go")))
		},
		"a link to a file of the same content": func(t *testing.T, folder, _ string) {
			t.Helper()
			must(t, os.Remove(filepath.Join(folder, "shared", "a", "a.h")))
			must(t, os.Symlink("a_arm64.s", filepath.Join(folder, "shared", "a", "a.h")))
		},
		"a link in place of a folder": func(t *testing.T, folder, outside string) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(folder, "shared")))
			must(t, os.Symlink(outside, filepath.Join(folder, "shared")))
		},
		"a link in place of all": func(t *testing.T, folder, outside string) {
			t.Helper()
			must(t, os.RemoveAll(folder))
			must(t, os.Symlink(outside, folder))
		},
		"a link to itself": func(t *testing.T, folder, _ string) { t.Helper(); must(t, os.Symlink(".", filepath.Join(folder, "f"))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root, outside := tree(t), t.TempDir()
			write(t, filepath.Join(outside, "theirs"), "theirs")
			staged(t, root, stage.Func, "one")
			folder := filepath.Join(root, stage.Folder(stage.Func, "one"))
			want, before := snapshot(t, folder), snapshot(t, root)
			leave(t, folder, outside)
			if !staged(t, root, stage.Func, "one") {
				t.Error("nothing changed")
			}
			if diff := cmp.Diff(want, snapshot(t, folder)); diff != "" {
				t.Errorf("what is staged (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
				t.Errorf("the repository (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(map[string]string{"theirs": "theirs"}, snapshot(t, outside)); diff != "" {
				t.Errorf("outside of it (-before +after):\n%s", diff)
			}
			if _, err := os.Lstat(filepath.Join(folder, "empty")); err == nil {
				t.Error("an empty folder is left")
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What func keeps is its own: the build, its cache, and a link to the function that leads round in a circle.
func TestFolderOfFuncStays(t *testing.T) {
	root := tree(t)
	staged(t, root, stage.Func, "one")
	folder := filepath.Join(root, stage.Folder(stage.Func, "one"))
	write(t, filepath.Join(folder, ".func", "build", "main.go"), "package main\n")
	must(t, os.Symlink("../..", filepath.Join(folder, ".func", "build", "f")))
	before := snapshot(t, folder)
	if staged(t, root, stage.Func, "one") {
		t.Error("something changed")
	}
	if diff := cmp.Diff(before, snapshot(t, folder)); diff != "" {
		t.Errorf("what func keeps (-before +after):\n%s", diff)
	}
}

// Where a checkout is read-only, what is staged is not: builders write beside it and people remove it.
func TestReadOnlyFiles(t *testing.T) {
	root := tree(t)
	must(t, os.Chmod(filepath.Join(root, "shared", "c", "c.go"), 0o400))
	staged(t, root, stage.Func, "two")
	file := filepath.Join(root, stage.Folder(stage.Func, "two"), "shared", "c", "c.go")
	must(t, os.Chmod(file, 0o400))
	must(t, os.Chmod(filepath.Join(root, "shared", "c", "c.go"), 0o600))
	write(t, filepath.Join(root, "shared", "c", "c.go"), "package c\n\nfunc C() string { return \"new\" }\n")
	staged(t, root, stage.Func, "two")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o600 != 0o600 {
		t.Errorf("what was staged over a read-only file has the mode %s", info.Mode())
	}
}

func TestModulesOfStagedFolders(t *testing.T) {
	root := tree(t)
	for name, tc := range map[string]struct{ platform, want string }{
		"for func the packages are the function's own": {stage.Func, "module github.com/riposte-dev/riposte\n\ngo 1.25.0\n"},
		"for OpenFaaS they are a module beside it": {
			stage.OpenFaaS,
			"module " + module + "functions/two\n\ngo 1.25.0\n\nrequire " + module + "shared v0.1.0\n\nreplace " + module + "shared => ./shared\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			staged(t, root, tc.platform, "two")
			got, err := os.ReadFile(filepath.Join(root, stage.Folder(tc.platform, "two"), "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("go.mod (-want +got):\n%s", diff)
			}
		})
	}
}

// Who stages has GOWORK and GOFLAGS for a build of their own, as func's builds need it.
func TestStagingMindsNoEnvironment(t *testing.T) {
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "-mod=vendor -tags=tools")
	t.Setenv("GOARCH", "arm64")
	t.Setenv("GOOS", "windows")
	root := tree(t)
	staged(t, root, stage.Func, "one")
	got := snapshot(t, filepath.Join(root, ".stage"))
	for _, name := range []string{"GOWORK", "GOFLAGS", "GOARCH", "GOOS"} {
		t.Setenv(name, "")
	}
	if staged(t, root, stage.Func, "one") {
		t.Errorf("with another environment something else was staged:\n%s", cmp.Diff(got, snapshot(t, filepath.Join(root, ".stage"))))
	}
}

func TestStagingFails(t *testing.T) {
	for name, tc := range map[string]struct{ platform, broken, content string }{
		"for a platform that needs no staging": {platform: "lambda"},
		"of a function without go.mod":         {platform: stage.Func, broken: "functions/one/go.mod", content: "nonsense"},
		"of an import that there is not":       {platform: stage.Func, broken: "shared/b/b.go", content: "package b\n\nimport _ \"" + module + "shared/none\"\n\nfunc B() string { return \"\" }\n"},
		"of what is no Go":                     {platform: stage.OpenFaaS, broken: "functions/one/one.go", content: "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t)
			if tc.broken != "" {
				write(t, filepath.Join(root, filepath.FromSlash(tc.broken)), tc.content)
			}
			_, err := stage.Stage(t.Context(), root, tc.platform, source.Function{Name: "one", Folder: "functions/one"})
			if err == nil {
				t.Error("it was staged")
			}
			if _, err := os.Stat(filepath.Join(root, ".stage")); err == nil {
				t.Error("it left something")
			}
		})
	}
}

func TestUnsubscribe(t *testing.T) {
	root := tree(t)
	staged(t, root, stage.Func, "one")
	folder := filepath.Join(root, stage.Folder(stage.Func, "one"))
	for range 2 {
		if err := stage.Unsubscribe(folder); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(folder, "func.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var got any
		if err := yaml.UnmarshalStrict(content, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"name": "one", "created": "2026-11-21T00:00:00Z",
			"deploy": map[string]any{"options": map[string]any{"resources": map[string]any{"limits": map[string]any{"cpu": "1"}}}},
		}
		if diff := cmp.Diff(want, got); diff != "" || strings.Contains(string(content), "subscriptions") {
			t.Errorf("func.yaml (-want +got):\n%s", diff)
		}
	}
	if !staged(t, root, stage.Func, "one") {
		t.Error("staging did not bring the subscriptions back")
	}
	if err := stage.Unsubscribe(t.TempDir()); err == nil {
		t.Error("a folder without func.yaml is no error")
	}
}
