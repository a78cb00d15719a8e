// Command stage copies functions into folders of their own for the builders of platforms:
//
//	go run ./deploy/cmd/stage [-platform func|openfaas] [FUNCTION ...]
//
// Run it at the root of the repository. Without names it stages all functions, without -platform for both.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/riposte-dev/riposte/deploy/source"
	"github.com/riposte-dev/riposte/deploy/stage"
)

func main() {
	platform := flag.String("platform", "", "stage for this one only: func or openfaas")
	flag.Parse()
	if err := run(context.Background(), *platform, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "stage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, platform string, names []string) error {
	functions, err := source.Functions(".")
	if err != nil {
		return err
	}
	if len(names) > 0 {
		functions = functions[:0]
		for _, name := range names {
			f, err := source.One(".", name)
			if err != nil {
				return err
			}
			functions = append(functions, f)
		}
	}
	platforms := []string{stage.Func, stage.OpenFaaS}
	if platform != "" {
		platforms = []string{platform}
	}
	for _, f := range functions {
		for _, p := range platforms {
			changed, err := stage.Stage(ctx, ".", p, f)
			if err != nil {
				return err
			}
			word := "unchanged"
			if changed {
				word = "staged"
			}
			fmt.Println(stage.Folder(p, f.Name), word)
		}
	}
	return nil
}
