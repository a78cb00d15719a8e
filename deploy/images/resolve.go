package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/ko/pkg/resolve"
	"go.yaml.in/yaml/v4"
)

// resolve copies manifests, and puts in the place of every ko:// the digest of what it built and pushed.
func (o *options) resolve(ctx context.Context, in io.Reader, out io.Writer) error {
	if o.registry == "" {
		return errors.New("registry is empty: want HOST/PATH to push the images to, such as ghcr.io/you")
	}
	var documents []*yaml.Node
	for d := yaml.NewDecoder(in); ; {
		document := new(yaml.Node)
		if err := d.Decode(document); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read manifests: %w", err)
		}
		documents = append(documents, document)
	}
	if len(documents) == 0 {
		return errors.New("there are no manifests on standard input")
	}
	builder, err := o.builder(ctx)
	if err != nil {
		return err
	}
	to, err := o.publisher()
	if err != nil {
		return err
	}
	if err := resolve.ImageReferences(ctx, documents, builder, to); err != nil {
		return fmt.Errorf("build and push the images: %w", err)
	}
	e := yaml.NewEncoder(out)
	e.SetIndent(2)
	for _, d := range documents {
		if err := e.Encode(d); err != nil {
			return fmt.Errorf("write manifests: %w", err)
		}
	}
	return e.Close()
}
