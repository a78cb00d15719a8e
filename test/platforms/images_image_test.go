package platforms

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// newRegistry is a registry of this process, with nothing in it. Its address is HOST:PORT.
func newRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// tool is a program of dist/tools.
func tool(tb testing.TB, name string) string {
	tb.Helper()
	file := filepath.Join(testkit.Root(tb), "dist", "tools", name)
	if _, err := os.Stat(file); err != nil {
		tb.Fatalf("%v: make dist/tools/%s", err, name)
	}
	return file
}

// imagesCommand is what make images runs, in this checkout; arguments of the form NAME=VALUE are for the environment.
func imagesCommand(t *testing.T, checkout string, args ...string) *exec.Cmd {
	t.Helper()
	flags := []string{"-version", imageVersion, "-revision", imageRevision}
	var environ []string
	for _, a := range args {
		if strings.Contains(a, "=") {
			environ = append(environ, a)
		} else {
			flags = append(flags, a)
		}
	}
	command := exec.CommandContext(t.Context(), tool(t, "images"), flags...)
	command.Dir = checkout
	command.Env = append(command.Environ(), environ...)
	return command
}

// runImages runs it and returns the lines that it writes.
func runImages(t *testing.T, checkout string, in io.Reader, args ...string) []string {
	t.Helper()
	command := imagesCommand(t, checkout, args...)
	var stderr bytes.Buffer
	command.Stdin, command.Stderr = in, &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, stderr.Bytes())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// copyOfRepository copies what git has of the repository, or would take, into another folder.
func copyOfRepository(t *testing.T) string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = testkit.Root(t)
	names, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(testkit.Root(t), name))
		if errors.Is(err, os.ErrNotExist) { // Removed, and not yet committed.
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(to, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func imageDigest(t *testing.T, reference string) name.Digest {
	t.Helper()
	d, err := name.NewDigest(reference)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func pullImage(t *testing.T, reference string) v1.Image {
	t.Helper()
	image, err := remote.Image(imageDigest(t, reference), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func pullIndex(t *testing.T, reference string) v1.ImageIndex {
	t.Helper()
	index, err := remote.Index(imageDigest(t, reference), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// imageSettings checks what the image tells whoever runs it.
func imageSettings(t *testing.T, image v1.Image, function string) v1.Config {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{
		"org.opencontainers.image.title":         "riposte-" + function,
		"org.opencontainers.image.description":   "Riposte's response to Falco alerts: " + function,
		"org.opencontainers.image.source":        "https://github.com/riposte-dev/riposte",
		"org.opencontainers.image.documentation": "https://github.com/riposte-dev/riposte/tree/main/functions/" + function,
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.version":       imageVersion,
		"org.opencontainers.image.revision":      imageRevision,
	}
	want := v1.Config{
		// Not root, by a number, so that the kubelet can see it (runAsNonRoot).
		User: "65532:65532", Entrypoint: []string{"/ko-app/cmd"}, WorkingDir: "/",
		Env:          []string{"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "PATH=/ko-app", "KO_DATA_PATH=/var/run/ko"},
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Labels:       labels,
	}
	if diff := cmp.Diff(want, file.Config); diff != "" {
		t.Errorf("the image's settings (-want +got):\n%s", diff)
	}
	if file.Created.Unix() != 0 {
		t.Errorf("the image is of %s, want 1970, as long as nobody says otherwise", file.Created)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range labels {
		if manifest.Annotations[name] != value {
			t.Errorf("the annotation %s is %q, want %q", name, manifest.Annotations[name], value)
		}
	}
	var compressed int64
	for _, l := range manifest.Layers {
		compressed += l.Size
	}
	t.Logf("%s: %.1f MB to pull", function, float64(compressed)/1e6)
	return file.Config
}

// imageEntry is a file of an image.
type imageEntry struct {
	mode, user, group int64
	content           []byte
}

// imageRoot are the files of all layers by their paths, and the folders, whose paths end with a slash.
func imageRoot(t *testing.T, image v1.Image) map[string]imageEntry {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]imageEntry{}
	for _, l := range layers {
		packed, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		defer packed.Close()
		unpacked, err := gzip.NewReader(packed)
		if err != nil {
			t.Fatal(err)
		}
		for r := tar.NewReader(unpacked); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			name := path.Join("/", h.Name)
			if h.Typeflag == tar.TypeDir {
				name += "/"
			}
			all[name] = imageEntry{h.Mode, int64(h.Uid), int64(h.Gid), content}
			if h.ModTime.Unix() != 0 {
				t.Errorf("%s is of %s, want 1970", name, h.ModTime)
			}
		}
	}
	return all
}

// imageContents checks that the function's program is all there is to run, and all that there is but for what programs read. It
// returns the program.
func imageContents(t *testing.T, files map[string]imageEntry) string {
	t.Helper()
	modes := map[string]string{}
	for name, f := range files {
		modes[name] = fmt.Sprintf("%d:%d %o", f.user, f.group, f.mode)
	}
	want := map[string]string{
		"/etc/": "0:0 755", "/etc/group": "0:0 644", "/etc/passwd": "0:0 644",
		"/etc/ssl/": "0:0 755", "/etc/ssl/certs/": "0:0 755", "/etc/ssl/certs/ca-certificates.crt": "0:0 644",
		"/tmp/": "0:0 1777", "/var/": "0:0 555", "/var/run/": "0:0 555", "/var/run/ko/": "0:0 555",
		"/ko-app/": "0:0 555", "/ko-app/cmd": "0:0 555",
	}
	if diff := cmp.Diff(want, modes); diff != "" {
		t.Errorf("files of the image (-want +got):\n%s", diff)
	}
	if user := "nonroot:x:65532:65532:"; !strings.Contains(string(files["/etc/passwd"].content), "\n"+user) {
		t.Errorf("/etc/passwd is %q, want %q in it", files["/etc/passwd"].content, user)
	}
	return imageFile(t, "function", files["/ko-app/cmd"].content)
}

// imageFile puts a program or a file into a folder of its own.
func imageFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// imageProgram checks how the program was made: for its architecture, of this function, with nothing that it would have to load.
func imageProgram(t *testing.T, binary, function, architecture string) {
	t.Helper()
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, s := range info.Settings {
		got[s.Key] = s.Value
	}
	for name, value := range map[string]string{
		"GOOS": "linux", "GOARCH": architecture, "CGO_ENABLED": "0", "-trimpath": "true", "-tags": "lambda.norpc", "vcs": "",
	} {
		if got[name] != value {
			t.Errorf("the program is built with %s %q, want %q", name, got[name], value)
		}
	}
	if want := "github.com/riposte-dev/riposte/functions/" + function + "/cmd"; info.Path != want {
		t.Errorf("the program is %s, want %s", info.Path, want)
	}
	program, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program asks for an interpreter, and the image has none")
		}
	}
	if program.Section(".symtab") != nil {
		t.Error("the program has its symbols still")
	}
	if architecture != "amd64" {
		return
	}
	says, err := exec.CommandContext(t.Context(), binary, "--version").Output()
	if want := function + " " + imageVersion + "\n"; err != nil || string(says) != want {
		t.Errorf("--version says %q, %v, want %q", says, err, want)
	}
}

// imageAuthorities checks that the authorities of AWS, Slack and Google are there, and that all are readable.
func imageAuthorities(t *testing.T, files map[string]imageEntry) {
	t.Helper()
	missing := []string{"Amazon Root CA 1", "DigiCert Global Root G2", "GTS Root R1", "ISRG Root X1"}
	rest, count := files["/etc/ssl/certs/ca-certificates.crt"].content, 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		count++
		missing = slices.DeleteFunc(missing, func(n string) bool { return n == certificate.Subject.CommonName })
	}
	if len(missing) > 0 || count < 100 || len(bytes.TrimSpace(rest)) > 0 {
		t.Errorf("there are %d authorities, and %q are not among them; %d bytes are no certificate", count, missing, len(rest))
	}
}

// imageBill checks the image's bill of materials in the registry, where cosign looks for it.
func imageBill(t *testing.T, reference, function string) {
	t.Helper()
	d := imageDigest(t, reference)
	image, err := remote.Image(d.Context().Tag(strings.Replace(d.DigestStr(), ":", "-", 1)+".sbom"), remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("the bill of materials has %d layers, want 1: %v", len(layers), err)
	}
	r, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), d.DigestStr()) {
		t.Errorf("the bill of materials does not name the image's digest %s", d.DigestStr())
	}
	imageSPDX(t, content, function)
}

func imageSPDX(t *testing.T, content []byte, function string) {
	t.Helper()
	var document struct {
		SPDXVersion string `json:"spdxVersion"`
		Packages    []struct{ Name, VersionInfo string }
	}
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	missing := []string{
		"github.com/riposte-dev/riposte/functions/" + function, "github.com/riposte-dev/riposte/shared", "github.com/cloudevents/sdk-go/v2",
		"localhost/riposte-base",
	}
	for _, p := range document.Packages {
		name, _, _ := strings.Cut(p.Name, "@")
		missing = slices.DeleteFunc(missing, func(n string) bool { return n == name })
	}
	if document.SPDXVersion != "SPDX-2.3" || len(missing) > 0 {
		t.Errorf("the bill of materials is %q, and %q are not in it", document.SPDXVersion, missing)
	}
}
