// Command generate writes the parts of the documentation that the code already says: the
// parameter tables in the functions' READMEs, the table of functions in the project's,
// docs/reasons.md, and the figures of docs/benchmarks.md from those that make bench has written. With --check it writes nothing and exits 1 if anything is out of date.
//
// Run it at the root of the repository, after make build.
package main

import (
	"bytes"
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/riposte-dev/riposte/test/bench"
)

func main() {
	check := len(os.Args) == 2 && os.Args[1] == "--check"
	if len(os.Args) > 1 && !check {
		fmt.Fprintf(os.Stderr, "generate: argument is %q: want --check or none\n", os.Args[1:])
		os.Exit(2)
	}
	stale, err := run(context.Background(), check)
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
	for _, file := range stale {
		fmt.Fprintln(os.Stderr, "generate:", file, "is out of date: run make generate")
	}
	if len(stale) > 0 {
		os.Exit(1)
	}
}

// run writes what differs, or with check lists it.
func run(ctx context.Context, check bool) (stale []string, err error) {
	manifests, err := filepath.Glob("functions/*/func.yaml")
	if err != nil {
		return nil, err
	}
	put := func(file string, content []byte) error {
		old, err := os.ReadFile(file)
		if err == nil && bytes.Equal(old, content) {
			return nil
		}
		if check {
			stale = append(stale, file)
			return nil
		}
		return os.WriteFile(file, content, 0o644) //nolint:gosec // Documentation is for everybody.
	}
	var functions strings.Builder
	functions.WriteString("| function | does |\n| --- | --- |\n")
	for _, manifest := range manifests {
		name := filepath.Base(filepath.Dir(manifest))
		table, err := output(ctx, name, "--help=markdown")
		if err != nil {
			return nil, err
		}
		readme := filepath.Join("functions", name, "README.md")
		content, err := replaceBlock(readme, "parameters", table)
		if err != nil {
			return nil, err
		}
		if err := put(readme, content); err != nil {
			return nil, err
		}
		help, err := output(ctx, name, "--help")
		if err != nil {
			return nil, err
		}
		summary, _, _ := strings.Cut(strings.TrimPrefix(help, name+": "), "\n")
		fmt.Fprintf(&functions, "| [`%s`](functions/%s/README.md) | %s |\n", name, name, strings.TrimSuffix(summary, "."))
	}
	content, err := replaceBlock("README.md", "functions", functions.String())
	if err != nil {
		return nil, err
	}
	if err := put("README.md", content); err != nil {
		return nil, err
	}
	reasons, err := reasons("shared/response/reasons.go")
	if err != nil {
		return nil, err
	}
	if err := put("docs/reasons.md", reasons); err != nil {
		return nil, err
	}
	measured, err := bench.Read("test/bench/results.json")
	if err != nil {
		return nil, err
	}
	figures, err := replaceBlock("docs/benchmarks.md", "figures", measured.Markdown())
	if err != nil {
		return nil, err
	}
	return stale, put("docs/benchmarks.md", figures)
}

// output is what a function's binary prints.
func output(ctx context.Context, name, flag string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join("dist", "bin", name), flag)
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w", cmd, err)
	}
	return string(b), nil
}

// replaceBlock puts text between the markers <!-- generated:NAME --> and <!-- /generated --> of a file.
func replaceBlock(file, name, text string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	begin, end := "<!-- generated:"+name+" -->", "<!-- /generated -->"
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return nil, fmt.Errorf("%s has no %s ... %s", file, begin, end)
	}
	return []byte(before + begin + "\n" + strings.TrimRight(text, "\n") + "\n" + end + after), nil
}

// reasons makes docs/reasons.md from the constants and their comments.
func reasons(file string) ([]byte, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("# Reasons\n\nMade from `shared/response/reasons.go` by `make generate`.\n\n" +
		"Every outcome that is not a plain `applied` says why in one word. The list is closed.\n\n" +
		"| reason | meaning |\n| --- | --- |\n")
	for _, decl := range parsed.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, s := range group.Specs {
			spec, ok := s.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				continue
			}
			value, ok := spec.Values[0].(*ast.BasicLit)
			if !ok {
				continue
			}
			text := strings.Join(strings.Fields(spec.Doc.Text()), " ")
			text = strings.TrimPrefix(text, spec.Names[0].Name+": ")
			fmt.Fprintf(&b, "| `%s` | %s |\n", strings.Trim(value.Value, `"`), strings.TrimSpace(text))
		}
	}
	return []byte(b.String()), nil
}
