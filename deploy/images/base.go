package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

const (
	// user and group of the functions: what distroless calls nonroot.
	user = "65532:65532"
	// certificates is where Go and OpenSSL look for authorities.
	certificates = "/etc/ssl/certs/ca-certificates.crt"
)

// base is what all functions stand on, an image for each platform: nothing to run, nothing to pull, nothing to update but
// the authorities, whose version is the module's in go.mod.
func base(platforms []v1.Platform, created v1.Time) (name.Reference, v1.ImageIndex, error) {
	content, err := files()
	if err != nil {
		return nil, nil, fmt.Errorf("make the base image: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, nil, fmt.Errorf("make the base image: %w", err)
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
		if image, err = mutate.ConfigFile(image, &v1.ConfigFile{
			OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, Created: created,
			RootFS: v1.RootFS{Type: "layers"},
			Config: v1.Config{
				User: user, WorkingDir: "/", Env: []string{"SSL_CERT_FILE=" + certificates},
				ExposedPorts: map[string]struct{}{"8080/tcp": {}},
			},
		}); err != nil {
			return nil, nil, fmt.Errorf("make the base image: %w", err)
		}
		if image, err = mutate.Append(image, mutate.Addendum{
			Layer: layer, MediaType: types.OCILayer,
			History: v1.History{Author: "riposte", Created: created, CreatedBy: "deploy/images", Comment: "a user, certificate authorities, /tmp"},
		}); err != nil {
			return nil, nil, fmt.Errorf("make the base image: %w", err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{MediaType: types.OCIManifestSchema1, Platform: &p},
		})
	}
	// Images and their bills of materials name their base. This one is in no registry.
	reference, err := name.NewTag("localhost/riposte-base:" + module("golang.org/x/crypto/x509roots/fallback"))
	return reference, index, err
}

// module is the version of a module that this program is made of.
func module(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == path {
				return m.Version
			}
		}
	}
	return "unknown"
}

// files are those of the base, as a tar archive. All have the time 0 and belong to root.
func files() ([]byte, error) {
	var authorities bytes.Buffer
	for r := range bundle.Roots() {
		// What Mozilla trusts only in part, a file of certificates cannot say.
		if r.Constraint != nil {
			continue
		}
		if err := pem.Encode(&authorities, &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate}); err != nil {
			return nil, err
		}
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range []struct {
		name string
		mode int64
		// content is nil for a folder.
		content []byte
	}{
		{"etc/", 0o755, nil},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n")},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{certificates[1:], 0o644, authorities.Bytes()},
		{"tmp/", 0o1777, nil},
	} {
		header := tar.Header{Name: f.name, Mode: f.mode, Typeflag: tar.TypeDir, Format: tar.FormatUSTAR}
		if f.content != nil {
			header.Typeflag, header.Size = tar.TypeReg, int64(len(f.content))
		}
		if err := w.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return archive.Bytes(), nil
}
