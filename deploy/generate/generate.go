// Package generate writes what platforms read from what functions' folders say (package source): plain Knative Services,
// stack.yml for OpenFaaS, the template for AWS Lambda, the Helm chart. All of it is committed, so that it can be read and
// used without running anything, and make check fails where it is out of date.
package generate

import (
	"fmt"
	"maps"

	"github.com/riposte-dev/riposte/deploy/source"
)

// Files are contents by their paths below the repository's root, with slashes.
type Files map[string][]byte

// Input is what everything is made of.
type Input struct {
	// Root is the repository.
	Root      string
	Functions []source.Function
	// Settings are what all functions share: config/settings.env.
	Settings []source.Env
}

// Folders are the folders that hold nothing but generated files: a file there that is not made any more has to go.
func Folders() []string { return []string{"deploy/helm/riposte/templates", openfaasEnvironment} }

// All is every generated file.
func All(root string) (Files, error) {
	functions, err := source.Functions(root)
	if err != nil {
		return nil, err
	}
	settings, err := source.SharedSettings(root)
	if err != nil {
		return nil, err
	}
	in, all := Input{root, functions, settings}, Files{}
	for _, of := range []func(Input) (Files, error){services, kustomizations, stack, sam, chart} {
		files, err := of(in)
		if err != nil {
			return nil, err
		}
		for name := range files {
			if _, ok := all[name]; ok {
				return nil, fmt.Errorf("%s is generated twice", name)
			}
		}
		maps.Copy(all, files)
	}
	return all, nil
}
