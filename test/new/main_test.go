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

// What make new writes must build, be complete, and touch nothing but what it says.
func TestCreate(t *testing.T) {
	root := checkout(t)
	run(t, root, "git", "init", "--quiet")
	run(t, root, "git", "add", "--all")
	run(t, root, "git", "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "--message", "before")

	var out bytes.Buffer
	if err := create(root, "mark-rule", &out); err != nil {
		t.Fatal(err)
	}

	for line := range strings.SplitSeq(strings.TrimRight(run(t, root, "git", "status", "--porcelain"), "\n"), "\n") {
		path := strings.TrimSpace(line[2:])
		switch {
		case strings.HasPrefix(path, "functions/mark-rule/"), path == "triggers/mark-rule.yaml", path == "triggers/samples/mark-rule.yaml", path == "functions/mark-rule/",
			path == "stack.yml", path == "go.work":
		default:
			t.Errorf("it touched %s", path)
		}
	}
	binary := filepath.Join(root, "dist", "bin", "mark-rule")
	run(t, root, "go", "build", "-tags", "lambda.norpc", "-o", binary, "./functions/mark-rule/cmd")
	run(t, root, "go", "vet", "./functions/mark-rule")
	if help := run(t, root, binary, "--help"); !strings.Contains(help, "ANNOTATION") || !strings.Contains(help, "patch: pods") {
		t.Errorf("--help says\n%s", help)
	}
	run(t, root, "go", "test", "-run", "TestFolderIsComplete/mark-rule|TestEntryPoints/mark-rule|TestFuncYAML/mark-rule|TestSettingsExist/mark-rule|TestRBAC/mark-rule|TestEveryFunctionHasATrigger", "./test/layout")
	run(t, root, "go", "test", "-run", "TestSamples/mark-rule", "./triggers")
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
