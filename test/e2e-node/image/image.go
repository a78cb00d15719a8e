// Package image packs a program as an OCI image without a container engine.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"runtime"
)

// descriptor names a part of an image by what it holds.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// manifest is an image's, and with manifests an index of images.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

// Write writes an archive with the image of that name, such as example.com/web:1. It holds the
// program as /NAME of its path, and starts it with the arguments.
func Write(w io.Writer, name, program string, content []byte, arguments ...string) error {
	at := path.Base(program)
	layer, err := archive(file{at, 0o755, content})
	if err != nil {
		return fmt.Errorf("pack the image %s: %w", name, err)
	}
	blobs := []file{{name: "oci-layout", mode: 0o644, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	add := func(mediaType string, content []byte) descriptor {
		digest := digest(content)
		blobs = append(blobs, file{"blobs/sha256/" + digest, 0o644, content})
		return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(content)}
	}
	const types = "application/vnd.oci.image."
	config := add(types+"config.v1+json", encode(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": append([]string{"/" + at}, arguments...)},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	}))
	image := add(types+"manifest.v1+json", encode(manifest{
		SchemaVersion: 2, MediaType: types + "manifest.v1+json",
		Config: &config, Layers: []descriptor{add(types+"layer.v1.tar", layer)},
	}))
	image.Annotations = map[string]string{"io.containerd.image.name": name} // What ctr images import calls it.
	index := encode(manifest{SchemaVersion: 2, MediaType: types + "index.v1+json", Manifests: []descriptor{image}})
	whole, err := archive(append(blobs, file{"index.json", 0o644, index})...)
	if err != nil {
		return fmt.Errorf("pack the image %s: %w", name, err)
	}
	if _, err := w.Write(whole); err != nil {
		return fmt.Errorf("write the image %s: %w", name, err)
	}
	return nil
}

type file struct {
	name    string
	mode    int64
	content []byte
}

// archive is a tar of files, which depends on nothing but them.
func archive(files ...file) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func encode(v any) []byte {
	b, _ := json.Marshal(v) // Text and numbers are always encoded.
	return b
}
