package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files are those of a tar archive.
func files(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = string(content)
	}
}

func TestImageHoldsTheProgram(t *testing.T) {
	var out, again bytes.Buffer
	for _, w := range []io.Writer{&out, &again} {
		if err := Write(w, "example.com/web:1", "bin/web", []byte("program"), "serve"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(out.Bytes(), again.Bytes()) {
		t.Error("the second image of the same is another")
	}
	archive := files(t, out.Bytes())
	read := func(d descriptor, into any) string {
		t.Helper()
		algorithm, hex, _ := strings.Cut(d.Digest, ":")
		content := archive["blobs/"+algorithm+"/"+hex]
		if len(content) != d.Size || digest([]byte(content)) != hex {
			t.Fatalf("%s has %d bytes and not the digest of its name: want %d bytes", d.Digest, len(content), d.Size)
		}
		if into != nil {
			if err := json.Unmarshal([]byte(content), into); err != nil {
				t.Fatal(err)
			}
		}
		return content
	}
	var index, image manifest
	if err := json.Unmarshal([]byte(archive["index.json"]), &index); err != nil || len(index.Manifests) != 1 {
		t.Fatalf("the index is %s (%v)", archive["index.json"], err)
	}
	if got := index.Manifests[0].Annotations["io.containerd.image.name"]; got != "example.com/web:1" {
		t.Errorf("the image is called %q", got)
	}
	read(index.Manifests[0], &image)
	var config struct {
		OS     string
		Config struct{ Entrypoint []string }
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	read(*image.Config, &config)
	if diff := cmp.Diff([]string{"/web", "serve"}, config.Config.Entrypoint); diff != "" || config.OS != "linux" {
		t.Errorf("it starts, on %s (-want +got):\n%s", config.OS, diff)
	}
	if len(image.Layers) != 1 || !cmp.Equal(config.RootFS.DiffIDs, []string{image.Layers[0].Digest}) {
		t.Fatalf("the layers are %v, and those of the configuration %v", image.Layers, config.RootFS.DiffIDs)
	}
	if diff := cmp.Diff(map[string]string{"web": "program"}, files(t, []byte(read(image.Layers[0], nil)))); diff != "" {
		t.Errorf("files of the image (-want +got):\n%s", diff)
	}
}
