// Command lambda builds functions for AWS Lambda:
//
//	go run ./deploy/cmd/lambda [-arch arm64|amd64] [-out dist/lambda] [-version V] [FUNCTION ...]
//
// Run it at the root of the repository. Without names it builds all functions that run there. It prints the zips.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/riposte-dev/riposte/deploy/archive"
	"github.com/riposte-dev/riposte/deploy/generate"
	"github.com/riposte-dev/riposte/deploy/source"
)

func main() {
	arch := flag.String("arch", archive.ARM64, "processor: arm64 or amd64")
	out := flag.String("out", "dist/lambda", "folder of the zips")
	version := flag.String("version", "", "what the functions say of their version")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out, *arch, *version, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "lambda:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out, arch, version string, names []string) error {
	functions, err := chosen(names)
	if err != nil {
		return err
	}
	for _, name := range functions {
		file, err := archive.Build(ctx, ".", out, name, arch, version)
		if err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		fmt.Printf("%s %.1f MB\n", file, float64(info.Size())/1e6)
	}
	return nil
}

// chosen are the functions of these names, or all that run on Lambda.
func chosen(names []string) ([]string, error) {
	var functions []source.Function
	var problems []error
	for _, name := range names {
		f, err := source.One(".", name)
		functions, problems = append(functions, f), append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		var err error
		if functions, err = source.Functions("."); err != nil {
			return nil, err
		}
	}
	var here []string
	for _, f := range functions {
		skip, err := generate.NotOnLambda(f)
		switch {
		case err != nil:
			return nil, err
		case skip == "":
			here = append(here, f.Name)
		case len(names) > 0:
			return nil, fmt.Errorf("FUNCTION is %q, which does not run on AWS Lambda: %s", f.Name, skip)
		}
	}
	return here, nil
}
