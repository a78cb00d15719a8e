package install

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// builtByKo is how manifests name an image that is built from a package.
const builtByKo = "ko://"

// references are the images that have to be built, each once.
func references(objects []unstructured.Unstructured) []string {
	var out []string
	for _, o := range objects {
		for _, c := range containers(o) {
			if image, _ := c["image"].(string); strings.HasPrefix(image, builtByKo) {
				out = append(out, image)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// images is the step that builds and pushes the objects' images and puts their digests into the objects.
func (o Options) images(objects []unstructured.Unstructured) []step {
	all := references(objects)
	if len(all) == 0 {
		return nil
	}
	names := make([]string, len(all))
	for i, reference := range all {
		names[i] = filepath.Base(filepath.Dir(reference))
	}
	return []step{{"build the images of " + strings.Join(names, ", ") + " and push them to " + cmp.Or(o.Registry, "REGISTRY"), func(ctx context.Context) error {
		digests, err := o.resolve(ctx, all)
		if err != nil {
			return err
		}
		for _, object := range objects {
			if err := replace(object, digests); err != nil {
				return err
			}
		}
		return nil
	}}}
}

// resolve builds and pushes what the references name. The answer has their digests.
func (o Options) resolve(ctx context.Context, references []string) (map[string]string, error) {
	list, err := yaml.Marshal(references)
	if err != nil {
		return nil, err
	}
	args := []string{"-registry", o.Registry}
	if o.Version != "" {
		args = append(args, "-version", o.Version)
	}
	if o.Revision != "" {
		args = append(args, "-revision", o.Revision)
	}
	if o.Arch != "" {
		args = append(args, "-platforms", o.Arch)
	}
	program, err := filepath.Abs(filepath.Join(o.Root, "dist", "tools", "images"))
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, program, append(args, "resolve")...)
	var stdout bytes.Buffer
	command.Dir, command.Env, command.Stdin, command.Stdout, command.Stderr = o.Root, o.Environ, bytes.NewReader(list), &stdout, o.Out
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("build the images: %w", err)
	}
	var digests []string
	if err := yaml.Unmarshal(stdout.Bytes(), &digests); err != nil || len(digests) != len(references) {
		return nil, fmt.Errorf("build the images: want %d references, got %q", len(references), stdout.Bytes())
	}
	out := map[string]string{}
	for i, r := range references {
		out[r] = digests[i]
	}
	return out, nil
}

// replace puts digests in the place of references.
func replace(object unstructured.Unstructured, digests map[string]string) error {
	all, found, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "containers")
	if err != nil || !found {
		return err
	}
	for _, c := range all {
		container, ok := c.(map[string]any)
		if !ok {
			return errors.New(Name(object) + " has a container that is none")
		}
		if digest := digests[fmt.Sprint(container["image"])]; digest != "" {
			container["image"] = digest
		}
	}
	return unstructured.SetNestedSlice(object.Object, all, "spec", "template", "spec", "containers")
}

// withImages is the object with the images that it has already, in the place of those that are yet to be built.
func withImages(object, old unstructured.Unstructured) (unstructured.Unstructured, error) {
	object = *object.DeepCopy()
	has := map[string]string{}
	now := containers(old)
	for i, c := range containers(object) {
		if image := fmt.Sprint(c["image"]); strings.HasPrefix(image, builtByKo) && i < len(now) {
			has[image] = fmt.Sprint(now[i]["image"])
		}
	}
	return object, replace(object, has)
}
