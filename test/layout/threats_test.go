package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the threat model says is proved has a test, and says which.
func TestThreatModelNamesItsTests(t *testing.T) {
	reference := regexp.MustCompile("`([\\w./-]+_test\\.go)::(\\w+)`")
	declared := map[string]map[string]bool{}
	tests := func(path string) map[string]bool {
		if known, ok := declared[path]; ok {
			return known
		}
		declared[path] = map[string]bool{}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(path)), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return declared[path]
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				declared[path][f.Name.Name] = true
			}
		}
		return declared[path]
	}
	rows, proved := 0, false
	for number, line := range strings.Split(read(t, "docs", "threat-model.md"), "\n") {
		found := reference.FindAllStringSubmatch(line, -1)
		for _, f := range found {
			if !tests(f[1])[f[2]] {
				t.Errorf("line %d: there is no %s in %s", number+1, f[2], f[1])
			}
			if !strings.HasPrefix(f[2], "Test") && !strings.HasPrefix(f[2], "Fuzz") {
				t.Errorf("line %d: %s is no test", number+1, f[2])
			}
		}
		if strings.Contains(line, "_test.go") && strings.Count(line, "_test.go") != len(found) && strings.HasPrefix(line, "|") {
			t.Errorf("line %d names a test otherwise than `path_test.go::Name`", number+1)
		}
		switch {
		case strings.HasPrefix(line, "| threat |"):
			proved = true
		case !strings.HasPrefix(line, "|"):
			proved = false
		case proved && !strings.HasPrefix(line, "| ---"):
			if rows++; len(found) == 0 {
				t.Errorf("line %d: a threat with an answer and no test that proves it", number+1)
			}
		}
	}
	if rows < 30 {
		t.Errorf("docs/threat-model.md has %d threats: its tables are not read", rows)
	}
}
