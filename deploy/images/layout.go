package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/ko/pkg/build"
	"github.com/sigstore/cosign/v3/pkg/oci"
)

// layoutPublisher writes images into a folder that is an OCI layout, each under the name riposte-FUNCTION:TAG, and beside
// them, in the folder sbom, their bills of materials, for which a layout has no place. ko's own adds what it writes to what
// is there, nameless; here an image takes the place of the one of its name.
type layoutPublisher struct{ folder, tag string }

// Publish implements publish.Interface.
func (l *layoutPublisher) Publish(_ context.Context, image build.Result, reference string) (name.Reference, error) {
	title := prefix + function(reference)
	at, err := layout.FromPath(l.folder)
	if errors.Is(err, fs.ErrNotExist) {
		at, err = layout.Write(l.folder, empty.Index)
	}
	if err != nil {
		return nil, fmt.Errorf("open the layout %s: %w", l.folder, err)
	}
	named := title + ":" + l.tag
	with := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": named})
	switch image := image.(type) {
	case v1.ImageIndex:
		err = at.ReplaceIndex(image, match.Name(named), with)
	case v1.Image:
		err = at.ReplaceImage(image, match.Name(named), with)
	default:
		err = fmt.Errorf("it is a %T: want an image or an index", image)
	}
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", named, err)
	}
	if err := l.materials(title, image); err != nil {
		return nil, fmt.Errorf("write the bill of materials of %s: %w", named, err)
	}
	if err := collect(at); err != nil {
		return nil, fmt.Errorf("remove from %s what no image has any more: %w", l.folder, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return nil, err
	}
	return name.NewDigest("localhost/" + named + "@" + digest.String())
}

// Close implements publish.Interface.
func (l *layoutPublisher) Close() error { return nil }

// materials writes the bills of materials: one for each platform, and one that says what the platforms are.
func (l *layoutPublisher) materials(title string, image build.Result) error {
	if single, ok := image.(oci.SignedImage); ok {
		config, err := single.ConfigFile()
		if err != nil {
			return err
		}
		return l.bill(title+"-"+platform(*config.Platform()), single)
	}
	index, ok := image.(oci.SignedImageIndex)
	if !ok {
		return fmt.Errorf("it is a %T: want an image or an index with a bill of materials", image)
	}
	if err := l.bill(title, index); err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, m := range manifest.Manifests {
		one, err := index.SignedImage(m.Digest)
		if err != nil {
			return err
		}
		if err := l.bill(title+"-"+platform(*m.Platform), one); err != nil {
			return err
		}
	}
	return nil
}

func platform(p v1.Platform) string { return strings.ReplaceAll(p.String(), "/", "-") }

func (l *layoutPublisher) bill(title string, of oci.SignedEntity) error {
	attached, err := of.Attachment("sbom")
	if err != nil {
		return err
	}
	content, err := attached.Payload()
	if err != nil {
		return err
	}
	folder := filepath.Join(l.folder, "sbom")
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // What is published is for everybody.
		return err
	}
	return os.WriteFile(filepath.Join(folder, title+".spdx.json"), content, 0o644) //nolint:gosec // The same.
}

// collect removes the blobs of images that were replaced.
func collect(at layout.Path) error {
	unused, err := at.GarbageCollect()
	if err != nil {
		return err
	}
	for _, blob := range unused {
		if err := at.RemoveBlob(blob); err != nil {
			return err
		}
	}
	return nil
}
