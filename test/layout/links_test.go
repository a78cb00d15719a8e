package layout_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Every relative link in a document leads somewhere, to the heading too where it names one.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(<?([^()\s>]+)>?(?:\s+"[^"]*")?\)`)
	headings := map[string]map[string]bool{}
	links := 0
	for _, document := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(prose(read(t, document)), -1) {
			if regexp.MustCompile(`^[a-z]+:`).MatchString(m[1]) {
				continue
			}
			links++
			path, anchor, anchored := strings.Cut(m[1], "#")
			target := document
			if path != "" {
				target = filepath.Join(filepath.Dir(document), filepath.FromSlash(path))
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", document, m[1])
				continue
			}
			if !anchored {
				continue
			}
			if headings[target] == nil {
				headings[target] = anchors(read(t, target))
			}
			if !headings[target][anchor] {
				t.Errorf("%s links to %s: %s has no such heading", document, m[1], target)
			}
		}
	}
	if links < 100 {
		t.Errorf("%d links were found: the documents are not read", links)
	}
}

// documents are all of the repository's own, by their paths from its root.
func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "dist" || d.Name() == "node_modules" || d.Name() == "testdata" || d.Name() != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".md"):
			found = append(found, filepath.FromSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// prose is a document without its blocks of code: what stands there is no link and no heading.
func prose(text string) string {
	return regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(text, "")
}

// anchors are the headings of a document, as GitHub makes links of them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#{1,6} +(.+?) *#*$`).FindAllStringSubmatch(prose(text), -1) {
		anchor := strings.ToLower(regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(m[1], "$1"))
		anchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(anchor, "")
		all[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	return all
}

// The table of triggers has each of them, with the function that it calls.
func TestTriggersAreInTheirTable(t *testing.T) {
	table := read(t, "triggers", "README.md")
	files, err := filepath.Glob(filepath.Join(root, "triggers", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no triggers: %v", err)
	}
	for _, file := range files {
		var trigger struct {
			Metadata struct{ Name string }
			Spec     struct {
				Subscriber struct{ Ref struct{ Name string } }
			}
		}
		name := filepath.Base(file)
		if err := yaml.Unmarshal([]byte(read(t, "triggers", name)), &trigger); err != nil {
			t.Fatal(err)
		}
		if row := "| `" + trigger.Metadata.Name + "` | `" + trigger.Spec.Subscriber.Ref.Name + "` |"; !strings.Contains(table, row) {
			t.Errorf("triggers/README.md has no row that begins %s, for %s", row, name)
		}
	}
}
