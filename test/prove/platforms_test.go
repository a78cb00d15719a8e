//go:build prove

package prove

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// platforms runs test/platforms in full, and counts what passed: functions that were built as a platform builds them and
// did their job, and objects that the API server took.
func platforms(p proof) {
	command := exec.CommandContext(p.Context(), "go", "test", "-count=1", "-timeout=60m", "-json", "./test/platforms", "-args", "-full")
	command.Dir = testkit.Root(p.T)
	out, err := command.StdoutPipe()
	if err != nil {
		p.Fatal(err)
	}
	if err := command.Start(); err != nil {
		p.Fatal(err)
	}
	ran := results{}
	var said []string
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		switch {
		case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
			ran[e.Test] = e.Action
		case strings.HasPrefix(e.Output, "| "): // The table of sizes and starts, which docs/platforms.md has.
			fmt.Print(e.Output)
		case e.Output != "" && !strings.HasPrefix(strings.TrimSpace(e.Output), "==="):
			said = append(said, strings.TrimRight(e.Output, "\n"))
		}
	}
	if err := command.Wait(); err != nil {
		p.Errorf("go test ./test/platforms: %v\n%s", err, strings.Join(said[max(0, len(said)-60):], "\n"))
	}
	manifests, err := filepath.Glob(filepath.Join(testkit.Root(p.T), "functions", "*", "func.yaml"))
	if err != nil {
		p.Fatal(err)
	}
	kustomizations, err := filepath.Glob(filepath.Join(testkit.Root(p.T), "deploy", "knative", "overlays", "*", "kustomization.yaml"))
	if err != nil {
		p.Fatal(err)
	}
	all, overlays := len(manifests), len(kustomizations)
	for _, r := range []struct {
		claim, test string
		want        int
	}{
		{"functions built in func's scaffold do their job", "TestFunc", all},
		{"functions built by the OpenFaaS template do their job", "TestOpenFaaS", all - 1}, // dead-letter is not there.
		{"functions in Lambda's zips do their job", "TestLambda", all - 2},                 // nor is the router.
		{"functions in ko's images do their job", "TestImages", all},
		{"overlays that the API server takes, and a misspelt one that it does not", "TestAPIServerTakesManifests", overlays + 1},
		{"overlays that the Helm chart equals", "TestHelmEqualsKustomize", overlays},
		{"make deploy on Knative: twice, out of dry run, away", "TestDeployOnKnative", len(ran.below("TestDeployOnKnative"))},
	} {
		passed, failed := ran.count(r.test)
		p.row(r.claim, fmt.Sprintf("%d, %d fail", passed, failed), fmt.Sprintf("%d, 0 fail", r.want), passed == r.want && passed > 0 && failed == 0 && ran[r.test] == "pass")
	}
	for claim, test := range map[string]string{
		"zips for AWS Lambda are the same twice": "TestLambdaZipIsReproducible", "images are the same twice": "TestImagesAreReproducible",
	} {
		p.row(claim, ran[test], "pass", ran[test] == "pass")
	}
}

// results are what became of tests, by their names.
type results map[string]string

// below are the subtests of a test, and not theirs.
func (r results) below(test string) []string {
	var out []string
	for name := range r {
		if rest, ok := strings.CutPrefix(name, test+"/"); ok && !strings.Contains(rest, "/") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// count counts the subtests of a test.
func (r results) count(test string) (passed, failed int) {
	for _, name := range r.below(test) {
		switch r[name] {
		case "pass":
			passed++
		case "fail":
			failed++
		}
	}
	return passed, failed
}
