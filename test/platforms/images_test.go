package platforms

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/riposte-dev/riposte/shared/testkit"
)

const (
	imageVersion  = "v9.8.7"
	imageRevision = "0123456789abcdef0123456789abcdef01234567"
)

// Every function as an image: what make images makes is pulled from a registry, looked at, and does its job.
func TestImages(t *testing.T) {
	e, at := testkit.Cluster(t), newRegistry(t)
	references := runImages(t, testkit.Root(t), nil, append([]string{"-registry", at, "-platforms", "linux/amd64"}, functions(t)...)...)
	for i, function := range functions(t) {
		t.Run(function, func(t *testing.T) {
			want := at + "/riposte-" + function + ":" + imageVersion + "@sha256:"
			if !strings.HasPrefix(references[i], want) {
				t.Fatalf("what was published is %s, want %s...", references[i], want)
			}
			pulled := pullImage(t, references[i])
			config, files := imageSettings(t, pulled, function), imageRoot(t, pulled)
			binary := imageContents(t, files)
			imageProgram(t, binary, function, "amd64")
			imageAuthorities(t, files)
			imageBill(t, references[i], function)

			w, port := workFor(t, e, function), port(t)
			environ := slices.Clone(config.Env)
			for i, v := range environ {
				if file, ok := strings.CutPrefix(v, "SSL_CERT_FILE="); ok {
					environ[i] = "SSL_CERT_FILE=" + imageFile(t, "authorities.pem", files[file].content)
				}
			}
			p := started(t, binary, port, "healthz", slices.Concat(environ, w.environ, []string{"LISTEN_ADDRESS=127.0.0.1:" + port}))
			figures.add(figure{function, "ko", size(t, binary), p.first})
			does(t, p.url, w)
		})
	}
}

// Manifests name images by the program they are made of; resolve builds, pushes and puts digests in their place.
func TestImagesOfManifests(t *testing.T) {
	at := newRegistry(t)
	const manifests = `# A comment stays.
apiVersion: serving.knative.dev/v1
kind: Service
spec:
  template:
    spec:
      containers:
        - image: ko://github.com/riposte-dev/riposte/functions/label/cmd
          env:
            - name: WHEN
              value: 'alert.rule != "{{ no template }}"'
---
kind: ConfigMap
data:
  image: ko://github.com/riposte-dev/riposte/functions/label/cmd
  other: docker.io/library/busybox
`
	resolve := func() string {
		return strings.Join(runImages(t, testkit.Root(t), strings.NewReader(manifests), "-registry", at+"/team", "-platforms", "linux/amd64", "resolve"), "\n")
	}
	got := resolve()
	_, digest, _ := strings.Cut(got, "@")
	digest, _, _ = strings.Cut(digest, "\n")
	reference := at + "/team/riposte-label:" + imageVersion + "@" + digest
	pullImage(t, reference)
	want := strings.ReplaceAll(manifests, "ko://github.com/riposte-dev/riposte/functions/label/cmd", reference)
	if diff := cmp.Diff(strings.TrimSpace(want), got); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if again := resolve(); again != got {
		t.Errorf("the second time manifests are\n%s\nafter\n%s", again, got)
	}
}

// The same image comes out every time, into whatever it is written, and takes the place of the one before it.
func TestImagesAreReproducible(t *testing.T) {
	at, layout := newRegistry(t), t.TempDir()
	flags := []string{"-platforms", "linux/amd64", "label"}
	_, pushed, _ := strings.Cut(runImages(t, testkit.Root(t), nil, append([]string{"-registry", at}, flags...)...)[0], "@")
	for _, version := range []string{"v0.0.1", imageVersion, imageVersion} {
		runImages(t, testkit.Root(t), nil, append([]string{"-layout", layout, "-tag", "here", "-version", version}, flags...)...)
	}
	var index v1.IndexManifest
	content, err := os.ReadFile(filepath.Join(layout, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Digest.String() != pushed ||
		index.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "riposte-label:here" {
		t.Errorf("the layout has\n%s\nwant riposte-label:here alone, with the digest %s that was pushed", content, pushed)
	}
	blobs, err := filepath.Glob(filepath.Join(layout, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	// A manifest, a configuration, and the layers of the base, of ko's data and of the program.
	if len(blobs) != 5 {
		t.Errorf("the layout has %d blobs, want 5, none of them of the image that was replaced", len(blobs))
	}
	if content, err = os.ReadFile(filepath.Join(layout, "sbom", "riposte-label-linux-amd64.spdx.json")); err != nil {
		t.Fatal(err)
	}
	imageSPDX(t, content, "label")
	dated := runImages(t, testkit.Root(t), nil, append([]string{"SOURCE_DATE_EPOCH=1700000000", "-registry", at}, flags...)...)[0]
	config, err := pullImage(t, dated).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Created.Unix() != 1700000000 {
		t.Errorf("with SOURCE_DATE_EPOCH=1700000000 the image is of %s", config.Created)
	}
}

// All architectures, from this folder, and from another with nothing in the build cache.
func TestImagesOfEveryPlatform(t *testing.T) {
	if !*full {
		t.Log("only with -full: building for arm64 as well takes minutes")
		return
	}
	at, elsewhere := newRegistry(t), copyOfRepository(t)
	all := functions(t)
	here := runImages(t, testkit.Root(t), nil, append([]string{"-registry", at}, all...)...)
	for i, function := range all {
		index := pullIndex(t, here[i])
		manifest, err := index.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		var platforms []string
		for _, m := range manifest.Manifests {
			platforms = append(platforms, m.Platform.String())
			one, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			imageSettings(t, one, function)
			files := imageRoot(t, one)
			imageProgram(t, imageContents(t, files), function, m.Platform.Architecture)
			imageBill(t, at+"/riposte-"+function+"@"+m.Digest.String(), function)
		}
		if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, platforms); diff != "" {
			t.Errorf("platforms of %s (-want +got):\n%s", function, diff)
		}
	}
	if diff := cmp.Diff(here, runImages(t, elsewhere, nil, append([]string{"-registry", at}, all...)...)); diff != "" {
		t.Errorf("images from another folder (-here +there):\n%s", diff)
	}
	// One of them with nothing that could come out of the cache.
	amd64 := []string{"-registry", at, "-platforms", "linux/amd64", "label"}
	if diff := cmp.Diff(runImages(t, testkit.Root(t), nil, amd64...),
		runImages(t, elsewhere, nil, append([]string{"GOCACHE=" + t.TempDir()}, amd64...)...)); diff != "" {
		t.Errorf("the image from another folder, without a cache (-here +there):\n%s", diff)
	}
}

func TestImagesSayWhatIsWrong(t *testing.T) {
	const label = "image: ko://github.com/riposte-dev/riposte/functions/label/cmd"
	tests := map[string]struct {
		args  []string
		stdin string
		// named are what the error names: the value, and what is allowed.
		named []string
	}{
		"an unknown function":      {args: []string{"delete-node"}, named: []string{"delete-node", "delete-pod", "taint"}},
		"an unknown platform":      {args: []string{"-platforms", "linux/amd64,windows/amd64"}, named: []string{"windows/amd64", "linux/arm64"}},
		"a registry with a scheme": {args: []string{"-registry", "https://ghcr.io/you", "label"}, named: []string{"https://ghcr.io/you", "ghcr.io/you"}},
		"a tag that is none":       {args: []string{"-tag", "a b", "label"}, named: []string{"a b"}},
		"a version with a space":   {args: []string{"-tag", "v1", "-version", "a b", "label"}, named: []string{"version", "a b"}},
		"a time that is none":      {args: []string{"SOURCE_DATE_EPOCH=today", "label"}, named: []string{"SOURCE_DATE_EPOCH", "today"}},
		"resolve without registry": {args: []string{"resolve"}, stdin: label, named: []string{"registry", "ghcr.io/you"}},
		"resolve with a file":      {args: []string{"-registry", "127.0.0.1:1", "resolve", "a.yaml"}, named: []string{"a.yaml", "standard input"}},
		"nothing to resolve":       {args: []string{"-registry", "127.0.0.1:1", "resolve"}, named: []string{"standard input"}},
		"a program that is none of ours": {
			args: []string{"-registry", "127.0.0.1:1", "resolve"}, stdin: strings.Replace(label, "/label/", "/delete-node/", 1),
			named: []string{"functions/delete-node/cmd", "delete-pod"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			command := imagesCommand(t, testkit.Root(t), test.args...)
			command.Stdin = strings.NewReader(test.stdin)
			output, err := command.CombinedOutput()
			if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Fatalf("it ended with %v, want status 1; it wrote\n%s", err, output)
			}
			for _, n := range test.named {
				if !strings.Contains(string(output), n) {
					t.Errorf("the error does not name %q:\n%s", n, output)
				}
			}
		})
	}
}
