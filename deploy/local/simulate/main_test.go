package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing")

const captures = "../../../test/captures/"

// simulate runs the program.
func simulate(t *testing.T, stdin string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(t.Context(), args, strings.NewReader(stdin), &out, &errs)
	return status, out.String(), errs.String()
}

func TestGolden(t *testing.T) {
	log, err := os.ReadFile("testdata/falco.log")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args  []string
		stdin string
		want  int
	}{
		// Inputs.
		"a log":                        {[]string{"-expect", "anything", "testdata/falco.log"}, "", asExpected},
		"the standard input":           {[]string{"-expect", "anything", "-"}, string(log), asExpected},
		"an array":                     {[]string{"-expect", "anything", "-brief", "testdata/array.json"}, "", asExpected},
		"objects over many lines":      {[]string{"-expect", "anything", "-brief", "testdata/pretty.json"}, "", asExpected},
		"a folder":                     {[]string{"-expect", "anything", "-brief", "testdata/folder"}, "", asExpected},
		"a CloudEvent":                 {[]string{"-brief", "testdata/cloudevent.json"}, "", asExpected},
		"requests of Falcosidekick":    {[]string{"-brief", captures + "03-drop-and-execute-critical"}, "", asExpected},
		"a request in chunks":          {[]string{"-brief", "testdata/chunked.http"}, "", asExpected},
		"an outcome":                   {[]string{"../../../triggers/testdata/outcomes/delete-pod-applied.http"}, "", asExpected},
		"a rule written by an enemy":   {[]string{"-expect", "none", "testdata/hostile.json"}, "", asExpected},
		"a log with other lines":       {[]string{"-brief", "testdata/noisy.log"}, "", badInput},
		"a broken request":             {[]string{"testdata/broken.http"}, "", badInput},
		"nothing in a file":            {[]string{"testdata/empty.log"}, "", badInput},
		"no such file":                 {[]string{"testdata/none.json", "testdata/cloudevent.json"}, "", badInput},
		"a folder without alerts":      {[]string{"testdata/triggers"}, "", badInput},
		"too many bad lines":           {[]string{"-"}, strings.Repeat("Falco initialized\n", 25), badInput},
		"a file that ends too soon":    {[]string{"-"}, "{\n\"rule\":\n", badInput},
		"Falcosidekick's panic on one": {[]string{"-expect", "anything", "-brief", captures + "38-panic-k8s-ns-number/alert.json"}, "", asExpected},

		// Senders.
		"what Falcosidekick cannot send":  {[]string{captures + "22-crlf-injection-rule/alert.json"}, "", badInput},
		"what the router makes of it":     {[]string{"-as", "router", "-expect", "none", captures + "22-crlf-injection-rule/alert.json"}, "", asExpected},
		"as the router":                   {[]string{"-as", "router", "-cluster", "prod", "-expect", "isolate", captures + "01-terminal-shell-k8s-default/alert.json"}, "", asExpected},
		"as the router without a cluster": {[]string{"-as", "router", captures + "01-terminal-shell-k8s-default/cloudevents.http"}, "", notAsExpected},
		"the router takes no other types": {[]string{"-as", "router", "testdata/other.json"}, "", badInput},

		// Outputs.
		"for machines":               {[]string{"-json", "-expect", "delete-pod,slack", "testdata/falco.log"}, "", notAsExpected},
		"for machines, briefly":      {[]string{"-json", "-brief", "testdata/cloudevent.json"}, "", asExpected},
		"triggers of two namespaces": {[]string{"-triggers", "testdata/two-namespaces", "testdata/cloudevent.json"}, "", asExpected},

		// Expectations.
		"some, and one reaches none":  {[]string{"testdata/falco.log"}, "", notAsExpected},
		"exactly these":               {[]string{"-brief", "-expect", "slack, delete-pod", "testdata/cloudevent.json"}, "", asExpected},
		"one more than expected":      {[]string{"-brief", "-expect", "slack", "testdata/cloudevent.json"}, "", notAsExpected},
		"none, and one reaches some":  {[]string{"-brief", "-expect", "none", "testdata/falco.log"}, "", notAsExpected},
		"a function that nobody has":  {[]string{"-expect", "slack,delete-pods", "testdata/falco.log"}, "", badInput},
		"bad input before bad alerts": {[]string{"-brief", "-expect", "none", "testdata/cloudevent.json", "testdata/none.json"}, "", badInput},

		// Settings.
		"help":                       {[]string{"-h"}, "", asExpected},
		"nothing named":              {nil, "", badInput},
		"no such flag":               {[]string{"-expects", "none"}, "", badInput},
		"another sender":             {[]string{"-as", "falco", "-"}, "", badInput},
		"a cluster of Falcosidekick": {[]string{"-cluster", "prod", "-"}, "", badInput},
		"a flag after the alerts":    {[]string{"testdata/falco.log", "-json"}, "", badInput},
		"bad triggers":               {[]string{"-triggers", "testdata/bad-triggers", "-"}, "", badInput},
		"no triggers":                {[]string{"-triggers", "testdata/none", "-"}, "", badInput},
		"a folder without triggers":  {[]string{"-triggers", "testdata/folder", "-"}, "", badInput},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{"-triggers", "testdata/triggers"}, tc.args...)
			status, stdout, stderr := simulate(t, tc.stdin, args...)
			if status != tc.want {
				t.Errorf("exit status %d, want %d", status, tc.want)
			}
			got := fmt.Sprintf("$ simulate %s\n%s-- stderr\n%s-- exit status %d\n", strings.Join(tc.args, " "), stdout, stderr, status)
			file := filepath.Join("testdata", "golden", strings.NewReplacer(" ", "-", ",", "", "'", "").Replace(name)+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

// result is what a script reads.
type result struct {
	Input     string   `json:"input"`
	Rule      string   `json:"rule"`
	Functions []string `json:"functions"`
}

func results(t *testing.T, stdout string) []result {
	t.Helper()
	var out []result
	for line := range strings.Lines(stdout) {
		var r result
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, r)
	}
	return out
}

// An alert reaches the same functions by the shipped Triggers in every form it has: as Falco writes it, and in
// each of Falcosidekick's requests; and as the router sends it.
func TestFormsOfACaptureAgree(t *testing.T) {
	for _, as := range [][]string{{"-as", "falcosidekick"}, {"-as", "router", "-cluster", "prod"}} {
		reached := map[string]map[string]string{} // capture -> form -> functions
		folders, err := filepath.Glob(captures + "[0-9]*")
		if err != nil || len(folders) < 20 {
			t.Fatalf("found %d captures: %v", len(folders), err)
		}
		for _, folder := range folders {
			if strings.Contains(folder, "-reject-") {
				continue
			}
			args := append(slices.Clone(as), "-json", "-triggers", "../../../triggers", "-expect", "anything", folder)
			status, stdout, stderr := simulate(t, "", args...)
			name := filepath.Base(folder)
			if name == "22-crlf-injection-rule" && len(as) == 2 { // Falcosidekick sent no CloudEvent.
				if status != badInput || stdout != "" {
					t.Errorf("%s: exit status %d: %s", folder, status, stdout)
				}
				continue
			}
			if status != asExpected {
				t.Errorf("%s: exit status %d: %s", folder, status, stderr)
			}
			for _, r := range results(t, stdout) {
				if reached[name] == nil {
					reached[name] = map[string]string{}
				}
				reached[name][filepath.Base(r.Input)] = r.Rule + ": " + strings.Join(r.Functions, " ")
			}
		}
		different := map[string]bool{}
		for _, forms := range reached {
			for _, one := range forms {
				different[one] = true
			}
			if all := slices.Compact(slices.Sorted(maps.Values(forms))); len(all) != 1 {
				t.Errorf("%v: forms of one alert differ: %v", as, forms)
			}
		}
		if len(different) < 5 {
			t.Errorf("%v: all captures reach the same: %v", as, different)
		}
	}
}
