// Command new starts a function: a complete folder with a small response that works, its
// trigger with samples and its line in go.work. What is left to do is to replace the response
// by one's own, and to have make generate write what follows from the folder: service.yaml and
// kustomization.yaml beside func.yaml, its entries in stack.yml and the other lists of functions.
//
//	go run ./test/new NAME
//
// Run it at the root of the repository. It overwrites nothing.
package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"
)

//go:embed template
var templates embed.FS

// model is the function whose dependencies a new one starts with.
const model = "taint"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: make new FUNCTION=name")
		os.Exit(2)
	}
	if err := create(".", os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "new:", err)
		os.Exit(1)
	}
}

// create writes the function below root and says what comes next.
func create(root, name string, out io.Writer) error {
	if !regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`).MatchString(name) || len(name) > 40 {
		return fmt.Errorf("FUNCTION is %q: want a name such as scale or revoke-access, at most 40 characters", name)
	}
	folder := filepath.Join("functions", name)
	if _, err := os.Stat(filepath.Join(root, folder)); err == nil { //nolint:gosec // The name was checked above.
		return fmt.Errorf("%s exists already", folder)
	}
	logic := strings.ReplaceAll(name, "-", "")
	for source, target := range map[string]string{
		"function.go.tmpl": filepath.Join(folder, logic+".go"), "function_test.go.tmpl": filepath.Join(folder, logic+"_test.go"),
		"handler.go.tmpl": filepath.Join(folder, "handler.go"), "main.go.tmpl": filepath.Join(folder, "cmd", "main.go"),
		"func.yaml.tmpl": filepath.Join(folder, "func.yaml"), "rbac.yaml.tmpl": filepath.Join(folder, "rbac.yaml"),
		"README.md.tmpl":    filepath.Join(folder, "README.md"),
		"trigger.yaml.tmpl": filepath.Join("triggers", name+".yaml"), "samples.yaml.tmpl": filepath.Join("triggers", "samples", name+".yaml"),
	} {
		content, err := render(source, name)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(root, target), content); err != nil {
			return err
		}
	}
	if err := copyModule(root, name); err != nil {
		return err
	}
	if err := use(filepath.Join(root, "go.work"), folder); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `%[1]s/ works as it is: it marks the pod with an annotation. Now
  1. put your response into %[1]s/%[2]s.go, and its test beside it
  2. grant what it needs, and no more, in %[1]s/rbac.yaml
  3. say which rules it answers in triggers/%[3]s.yaml, with samples in triggers/samples/%[3]s.yaml and a row in triggers/README.md
  4. say how to see on each platform that it works in test/platforms/job_test.go, and what its role on AWS may do in deploy/generate/sam_test.go
  5. make tidy generate check test platforms: generate writes service.yaml, kustomization.yaml, stack.yml and what else follows from the folder
`, folder, logic, name)
	return err
}

func render(file, name string) ([]byte, error) {
	parsed, err := template.New(file).Delims("[[", "]]").Option("missingkey=error").ParseFS(templates, "template/"+file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = parsed.Execute(&b, map[string]string{"Name": name})
	return b.Bytes(), err
}

// write makes a file that must not exist yet.
func write(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // Sources are for everybody.
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // Sources are for everybody.
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// copyModule gives the new module the dependencies of the model, so that it builds before any make tidy.
func copyModule(root, name string) error {
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, "functions", model, file))
		if err != nil {
			return err
		}
		content = bytes.Replace(content, []byte("/functions/"+model+"\n"), []byte("/functions/"+name+"\n"), 1)
		if err := write(filepath.Join(root, "functions", name, file), content); err != nil {
			return err
		}
	}
	return nil
}

// use adds the folder to the workspace, behind the last function.
func use(file, folder string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	lines := strings.SplitAfter(string(content), "\n")
	last := -1
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "./functions/") {
			last = i
		}
	}
	if last < 0 {
		return fmt.Errorf("%s uses no function", file)
	}
	lines[last] += "\t./" + filepath.ToSlash(folder) + "\n"
	return os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644) //nolint:gosec // Sources are for everybody.
}
