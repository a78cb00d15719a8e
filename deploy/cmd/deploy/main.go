// Command deploy deploys functions, or with -undeploy takes them away. make deploy and make undeploy run it.
//
// Run it at the root of the repository; its settings are variables, as make's: FUNCTION, PLATFORM, WITH, OVERLAY, REGISTRY,
// TAG, ARCH, PRO, PARAMETERS, DRY_RUN, WAIT and PLAN. docs/deploy.md explains them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/riposte-dev/riposte/deploy/install"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	options, err := read(os.Args[1:], os.Getenv)
	if err == nil {
		err = install.Run(ctx, options)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		stop()
		os.Exit(1)
	}
}

// read makes the options of variables.
func read(args []string, variable func(string) string) (install.Options, error) {
	or := func(name, otherwise string) string {
		if value := variable(name); value != "" {
			return value
		}
		return otherwise
	}
	o := install.Options{
		Root: ".", Functions: strings.FieldsFunc(variable("FUNCTION"), func(r rune) bool { return r == ',' || r == ' ' }), Platform: variable("PLATFORM"), With: or("WITH", "ko"), Overlay: variable("OVERLAY"),
		Registry: variable("REGISTRY"), Tag: or("TAG", "latest"),
		Parameters: strings.Fields(variable("PARAMETERS")), Version: variable("VERSION"), Revision: variable("REVISION"), Arch: variable("ARCH"), Environ: os.Environ(), Out: os.Stdout,
	}
	// Without functions it is about all of them: what names none, as a list of empty variables does, must not.
	if text := variable("FUNCTION"); text != "" && len(o.Functions) == 0 {
		return o, fmt.Errorf("FUNCTION is %q: want names with commas between, or nothing for all", text)
	}
	switch {
	case len(args) == 1 && args[0] == "-undeploy":
		o.Undeploy = true
	case len(args) > 0:
		return o, fmt.Errorf("arguments are %q: want -undeploy or none", args)
	}
	var err error
	if o.DryRun, err = strconv.ParseBool(or("DRY_RUN", "true")); err != nil {
		return o, fmt.Errorf("DRY_RUN is %q: want true or false", variable("DRY_RUN"))
	}
	if o.Plan, err = strconv.ParseBool(or("PLAN", "false")); err != nil {
		return o, fmt.Errorf("PLAN is %q: want 1 or nothing", variable("PLAN"))
	}
	if o.Pro, err = strconv.ParseBool(or("PRO", "false")); err != nil {
		return o, fmt.Errorf("PRO is %q: want 1 or nothing", variable("PRO"))
	}
	if o.Wait, err = time.ParseDuration(or("WAIT", "2m")); err != nil {
		return o, fmt.Errorf("WAIT is %q: want a duration such as 2m, or 0s", variable("WAIT"))
	}
	return o, nil
}
