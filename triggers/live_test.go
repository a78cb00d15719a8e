package triggers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// manifestOf declares a trigger; names of the same length make files of the same size.
func manifestOf(name string) string {
	return fmt.Sprintf(`apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: %s, namespace: riposte}
spec:
  broker: default
  filters:
    - exact: {type: falco.rule.output.v1}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: f}}
`, name)
}

// watched is a folder that the test looks at when it wants to.
type watched struct {
	*testing.T
	dir  string
	live *Live
	log  bytes.Buffer
	told []State
}

func watch(t *testing.T, prepare func(dir string)) *watched {
	t.Helper()
	w := &watched{T: t, dir: t.TempDir()}
	prepare(w.dir)
	live, err := newLive(w.dir, slog.New(slog.NewJSONHandler(&w.log, nil)), WatchOptions{
		Changed: func(s State) { w.told = append(w.told, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.live = live
	return w
}

func watchFiles(t *testing.T, files map[string]string) *watched {
	t.Helper()
	return watch(t, func(dir string) {
		for name, content := range files {
			write(t, filepath.Join(dir, name), content)
		}
	})
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *watched) write(name, content string) {
	w.Helper()
	write(w.T, filepath.Join(w.dir, name), content)
}

func (w *watched) look(times int) {
	for range times {
		w.live.poll(w.Context())
	}
}

// want checks the generation and the names of the triggers in use.
func (w *watched) want(generation int, names ...string) {
	w.Helper()
	s := w.live.State()
	if got := namesOf(s.Set.Triggers()); s.Generation != generation || !slices.Equal(got, names) {
		w.Fatalf("generation %d has %v, want generation %d with %v (%v)\n%s", s.Generation, got, generation, names, s.Err, &w.log)
	}
}

// lines returns what was logged since the last call, without times.
func (w *watched) lines() []map[string]any {
	w.Helper()
	var out []map[string]any
	for line := range strings.SplitSeq(strings.TrimSpace(w.log.String()), "\n") {
		if line == "" {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			w.Fatal(err)
		}
		delete(m, "time")
		out = append(out, m)
	}
	w.log.Reset()
	return out
}

func TestWatchFollowsFiles(t *testing.T) {
	w := watchFiles(t, map[string]string{"a.yaml": manifestOf("a")})
	w.want(1, "a")
	w.look(3)
	w.want(1, "a")
	if got := w.lines(); got != nil {
		t.Errorf("logged %v though nothing has happened", got)
	}
	for i, step := range []struct {
		change func()
		want   []string
	}{
		{func() { w.write("b.yaml", manifestOf("b")) }, []string{"a", "b"}},
		{func() { w.write("deep/er/c.yml", manifestOf("c")) }, []string{"a", "b", "c"}},
		{func() { w.write("a.yaml", manifestOf("x")) }, []string{"b", "c", "x"}},
		{func() { must(t, os.Remove(filepath.Join(w.dir, "b.yaml"))) }, []string{"c", "x"}},
		{func() { must(t, os.Rename(filepath.Join(w.dir, "a.yaml"), filepath.Join(w.dir, "deep", "a.yaml"))) }, []string{"c", "x"}},
	} {
		step.change()
		w.look(2)
		w.want(i+2, step.want...)
		if len(w.told) != i+1 || w.told[i].Generation != i+2 || w.told[i].Err != nil || w.told[i].Loaded.IsZero() {
			t.Errorf("step %d: the callback was told %v", i, w.told)
		}
	}
	if got := w.lines(); len(got) != 5 || got[0]["msg"] != "trigger manifests loaded" || got[0]["triggers"] != 2.0 {
		t.Errorf("logged %v, want a line for each set", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWatchKeepsTheOldSet(t *testing.T) {
	w := watchFiles(t, map[string]string{"a.yaml": manifestOf("a"), "b.yaml": manifestOf("b")})
	w.write("b.yaml", strings.ReplaceAll(manifestOf("b"), "exact: {type: falco.rule.output.v1}", "exactly: {priority: Critical}\n    - exact: {k8s.ns.name: shop}"))
	w.look(5)
	w.want(1, "a", "b")
	var failure *LoadError
	if err := w.live.State().Err; !errors.As(err, &failure) || len(w.told) != 1 || w.told[0].Err == nil || w.told[0].Set != w.live.Set() {
		t.Errorf("the state says %v, the callback was told %v", err, w.told)
	}
	base := map[string]any{
		"level": "ERROR", "msg": "trigger manifest refused", "folder": w.dir, "file": "b.yaml", "line": 7.0,
		"object": "trigger b", "field": "spec.filters[0].exactly", "generation": 1.0,
		"problem": `"exactly" is no filter dialect: applied without strict validation it is dropped and the filter lets every event through`,
		"cure":    "write one of exact, prefix, suffix, all, any, not, cesql",
	}
	if diff := cmp.Diff([]map[string]any{base}, w.lines()); diff != "" {
		t.Errorf("logged (-want +got):\n%s", diff)
	}

	// Two problems are two lines.
	w.write("b.yaml", strings.ReplaceAll(manifestOf("b"), "exact: {type: falco.rule.output.v1}", "exact: {k8s.ns.name: shop, priority: critical}"))
	w.look(3)
	w.want(1, "a", "b")
	if got := w.lines(); len(got) != 2 {
		t.Errorf("logged %v, want two lines", got)
	}

	w.write("b.yaml", manifestOf("c"))
	w.look(2)
	w.want(2, "a", "c")
	if err := w.live.State().Err; err != nil {
		t.Errorf("the state still says %v", err)
	}
}

// An editor truncates a file, and writes it in pieces.
func TestWatchDoesNotReadHalf(t *testing.T) {
	w := watchFiles(t, map[string]string{"a.yaml": manifestOf("a"), "b.yaml": manifestOf("b")})
	w.look(2)
	whole := manifestOf("c")
	for _, n := range []int{0, len(whole) / 3, len(whole) / 2} {
		w.write("b.yaml", whole[:n])
		w.look(1)
		w.want(1, "a", "b")
	}
	w.write("b.yaml", whole)
	w.look(2)
	w.want(2, "a", "c")
	if len(w.told) != 1 {
		t.Errorf("the callback was told %v, want the whole file alone", w.told)
	}
}

func TestWatchDoesNotWaitForEver(t *testing.T) {
	w := watchFiles(t, map[string]string{"a.yaml": manifestOf("a")})
	for i := range maxUnsettled {
		w.want(1, "a")
		w.write("b.yaml", manifestOf(fmt.Sprintf("b%s", strings.Repeat("x", i+1))))
		w.look(1)
	}
	w.want(2, "a", "bxxxxxxxxxx")
}

// A file can change while its size and its time stay the same.
func TestWatchNoticesWhatLooksTheSame(t *testing.T) {
	same := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := watchFiles(t, map[string]string{"a.yaml": manifestOf("a")})
	path := filepath.Join(w.dir, "a.yaml")

	// Right after the start, in the same file: the first look reads once more.
	info, err := os.Stat(path)
	must(t, err)
	w.write("a.yaml", manifestOf("b"))
	must(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
	w.look(1)
	w.want(2, "b")

	// Later, by renaming another file over it.
	must(t, os.Chtimes(path, same, same))
	w.look(2)
	w.want(2, "b") // Touched only: no new set.
	w.write("c", manifestOf("c"))
	must(t, os.Chtimes(filepath.Join(w.dir, "c"), same, same))
	must(t, os.Rename(filepath.Join(w.dir, "c"), path))
	w.look(2)
	w.want(3, "c")
}

func TestWatchOfAFolderThatIsGone(t *testing.T) {
	w := watchFiles(t, map[string]string{"a.yaml": manifestOf("a")})
	w.look(2)
	aside := w.dir + ".aside"
	must(t, os.Rename(w.dir, aside))
	w.look(3)
	w.want(1, "a")
	if err := w.live.State().Err; !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the state says %v, want that it does not exist", err)
	}
	if got := w.lines(); len(got) != 1 || got[0]["msg"] != "trigger manifests cannot be read" || got[0]["level"] != "ERROR" {
		t.Errorf("logged %v, want one line", got)
	}
	must(t, os.Rename(aside, w.dir))
	w.look(2)
	w.want(1, "a")
	if err := w.live.State().Err; err != nil {
		t.Errorf("the state still says %v", err)
	}
	if got := w.lines(); len(got) != 1 || got[0]["msg"] != "trigger manifests can be read again" {
		t.Errorf("logged %v, want one line", got)
	}

	// A volume that is not mounted is an empty folder.
	must(t, os.Remove(filepath.Join(w.dir, "a.yaml")))
	w.look(3)
	w.want(1, "a")
	var failure *LoadError
	if err := w.live.State().Err; !errors.As(err, &failure) {
		t.Errorf("the state says %v, want that there is no trigger", err)
	}
}

func TestWatchTriesAgain(t *testing.T) {
	w := watchFiles(t, map[string]string{"a.yaml": manifestOf("a")})
	must(t, os.Symlink(filepath.Join("..", "later"), filepath.Join(w.dir, "b.yaml")))
	w.look(3)
	w.want(1, "a")
	if err := w.live.State().Err; !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "b.yaml") {
		t.Errorf("the state says %v, want the file that cannot be read", err)
	}
	write(t, filepath.Join(w.dir, "..", "later"), manifestOf("b"))
	w.look(2)
	w.want(2, "a", "b")
}

func TestWatchRefusesToStart(t *testing.T) {
	start := func(dir string) error {
		live, err := Watch(t.Context(), dir, slog.New(slog.DiscardHandler), WatchOptions{})
		if (live == nil) == (err == nil) {
			t.Errorf("got %v and %v", live, err)
		}
		return err
	}
	var failure *LoadError
	dir := t.TempDir()
	if err := start(dir); !errors.As(err, &failure) || !strings.Contains(err.Error(), dir) {
		t.Errorf("an empty folder: %v, want a LoadError that names it", err)
	}
	if err := start(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	write(t, filepath.Join(dir, "a.yaml"), "kind: Trigger")
	if err := start(dir); !errors.As(err, &failure) {
		t.Errorf("a bad manifest: %v, want a LoadError", err)
	}
}

// atomicWriter updates a folder as the kubelet does with the volume of a ConfigMap, one step at a time:
// https://github.com/kubernetes/kubernetes/blob/v1.35.0/pkg/volume/util/atomic_writer.go
type atomicWriter struct {
	*testing.T
	dir   string
	count int
}

func (a *atomicWriter) update(payload map[string]string, after func()) {
	a.Helper()
	old, err := os.Readlink(filepath.Join(a.dir, "..data"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.Fatal(err)
	}
	a.count++
	stamp := fmt.Sprintf("..2026_01_01_00_00_00.%09d", a.count)
	links := map[string]bool{}
	for name, content := range payload {
		write(a.T, filepath.Join(a.dir, stamp, name), content)
		first, _, _ := strings.Cut(name, "/")
		links[first] = true
	}
	after()
	must(a.T, os.Symlink(stamp, filepath.Join(a.dir, "..data_tmp")))
	after()
	must(a.T, os.Rename(filepath.Join(a.dir, "..data_tmp"), filepath.Join(a.dir, "..data")))
	after()
	for link := range links {
		err := os.Symlink(filepath.Join("..data", link), filepath.Join(a.dir, link))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			a.Fatal(err)
		}
	}
	after()
	entries, err := os.ReadDir(a.dir)
	must(a.T, err)
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, "..") && !links[name] {
			must(a.T, os.Remove(filepath.Join(a.dir, name)))
		}
	}
	after()
	if old != "" {
		must(a.T, os.RemoveAll(filepath.Join(a.dir, old)))
	}
	after()
}

func TestWatchOfAMountedConfigMap(t *testing.T) {
	writer := &atomicWriter{T: t}
	w := watch(t, func(dir string) {
		writer.dir = dir
		writer.update(map[string]string{"a.yaml": manifestOf("a"), "deep/er/b.yaml": manifestOf("b")}, func() {})
	})
	w.want(1, "a", "b")
	files, err := list(os.DirFS(w.dir))
	must(t, err)
	if len(files) != 2 || files[0].name != "a.yaml" || files[1].name != "deep/er/b.yaml" {
		t.Errorf("found %v, want each key once", files)
	}
	for i, payload := range []map[string]string{
		{"a.yaml": manifestOf("x"), "deep/er/b.yaml": manifestOf("b")}, // As large as before.
		{"a.yaml": manifestOf("x"), "c.yaml": manifestOf("c")},         // A key removed, another added.
		{"one.yaml": manifestOf("x") + "---\n" + manifestOf("q")},      // All keys renamed.
		{"one.yaml": manifestOf("x"), "two.yaml": manifestOf("q")},     // A trigger moved to another key.
	} {
		// Looked at between any two steps, what is in use is the old set or the new one.
		before, changes := namesOf(w.live.Set().Triggers()), 0
		last := before
		writer.update(payload, func() {
			w.look(1)
			if now := namesOf(w.live.Set().Triggers()); !slices.Equal(now, last) {
				last, changes = now, changes+1
			}
		})
		w.look(2)
		want := [][]string{{"b", "x"}, {"c", "x"}, {"q", "x"}, {"q", "x"}}[i]
		w.want(i+2, want...)
		if changes > 1 || w.live.State().Err != nil {
			t.Errorf("update %d: %d changes from %v, at the end %v", i, changes, before, w.live.State().Err)
		}
	}

	// A bad update is swapped in whole, and the old set stays.
	writer.update(map[string]string{"one.yaml": "kind: Nothing\n"}, func() {})
	w.look(2)
	w.want(5, "q", "x")
	if w.live.State().Err == nil {
		t.Error("the bad update is not told")
	}
	writer.update(map[string]string{"one.yaml": manifestOf("z")}, func() {})
	w.look(2)
	w.want(6, "z")
}

// The goroutine does by itself what the other tests do by hand, while others ask.
func TestWatchInTheBackground(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), manifestOf("a"))
	states := make(chan State, 16)
	live, err := newLive(dir, slog.New(slog.DiscardHandler), WatchOptions{
		Interval: time.Millisecond, Changed: func(s State) { states <- s },
	})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { live.run(ctx) })
	for range 2 {
		group.Go(func() {
			for ctx.Err() == nil {
				if n := len(live.Set().Triggers()); n < 1 || n > 2 {
					t.Errorf("%d triggers are in use", n)
				}
			}
		})
	}
	defer group.Wait()
	defer stop()
	write(t, filepath.Join(dir, "b.yaml"), manifestOf("b"))
	next := func() State {
		select {
		case s := <-states:
			return s
		case <-time.After(30 * time.Second):
			t.Fatal("nothing was told")
		}
		return State{}
	}
	// The file may be found empty first, which changes nothing.
	if s := next(); s.Generation != 2 || len(s.Set.Triggers()) != 2 || s.Err != nil {
		t.Errorf("told %v", s)
	}
	write(t, filepath.Join(dir, "b.yaml"), "kind: Nothing\n")
	if s := next(); s.Generation != 2 || s.Err == nil {
		t.Errorf("told %v", s)
	}
}

func TestListFollowsLinks(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "elsewhere", "e.yaml"), "")
	dir := filepath.Join(root, "triggers")
	write(t, filepath.Join(dir, "deep", "d.yaml"), "")
	write(t, filepath.Join(dir, "README.md"), "")
	for name, to := range map[string]string{
		"file.yaml": "../elsewhere/e.yaml", "folder": "../elsewhere", "deep/loop": "..", "..data": "deep",
	} {
		must(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	files, err := list(os.DirFS(dir))
	must(t, err)
	var got []string
	for _, f := range files {
		got = append(got, f.name)
	}
	if want := []string{"deep/d.yaml", "file.yaml", "folder/e.yaml"}; !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}

	// A link to nowhere may be half of an update.
	nowhere := filepath.Join(dir, "nowhere")
	must(t, os.Symlink("../none", nowhere))
	if _, err := list(os.DirFS(dir)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v, want the link to nowhere", err)
	}
	must(t, os.Remove(nowhere))

	// To read from a socket or a pipe could take for ever.
	socket := filepath.Join(dir, "s.yaml")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	defer listener.Close()
	if _, err := list(os.DirFS(dir)); err == nil || !strings.Contains(err.Error(), "s.yaml") {
		t.Errorf("got %v, want that s.yaml is no file", err)
	}
}
