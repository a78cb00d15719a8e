// Package install deploys functions to Knative, OpenFaaS and AWS Lambda, and takes them away again: what make deploy and
// make undeploy run. It looks for everything that is missing first, and changes nothing until all of it is there.
package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/riposte-dev/riposte/deploy/source"
)

// Options say what to do. The names of the variables are those of make's.
type Options struct {
	// Root is the repository.
	Root string
	// Functions is FUNCTION: the functions that are meant; none means all.
	Functions []string
	// Platform is PLATFORM: knative, openfaas or lambda.
	Platform string
	// With is WITH, what builds and deploys on Knative: ko, the default, or func.
	With string
	// Overlay is OVERLAY: the name of one of deploy/knative/overlays, or a folder of one's own for kustomize.
	Overlay string
	// Registry is REGISTRY, where images go: ghcr.io/you.
	Registry string
	// Tag is TAG, of the images on OpenFaaS; the others go by their digests.
	Tag string
	// Pro is PRO: OpenFaaS is the edition Pro, which gives functions accounts and scales to zero.
	Pro bool
	// Parameters is PARAMETERS, of the template on AWS Lambda: Name=value.
	Parameters []string
	// Version is what the functions say they are.
	Version string
	// Revision is the commit they are built from, for a label of their images.
	Revision string
	// Arch is ARCH, what images are built for on Knative: linux/amd64,linux/arm64.
	Arch string
	// DryRun is DRY_RUN: true unless it is said to be false.
	DryRun bool
	// Plan prints what would be done, and does nothing.
	Plan bool
	// Undeploy takes away instead.
	Undeploy bool
	// Wait is WAIT: how long to wait until all is ready on Knative; 0 does not wait.
	Wait time.Duration
	// Environ is the environment of the programs that are run.
	Environ []string
	Out     io.Writer
}

// Validate checks what was asked for.
func (o Options) Validate() error {
	var problems []error
	oneOf := func(name, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			problems = append(problems, fmt.Errorf("%s is %q: want %s", name, value, strings.Join(allowed, ", ")))
		}
	}
	oneOf("PLATFORM", o.Platform, "knative", "openfaas", "lambda")
	oneOf("WITH", o.With, "ko", "func")
	if o.With == "func" && o.Platform != "knative" {
		problems = append(problems, fmt.Errorf("WITH is func and PLATFORM is %q: want knative", o.Platform))
	}
	if o.Overlay != "" {
		if o.Platform != "knative" {
			problems = append(problems, fmt.Errorf("OVERLAY is %q and PLATFORM is %q: want knative", o.Overlay, o.Platform))
		}
		if !o.DryRun {
			problems = append(problems, fmt.Errorf("OVERLAY is %q and DRY_RUN is false: want one of them; the overlay decides", o.Overlay))
		}
		if _, err := os.Stat(filepath.Join(o.folder(), "kustomization.yaml")); err != nil {
			problems = append(problems, fmt.Errorf("OVERLAY is %q: want one of deploy/knative/overlays, or a folder with a kustomization.yaml", o.Overlay))
		}
	}
	if o.Pro && o.Platform != "openfaas" {
		problems = append(problems, fmt.Errorf("PRO is set and PLATFORM is %q: want openfaas", o.Platform))
	}
	if len(o.Parameters) > 0 && o.Platform != "lambda" {
		problems = append(problems, fmt.Errorf("PARAMETERS is %q and PLATFORM is %q: want lambda", o.Parameters, o.Platform))
	}
	if o.Wait < 0 {
		problems = append(problems, fmt.Errorf("WAIT is %q: want 0s or more", o.Wait))
	}
	for _, name := range o.Functions {
		if _, err := source.One(o.Root, name); err != nil {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// folder is the overlay's folder.
func (o Options) folder() string {
	switch {
	case o.Overlay != "" && filepath.IsAbs(o.Overlay):
		return o.Overlay
	case o.Overlay != "" && filepath.Base(o.Overlay) == o.Overlay:
		return filepath.Join(o.Root, "deploy", "knative", "overlays", o.Overlay)
	case o.Overlay != "":
		return filepath.Join(o.Root, o.Overlay)
	case o.DryRun:
		return filepath.Join(o.Root, "deploy", "knative", "overlays", "dry-run")
	}
	return filepath.Join(o.Root, "deploy", "knative", "overlays", "enforce")
}

// step is one thing that is done.
type step struct {
	// says is what it does; a command as one would type it.
	says string
	do   func(context.Context) error
}

// plan is what is to be done, and what is missing for it.
type plan struct {
	steps   []step
	missing []string
}

func (p *plan) miss(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(p.missing, text) {
		p.missing = append(p.missing, text)
	}
}

// program says that a program is needed, and where it comes from.
func (p *plan) program(name, from string) {
	if _, err := exec.LookPath(name); err != nil {
		p.miss("the program %s: %s", name, from)
	}
}

// Run does what the options say.
func Run(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	var p plan
	var err error
	switch o.Platform {
	case "knative":
		err = o.knative(ctx, &p)
	case "openfaas":
		err = o.openfaas(ctx, &p)
	case "lambda":
		err = o.lambda(ctx, &p)
	}
	if err != nil {
		return err
	}
	if !o.Plan {
		if len(p.missing) > 0 {
			return fmt.Errorf("nothing was done, because there is missing\n  %s", strings.Join(p.missing, "\n  "))
		}
		for _, s := range p.steps {
			o.say("%s", s.says)
			if err := s.do(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	for _, s := range p.steps {
		o.say("would %s", s.says)
	}
	for _, m := range p.missing {
		o.say("missing: %s", m)
	}
	return nil
}

func (o Options) say(format string, args ...any) { _, _ = fmt.Fprintf(o.Out, format+"\n", args...) }

// functions are those that are meant.
func (o Options) functions() ([]source.Function, error) {
	all, err := source.Functions(o.Root)
	if len(o.Functions) > 0 {
		all = slices.DeleteFunc(all, func(f source.Function) bool { return !slices.Contains(o.Functions, f.Name) })
	}
	return all, err
}

// command is a step that runs a program in the repository's root, with more variables.
func (o Options) command(environ []string, name string, args ...string) step {
	shown := slices.Concat(environ, []string{name}, args)
	return step{"run " + strings.Join(shown, " "), func(ctx context.Context) error {
		c := exec.CommandContext(ctx, name, args...)
		c.Dir, c.Stdout, c.Stderr, c.Env = o.Root, o.Out, o.Out, slices.Concat(o.Environ, environ)
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(shown, " "), err)
		}
		return nil
	}}
}
