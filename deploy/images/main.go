// Command images builds the functions as images with ko:
//
//	images [flags] [FUNCTION ...]                    into an OCI layout, or with -registry into a registry
//	images [flags] resolve < MANIFESTS > MANIFESTS   the images that manifests name as ko://, into a registry
//
// Run it at the root of the repository; make images and make deploy do. Each function becomes riposte-FUNCTION, an image for
// each platform and an index over them, on a base that is made here and not pulled: a user, the certificates of Mozilla's
// authorities, an empty /tmp. There is no shell. The same sources make the same images, to the byte, in any folder and at any
// time; the time they carry is 1970, or SOURCE_DATE_EPOCH.
//
// With resolve, every ko://github.com/riposte-dev/riposte/functions/FUNCTION/cmd in the manifests on standard input is built,
// pushed and replaced by the reference of its digest.
//
// A registry is reached with the credentials of docker login; one at 127.0.0.1 or localhost without TLS.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// options are what the flags say.
type options struct {
	registry, layout, tag, version, revision string
	platforms                                []v1.Platform
	created                                  v1.Time
	// functions are the names of all functions there are.
	functions []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// ko logs what git thinks of every file. What it fails at comes as an error.
	log.SetOutput(io.Discard)
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("images", flag.ExitOnError)
	var o options
	flags.StringVar(&o.registry, "registry", "", "push to this `HOST/PATH`, such as ghcr.io/you")
	flags.StringVar(&o.layout, "layout", filepath.Join("dist", "images"), "without -registry, the `FOLDER` of the OCI layout")
	flags.StringVar(&o.tag, "tag", "", "the images' `TAG` (default: the version)")
	flags.StringVar(&o.version, "version", "unknown", "the `VERSION` the functions say they are")
	flags.StringVar(&o.revision, "revision", "", "the `COMMIT` they are built from, for a label")
	platforms := flags.String("platforms", "linux/amd64,linux/arm64", "what to build for: `OS/ARCH,OS/ARCH`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := o.complete(*platforms, os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	// Go's flags have to reach all that ko runs: go build, and go list, which sees no program without the tag.
	// GOOS and GOARCH would win over the platforms.
	if err := errors.Join(os.Setenv("GOFLAGS", o.goflags()), os.Setenv("CGO_ENABLED", "0"), os.Unsetenv("GOOS"), os.Unsetenv("GOARCH")); err != nil {
		return err
	}
	if flags.Arg(0) == "resolve" {
		if flags.NArg() > 1 {
			return fmt.Errorf("argument is %q: want none after resolve; manifests come on standard input", flags.Arg(1))
		}
		return o.resolve(ctx, in, out)
	}
	wanted := flags.Args()
	for _, f := range wanted {
		if !slices.Contains(o.functions, f) {
			return fmt.Errorf("function is %q: want one of %s", f, strings.Join(o.functions, ", "))
		}
	}
	if len(wanted) == 0 {
		wanted = o.functions
	}
	return o.build(ctx, wanted, out)
}

// complete fills in what is left out, and checks all of it.
func (o *options) complete(platforms, epoch string) error {
	o.tag = cmp.Or(o.tag, o.version)
	// The references of images say what is wrong with either.
	if _, err := name.NewTag("localhost/riposte:" + o.version); err != nil {
		return fmt.Errorf("version is %q: want letters, digits, dots, dashes and underscores: %w", o.version, err)
	}
	_, err := name.NewTag(cmp.Or(o.registry, "localhost") + "/" + prefix + "x:" + o.tag)
	if strings.Contains(o.registry, "//") {
		err = errors.New("a registry has no scheme")
	}
	if err != nil {
		return fmt.Errorf("registry is %q and tag is %q: want HOST/PATH, such as ghcr.io/you, and a tag: %w", o.registry, o.tag, err)
	}
	for text := range strings.SplitSeq(platforms, ",") {
		p, err := v1.ParsePlatform(text)
		if err != nil || p.OS != "linux" || p.Architecture == "" {
			return fmt.Errorf("platform is %q in %q: want linux/ARCH, such as linux/arm64", text, platforms)
		}
		o.platforms = append(o.platforms, *p)
	}
	seconds, err := strconv.ParseInt(cmp.Or(epoch, "0"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH is %q: want seconds since 1970", epoch)
	}
	o.created = v1.Time{Time: time.Unix(seconds, 0).UTC()}
	mains, err := filepath.Glob(filepath.Join("functions", "*", "cmd", "main.go"))
	if err != nil {
		return err
	}
	if len(mains) == 0 {
		return errors.New("there is no functions/*/cmd/main.go here: want the root of the repository")
	}
	for _, m := range mains {
		o.functions = append(o.functions, filepath.Base(filepath.Dir(filepath.Dir(m))))
	}
	return nil
}

// goflags are those of make build, so that these are the same programs.
func (o *options) goflags() string {
	return "-trimpath -buildvcs=false -tags=lambda.norpc '-ldflags=-s -w -X " + root + "/shared/serve.version=" + o.version + "'"
}
