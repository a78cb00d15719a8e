package function

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/riposte-dev/riposte/shared/artifact/artifacttest"
	"github.com/riposte-dev/riposte/shared/testkit"
)

type settings = map[string]string

// place is an artifact store of a test.
type place struct {
	address string
	objects func(*testing.T) map[string][]byte
}

// folder is a store that is a folder.
func folder(t *testing.T) place {
	t.Helper()
	root := t.TempDir()
	return place{"file://" + root, func(t *testing.T) map[string][]byte {
		t.Helper()
		objects := map[string][]byte{}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return unlessGone(err)
			}
			key, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			body, err := os.ReadFile(path)
			if err == nil {
				objects[filepath.ToSlash(key)] = body
			}
			return unlessGone(err)
		})
		if err != nil {
			t.Fatal(err)
		}
		return objects
	}}
}

// unlessGone passes over what a writer has just renamed.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// bucket is a store that is a folder in a bucket.
func bucket(server *artifacttest.S3) place {
	return place{server.URL(artifacttest.Bucket, "kept"), func(t *testing.T) map[string][]byte {
		t.Helper()
		objects := map[string][]byte{}
		for key, body := range server.Objects(t, artifacttest.Bucket) {
			objects[strings.TrimPrefix(key, "kept/")] = body
		}
		return objects
	}}
}

// collector runs collect-evidence with a store.
func run(t *testing.T, p place, more settings) *testkit.Running {
	t.Helper()
	all := settings{"ARTIFACT_URL": p.address, "CLAIMS": "memory"}
	maps.Copy(all, more)
	return testkit.Cluster(t).Run(t, "collect-evidence", New(), all)
}

// stored is a bundle as somebody finds it who looks at the store alone.
type stored struct {
	folder   string
	files    map[string][]byte
	manifest manifest
	sum      string
}

// names are the files without the manifest.
func (s stored) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(s.files)), func(n string) bool { return n == manifestName })
}

// why is what the manifest says of a part that is missing; empty where it is not.
func (s stored) why(name string) string {
	for _, m := range s.manifest.Missing {
		if m.Name == name {
			return m.Reason
		}
	}
	return ""
}

// find reads the one bundle of a store, and checks it as its readers will: each file is what the manifest says, and the
// manifest says all.
func find(t *testing.T, p place) stored {
	t.Helper()
	s := stored{files: map[string][]byte{}}
	for key, body := range p.objects(t) {
		parts := strings.SplitN(key, "/", 5)
		if len(parts) != 5 {
			t.Fatalf("there is an object %s: want DATE/NAMESPACE/POD-UID/ALERT/FILE", key)
		}
		folder := strings.Join(parts[:4], "/")
		if s.folder != "" && s.folder != folder {
			t.Fatalf("there are two bundles, %s and %s", s.folder, folder)
		}
		s.folder, s.files[parts[4]] = folder, body
	}
	body, ok := s.files[manifestName]
	if !ok {
		t.Fatalf("the bundle has no manifest, and %v", s.names())
	}
	if err := json.Unmarshal(body, &s.manifest); err != nil {
		t.Fatal(err)
	}
	s.sum = sum(body)
	var named []string
	for _, f := range s.manifest.Files {
		named = append(named, f.Name)
		if got := s.files[f.Name]; sum(got) != f.SHA256 || int64(len(got)) != f.Bytes || f.MediaType == "" {
			t.Errorf("%s has %d bytes and the sum %s, the manifest says %+v", f.Name, len(got), sum(got), f)
		}
	}
	if !slices.Equal(named, s.names()) {
		t.Errorf("the manifest names %v, there is %v", named, s.names())
	}
	if s.manifest.Complete != (len(s.manifest.Missing) == 0) {
		t.Errorf("the manifest says complete: %t, and misses %v", s.manifest.Complete, s.manifest.Missing)
	}
	return s
}

func sum(b []byte) string {
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:])
}

// artifactsOf is what an outcome says of its bundle.
func artifactsOf(t *testing.T, a testkit.Answer) (found artifacts) {
	t.Helper()
	b, err := json.Marshal(a.Record.Details["artifacts"])
	if err == nil {
		err = json.Unmarshal(b, &found)
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func decode[T any](t *testing.T, b []byte) (into T) {
	t.Helper()
	if err := json.Unmarshal(b, &into); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return into
}

// deploy makes a pod with a secret in its manifest.
func deploy(t *testing.T) corev1.Pod {
	t.Helper()
	env := testkit.Cluster(t)
	d := testkit.Deployment(env.Namespace(t), "web", 1)
	d.Spec.Template.Spec.NodeName = env.Node(t).Name
	d.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "prepare", Image: "registry.example.com/prepare:v1"}}
	d.Spec.Template.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "PASSWORD", Value: secret}}
	return env.Deploy(t, d)[0]
}

const secret = "literal-5f0c1e7ab2d9"

// write puts a file into a folder, and remove takes one out with all that is in it, as somebody else than the function.
func write(t *testing.T, p place, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(strings.TrimPrefix(p.address, "file://"), name), []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, p place, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(strings.TrimPrefix(p.address, "file://"), name)); err != nil {
		t.Fatal(err)
	}
}
