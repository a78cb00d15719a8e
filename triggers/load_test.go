package triggers_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/triggers"
)

// A line of a broken manifest says with "# problem: FIELD" what is reported there.
func TestLoadRefuses(t *testing.T) {
	mark := regexp.MustCompile(`# problem: (\S+)`)
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no broken manifests: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for i, line := range strings.Split(string(content), "\n") {
				if m := mark.FindStringSubmatch(line); m != nil {
					want = append(want, fmt.Sprintf("bad.yaml:%d %s", i+1, m[1]))
				}
			}
			_, err = triggers.Load(fstest.MapFS{"bad.yaml": {Data: content}})
			if err == nil {
				t.Fatal("loaded")
			}
			var failure *triggers.LoadError
			if !errors.As(err, &failure) {
				t.Fatalf("not a LoadError: %v", err)
			}
			var got []string
			for _, p := range failure.Problems {
				got = append(got, fmt.Sprintf("%s:%d %s", p.File, p.Line, p.Field))
				if p.Message == "" || p.Cure == "" || strings.Contains(p.Error(), "\n") {
					t.Errorf("problem without message or cure, or on several lines: %q", p.Error())
				}
				if p.Field != "apiVersion" && p.Object == "" {
					t.Errorf("problem without the object's name: %q", p.Error())
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s\n%v", diff, err)
			}
		})
	}
}

// What no parser of one document sees has the line of the file too, in whichever document it stands.
func TestLoadNamesTheLine(t *testing.T) {
	good := func(name string) string {
		return strings.Join([]string{
			"apiVersion: eventing.knative.dev/v1", "kind: Trigger", "metadata: {name: " + name + ", namespace: riposte}", "spec:", "  broker: default",
			"  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: delete-pod}}",
			"  filters:", "    - exact: {type: falco.rule.output.v1}", "",
		}, "\n")
	}
	for name, tc := range map[string]struct {
		content string
		line    int
	}{
		"a tab":                       {"# a\n" + good("a") + "---\n" + strings.Replace(good("b"), "  broker", "\tbroker", 1), 15},
		"a field twice":               {good("a") + "---\n" + good("b") + "  broker: other\n", 18},
		"no object":                   {good("a") + "---\n\nhello\n", 11},
		"the end of a document":       {good("a") + "...\n" + good("b"), 9},
		"a separator with a tag":      {good("a") + "--- !x\n" + good("b"), 9},
		"a separator with other text": {good("a") + "--- b\n" + good("b"), 10},
		"an object beside a separator": {
			"--- {apiVersion: eventing.knative.dev/v1, kind: Trigger, metadata: {name: a}}\n" + good("b"), 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := triggers.Load(fstest.MapFS{"bad.yaml": {Data: []byte(tc.content)}})
			var failure *triggers.LoadError
			if !errors.As(err, &failure) || len(failure.Problems) != 1 {
				t.Fatalf("got %v, want one problem", err)
			}
			if p := failure.Problems[0]; p.Line != tc.line || p.Message == "" || p.Cure == "" {
				t.Errorf("line %d: %v, want line %d", p.Line, p, tc.line)
			}
		})
	}
	ended := good("a") + "...\n# The end.\n---\n" + good("b")
	if set, err := triggers.Load(fstest.MapFS{"good.yaml": {Data: []byte(ended)}}); err != nil || len(set.Triggers()) != 2 {
		t.Errorf("two documents that end with dots: %v", err)
	}
}

func TestLoadReportsEveryFile(t *testing.T) {
	_, err := triggers.Load(os.DirFS("testdata/bad"))
	var failure *triggers.LoadError
	if !errors.As(err, &failure) {
		t.Fatalf("not a LoadError: %v", err)
	}
	seen := map[string]bool{}
	for _, p := range failure.Problems {
		seen[p.File] = true
	}
	if len(seen) < 25 {
		t.Errorf("problems in %d files only", len(seen))
	}
	var one triggers.Problem
	if !errors.As(err, &one) {
		t.Error("a LoadError does not unwrap to its problems")
	}
}

func TestLoadPassesOver(t *testing.T) {
	manifest, err := os.ReadFile("delete-malware.yaml")
	if err != nil {
		t.Fatal(err)
	}
	broken := &fstest.MapFile{Data: []byte("no: trigger")}
	set, err := triggers.Load(fstest.MapFS{
		"deep/er/one.yml":                &fstest.MapFile{Data: manifest},
		"testdata/broken.yaml":           broken,
		"deep/testdata/broken.yaml":      broken,
		"kustomization.yaml":             broken,
		"..2026_01_01/broken.yaml":       broken,
		"README.md":                      broken,
		"empty.yaml":                     &fstest.MapFile{Data: []byte("# nothing\n---\n")},
		"carriage-returns-are-fine.yaml": &fstest.MapFile{Data: []byte(strings.ReplaceAll(strings.ReplaceAll(string(manifest), "\n", "\r\n"), "name: delete-malware", "name: other"))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Triggers()) != 2 || len(set.Brokers()) != 1 {
		t.Errorf("got %d triggers and %d brokers, want 2 and the one they name", len(set.Triggers()), len(set.Brokers()))
	}
}

func TestLoadDirNamesWhatIsMissing(t *testing.T) {
	if _, err := triggers.LoadDir("testdata/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
	if _, err := triggers.LoadDir("README.md"); err == nil {
		t.Error("a file was loaded as a folder")
	}
	if _, err := triggers.LoadDir("../deploy/knative/brokers/in-memory"); err == nil || !strings.Contains(err.Error(), "in-memory") {
		t.Errorf("a folder without any Trigger: %v, want an error that names it", err)
	}
}

// A Broker may have a folder of its own.
func TestLoadDirJoinsFolders(t *testing.T) {
	set, err := triggers.LoadDir(".", "../deploy/knative/brokers/in-memory")
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Brokers()) != 1 || set.Brokers()[0].Annotations["messaging.knative.dev/async-handler"] != "true" {
		t.Errorf("the brokers are %v, want the one of the second folder", set.Brokers())
	}
	var failure *triggers.LoadError
	if _, err := triggers.LoadDir(".", "testdata/bad"); !errors.As(err, &failure) || !strings.HasPrefix(failure.Problems[0].File, "testdata/bad/") {
		t.Errorf("got %v, want problems of files in testdata/bad", err)
	}
}
