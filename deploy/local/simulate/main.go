// Command simulate says which functions would be called with an alert, and which not
// and why, by a folder of Triggers. It sends nothing, needs no cluster, and decides by
// Knative's own filter code.
//
//	make simulate ALERTS=alerts.jsonl TRIGGERS=triggers
//	make simulate ALERTS=- TRIGGERS=triggers ARGS='-expect delete-pod,slack' < alert.json
//
// Alerts come from files, from folders (every .json, .jsonl, .ndjson, .log and .http in
// them) or from the standard input (-):
//
//   - alerts as Falco or Falcosidekick writes them: one JSON object, an array, or one
//     after another, as in the log of Falco's stdout_output. A line of a log that is no
//     JSON is an error.
//   - CloudEvents in structured JSON: alerts, or outcomes of functions.
//   - raw HTTP requests, as in test/captures.
//
// A bare alert becomes an event as Falcosidekick sends it (type falco.rule.output.v1),
// or with -as router as Riposte's router does (type dev.riposte.alert.v1, and the
// attributes k8snamespace, k8spod, tags, ruleslug and cluster). The router gives alerts
// that are CloudEvents already its own type and attributes too. Other events are taken
// as they are.
//
// For use in CI the exit status is
//
//	0  every alert reaches the functions that -expect names
//	1  one does not
//	2  bad input: alerts, Triggers or flags. What can be read is reported all the same
//
// (make itself ends with 2 in both cases; dist/bin/simulate tells them apart), and -expect is one of
//
//	some            at least one function (the default)
//	none            no function
//	anything        whatever: for looking at alerts
//	FUNCTION,...    exactly these functions
//
// A function that is called may still decline: its guardrails and its condition WHEN
// see the data of the alert and the cluster, which no Trigger does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/riposte-dev/riposte/triggers"
)

const usage = `Usage: simulate [flags] ALERTS...

Says which functions would be called with each alert, and why not the others.
ALERTS are files, folders (.json .jsonl .ndjson .log .http in them) or - for the
standard input: Falco or Falcosidekick JSON (an object, an array, or one after
another as in a log), CloudEvents in structured JSON, or raw HTTP requests.

Exit status: 0 every alert reaches what -expect says, 1 one does not, 2 bad input.

Flags:
`

// The exit statuses.
const (
	asExpected = iota
	notAsExpected
	badInput
)

type options struct {
	triggers string
	sender   sender
	expect   string
	json     bool
	brief    bool
	inputs   []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return asExpected
	}
	say := func(err error) {
		lines := strings.Split(err.Error(), "\n")
		for i := range lines {
			lines[i] = printable(lines[i])
		}
		_, _ = fmt.Fprintln(stderr, "simulate:", strings.Join(lines, "\n"))
	}
	if err != nil {
		say(err)
		return badInput
	}
	set, err := load(o.triggers)
	if err != nil {
		say(err)
		return badInput
	}
	want, err := newExpectation(o.expect, set.Functions())
	if err != nil {
		say(err)
		return badInput
	}
	alerts, bad := readAll(o.inputs, stdin, o.sender)
	p := &printer{out: stdout, json: o.json, brief: o.brief}
	for _, a := range alerts {
		if ctx.Err() != nil {
			say(ctx.Err())
			return badInput
		}
		v := judge(ctx, set, a, want)
		if err := p.print(v); err != nil {
			say(fmt.Errorf("write the result: %w", err))
			return badInput
		}
		if !v.asExpected && o.json { // On the table it stands with the alert.
			say(fmt.Errorf("%s: %s", a.where, v.failure()))
		}
	}
	if err := p.summary(len(bad)); err != nil {
		say(fmt.Errorf("write the result: %w", err))
		return badInput
	}
	for _, err := range bad {
		say(err)
	}
	switch {
	case len(bad) > 0:
		return badInput
	case p.unexpected > 0:
		return notAsExpected
	}
	return asExpected
}

func parseFlags(args []string, stderr io.Writer) (options, error) {
	var o options
	as := ""
	flags := flag.NewFlagSet("simulate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.triggers, "triggers", "triggers", "`FOLDER` of Trigger manifests")
	flags.StringVar(&as, "as", asFalcosidekick, "who sends the alerts: `SENDER` "+asFalcosidekick+" or "+asRouter)
	flags.StringVar(&o.sender.cluster, "cluster", "", "with -as router: the `NAME` that the router gives the cluster")
	flags.StringVar(&o.expect, "expect", expectSome, "what every alert must reach: `WHAT` is some (function), none, anything, or the exact FUNCTION,...")
	flags.BoolVar(&o.json, "json", false, "print one JSON object for each alert, one on a line")
	flags.BoolVar(&o.brief, "brief", false, "leave out the triggers that do not take an alert")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errors.New("see simulate -h") // The flag package has said what is wrong.
	}
	o.inputs = flags.Args()
	o.sender.router = as == asRouter
	switch {
	case as != asFalcosidekick && as != asRouter:
		return o, fmt.Errorf("-as is %q: want %s or %s", as, asFalcosidekick, asRouter)
	case o.sender.cluster != "" && !o.sender.router:
		return o, fmt.Errorf("-cluster is %q without -as router: Falcosidekick adds no cluster by itself", o.sender.cluster)
	case slices.ContainsFunc(o.inputs, func(input string) bool { return input != "-" && strings.HasPrefix(input, "-") }):
		return o, fmt.Errorf("%q has a flag after the alerts: want flags first", strings.Join(o.inputs, " "))
	case len(o.inputs) == 0:
		return o, errors.New("no alerts are named: want files, folders, or - for the standard input")
	}
	return o, nil
}

// load reads the Triggers. The problems' files are named as they are reached from here.
func load(dir string) (*triggers.Set, error) {
	set, err := triggers.LoadDir(dir)
	var failure *triggers.LoadError
	if errors.As(err, &failure) {
		for i := range failure.Problems {
			failure.Problems[i].File = filepath.Join(dir, failure.Problems[i].File)
		}
		return nil, fmt.Errorf("the triggers are refused:\n%w", failure)
	}
	return set, err
}
