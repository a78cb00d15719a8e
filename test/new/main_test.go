package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// checkout copies the tracked files of the repository, and those not yet tracked, into a folder of the test.
func checkout(t *testing.T) string {
	t.Helper()
	list, err := exec.CommandContext(t.Context(), "git", "-C", "../..", "ls-files", "--cached", "--others", "--exclude-standard", "-z").Output()
	if err != nil {
		t.Skipf("this is no git checkout: %v", err)
	}
	root := t.TempDir()
	for file := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join("../..", file))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted and not yet committed
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// What make new writes must build, be complete, and touch nothing but what it says. Its name is none that anybody would give
// to a function: one that is there already, such as that of docs/adding-a-function.md, would be in the way.
func TestCreate(t *testing.T) {
	root := checkout(t)
	run(t, root, "git", "init", "--quiet")
	run(t, root, "git", "add", "--all")
	run(t, root, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--message", "before")

	var out bytes.Buffer
	if err := create(root, "made-by-test", &out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "make tidy generate") {
		t.Errorf("it does not say that make generate writes the rest:\n%s", out.String())
	}

	for line := range strings.SplitSeq(strings.TrimRight(run(t, root, "git", "status", "--porcelain"), "\n"), "\n") {
		path := strings.TrimSpace(line[2:])
		switch {
		case strings.HasPrefix(path, "functions/made-by-test/"), path == "triggers/made-by-test.yaml", path == "triggers/samples/made-by-test.yaml", path == "functions/made-by-test/",
			path == "go.work":
		default:
			t.Errorf("it touched %s", path)
		}
	}
	binary := filepath.Join(root, "dist", "bin", "made-by-test")
	run(t, root, "go", "build", "-tags", "lambda.norpc", "-o", binary, "./functions/made-by-test/cmd")
	run(t, root, "go", "vet", "./functions/made-by-test")
	help := run(t, root, binary, "--help")
	for _, want := range []string{"ANNOTATION", "CLAIMS", "BUDGET_FUNCTION", "patch: pods", "create: events (events.k8s.io)", "leases (coordination.k8s.io)"} {
		if !strings.Contains(help, want) {
			t.Errorf("--help does not tell of %s:\n%s", want, help)
		}
	}
	run(t, root, "go", "run", "./deploy/cmd/generate")
	for _, generated := range []string{"functions/made-by-test/service.yaml", "functions/made-by-test/kustomization.yaml", "stack.yml"} {
		content, err := os.ReadFile(filepath.Join(root, generated))
		if err != nil || !strings.Contains(string(content), "made-by-test") {
			t.Errorf("make generate makes no %s of it: %v", generated, err)
		}
	}
	run(t, root, "go", "test", "-run", "TestFolderIsComplete/made-by-test|TestEntryPoints/made-by-test|TestFuncYAML/made-by-test|TestSettingsExist/made-by-test|TestRBAC/made-by-test", "./test/layout")
	run(t, root, "go", "test", "-run", "TestSamples/made-by-test|TestFunctionsHaveTriggers", "./triggers")
}

func TestCreateRefuses(t *testing.T) {
	for name, function := range map[string]string{
		"a name with capitals":      "DeletePod",
		"a path":                    "../x",
		"no name":                   "",
		"a function that is there":  "taint",
		"a name that is a template": "[[.]]",
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.MkdirAll(filepath.Join(root, "functions", "taint"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := create(root, function, &bytes.Buffer{}); err == nil {
				t.Error("it was created")
			}
		})
	}
}
