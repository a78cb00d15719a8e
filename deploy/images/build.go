package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/ko/pkg/build"
	"github.com/google/ko/pkg/publish"
)

const (
	// root is the path of the repository's root as Go imports it.
	root = "github.com/riposte-dev/riposte"
	// prefix is what the images' names begin with, before the function's.
	prefix = "riposte-"
)

// build builds these functions into a registry or an OCI layout, and prints the reference of each.
func (o *options) build(ctx context.Context, functions []string, out io.Writer) error {
	builder, err := o.builder(ctx)
	if err != nil {
		return err
	}
	var to publish.Interface = &layoutPublisher{o.layout, o.tag}
	if o.registry != "" {
		if to, err = o.publisher(); err != nil {
			return err
		}
	}
	// One after the other: go build keeps all processors busy.
	for _, f := range functions {
		reference := build.StrictScheme + root + "/functions/" + f + "/cmd"
		image, err := builder.Build(ctx, reference)
		if err != nil {
			return fmt.Errorf("build %s: %w", f, err)
		}
		at, err := to.Publish(ctx, image, reference)
		if err != nil {
			return fmt.Errorf("publish %s: %w", f, err)
		}
		if _, err := fmt.Fprintln(out, at); err != nil {
			return err
		}
	}
	return nil
}

// publisher pushes to the registry.
func (o *options) publisher() (publish.Interface, error) {
	return publish.NewDefault(o.registry, publish.WithTags([]string{o.tag}),
		publish.WithNamer(func(registry, importPath string) string { return registry + "/" + prefix + function(importPath) }))
}

// function is the name of the function whose program has this path, with ko:// or without; empty if there is none.
func function(importPath string) string {
	below, ok := strings.CutPrefix(strings.TrimPrefix(importPath, build.StrictScheme), root+"/functions/")
	if name, rest, _ := strings.Cut(below, "/"); ok && rest == "cmd" {
		return name
	}
	return ""
}

// builder builds functions. ko gives all that one of its builders builds the same labels, so each function gets its own.
type builder struct {
	of  map[string]build.Interface
	all []string
	// slots are as many as programs may be built at once: resolve asks for everything at once.
	slots chan struct{}
}

func (o *options) builder(ctx context.Context) (build.Interface, error) {
	reference, index, err := base(o.platforms, o.created)
	if err != nil {
		return nil, err
	}
	platforms := make([]string, 0, len(o.platforms))
	for _, p := range o.platforms {
		platforms = append(platforms, p.String())
	}
	b := &builder{map[string]build.Interface{}, o.functions, make(chan struct{}, runtime.GOMAXPROCS(0))}
	for _, f := range o.functions {
		options := []build.Option{
			build.WithBaseImages(func(context.Context, string) (name.Reference, build.Result, error) { return reference, index, nil }),
			build.WithPlatforms(platforms...),
			build.WithCreationTime(o.created), build.WithKoDataCreationTime(o.created),
			build.WithSPDX(module("github.com/google/ko")), build.WithJobs(1),
		}
		for _, l := range [][2]string{
			{"title", prefix + f},
			{"description", "Riposte's response to Falco alerts: " + f},
			{"source", "https://" + root},
			{"documentation", "https://" + path.Join(root, "tree", "main", "functions", f)},
			{"licenses", "Apache-2.0"},
			{"version", o.version},
			{"revision", o.revision},
		} {
			if l[1] != "" {
				name := "org.opencontainers.image." + l[0]
				options = append(options, build.WithLabel(name, l[1]), build.WithAnnotation(name, l[1]))
			}
		}
		if b.of[f], err = build.NewGo(ctx, ".", options...); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// QualifyImport implements build.Interface: paths are whole already.
func (b *builder) QualifyImport(importPath string) (string, error) { return importPath, nil }

// IsSupportedReference implements build.Interface.
func (b *builder) IsSupportedReference(reference string) error {
	if b.of[function(reference)] == nil {
		return fmt.Errorf("image is %q: want %s%s/functions/FUNCTION/cmd with one of %s", reference, build.StrictScheme, root, strings.Join(b.all, ", "))
	}
	return nil
}

// Build implements build.Interface.
func (b *builder) Build(ctx context.Context, reference string) (build.Result, error) {
	if err := b.IsSupportedReference(reference); err != nil {
		return nil, err
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	_, _ = fmt.Fprintln(os.Stderr, "images: build", prefix+function(reference))
	return b.of[function(reference)].Build(ctx, reference)
}
