package functions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/functions"
)

// The test program plays a function when it is told to: functions end, hang and fail
// to start in ways that real ones should not.
func TestMain(m *testing.M) {
	if behaviour := os.Getenv("PLAY"); behaviour != "" {
		play(behaviour)
		return
	}
	os.Exit(m.Run())
}

func play(behaviour string) {
	switch behaviour {
	case "broken":
		fmt.Fprintln(os.Stderr, `LABELS is "": want at least one`)
		os.Exit(2)
	case "silent":
		select {}
	}
	listener, err := net.Listen("tcp", os.Getenv("LISTEN_ADDRESS"))
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stderr, "not JSON")
	fmt.Fprintf(os.Stderr, `{"msg":"listening","address":%q}`+"\n", listener.Addr())
	if behaviour == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
	}
	_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case behaviour == "unready":
			http.Error(w, "no", http.StatusServiceUnavailable)
		case r.URL.Path == "/die":
			fmt.Fprintln(os.Stderr, "last words")
			os.Exit(3)
		}
	}))
}

type watched struct {
	mu       sync.Mutex
	statuses []functions.Status
	changed  chan struct{}
}

func (w *watched) add(s functions.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.statuses = append(w.statuses, s)
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func (w *watched) until(t *testing.T, what string, condition func(functions.Status) bool) functions.Status {
	t.Helper()
	for {
		w.mu.Lock()
		var last functions.Status
		if n := len(w.statuses); n > 0 {
			last = w.statuses[n-1]
		}
		w.mu.Unlock()
		if condition(last) {
			return last
		}
		select {
		case <-w.changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("it never was %s: %+v", what, last)
		}
	}
}

func spec(t *testing.T, behaviour string, w *watched, log io.Writer) functions.Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w.changed = make(chan struct{}, 1)
	return functions.Spec{
		Name: behaviour, Binary: self, Account: "riposte/x", Log: log, Changed: w.add,
		Env: []string{"PLAY=" + behaviour, "LISTEN_ADDRESS=127.0.0.1:0"},
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestFunctionIsRunAndStopped(t *testing.T) {
	var w watched
	var log bytes.Buffer
	p, err := functions.Start(t.Context(), spec(t, "good", &w, &log))
	if err != nil {
		t.Fatal(err)
	}
	s := p.Status()
	if s.State != "ready" || !alive(s.PID) || !strings.HasPrefix(s.Address, "127.0.0.1:") || s.Account != "riposte/x" {
		t.Errorf("it is %+v", s)
	}
	began := time.Now()
	p.Stop()
	if alive(s.PID) || p.Status().State != "stopped" || p.Status().Address != "" {
		t.Errorf("after Stop it is %+v", p.Status())
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if !strings.Contains(log.String(), "listening") {
		t.Errorf("the log is %q", log.String())
	}
}

func TestFunctionThatEndsIsStartedAgain(t *testing.T) {
	var w watched
	p, err := functions.Start(t.Context(), spec(t, "good", &w, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	first := p.Status()
	response, err := http.Get("http://" + first.Address + "/die")
	if err == nil {
		_ = response.Body.Close()
	}
	down := w.until(t, "restarting", func(s functions.Status) bool { return s.Restarts == 1 })
	if down.Address != "" || !strings.Contains(down.Last, "last words") || !strings.Contains(down.Last, "3") {
		t.Errorf("between the runs it is %+v", down)
	}
	again := w.until(t, "ready again", func(s functions.Status) bool { return s.State == "ready" })
	if again.PID == first.PID || again.Address == "" || again.Restarts != 1 {
		t.Errorf("then it is %+v", again)
	}
}

func TestFunctionThatDoesNotStart(t *testing.T) {
	for behaviour, want := range map[string]string{"broken": "LABELS", "unready": "503"} {
		t.Run(behaviour, func(t *testing.T) {
			var w watched
			_, err := functions.Start(t.Context(), spec(t, behaviour, &w, nil))
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), behaviour) {
				t.Errorf("the error is %v", err)
			}
			if s := w.until(t, "stopped", func(s functions.Status) bool { return s.State == "stopped" }); s.Restarts != 0 {
				t.Errorf("it is %+v", s)
			}
		})
	}
}

func TestStartIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var w watched
	sp := spec(t, "silent", &w, nil)
	changed := sp.Changed
	sp.Changed = func(s functions.Status) {
		changed(s)
		if s.PID != 0 {
			cancel()
		}
	}
	if _, err := functions.Start(ctx, sp); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

func TestStubbornFunctionIsKilled(t *testing.T) {
	var w watched
	p, err := functions.Start(t.Context(), spec(t, "stubborn", &w, nil))
	if err != nil {
		t.Fatal(err)
	}
	pid := p.Status().PID
	p.Stop()
	if alive(pid) {
		t.Error("it is still there")
	}
}

func TestList(t *testing.T) {
	names, err := functions.List("../../..")
	if err != nil || len(names) < 6 {
		t.Errorf("found %v: %v", names, err)
	}
	if _, err := functions.List(t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
}

// checkout makes a checkout with one function whose make target writes its binary.
func checkout(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range map[string]string{
		"functions/one/cmd/main.go": "package main", "functions/one/one_test.go": "package one", "shared/a.go": "package a",
		"go.work": "go 1.25.0", "Makefile": "dist/bin/one:\n\t@mkdir -p dist/bin; echo run >> runs; echo x > $@\n.PHONY: dist/bin/one\n",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestBuildOnlyWhatIsStale(t *testing.T) {
	root := checkout(t)
	runs := func() int {
		content, _ := os.ReadFile(filepath.Join(root, "runs"))
		return bytes.Count(content, []byte("run"))
	}
	build := func(want int) {
		t.Helper()
		var progress bytes.Buffer
		if err := functions.Build(t.Context(), root, []string{"one"}, &progress); err != nil {
			t.Fatal(err)
		}
		if runs() != want {
			t.Errorf("built %d times, want %d", runs(), want)
		}
	}
	touch := func(name string) {
		t.Helper()
		later := time.Now().Add(time.Hour)
		if err := os.Chtimes(filepath.Join(root, filepath.FromSlash(name)), later, later); err != nil {
			t.Fatal(err)
		}
	}
	build(1)
	build(1)
	touch("functions/one/one_test.go")
	build(1)
	touch("shared/a.go")
	build(2)
}

func TestBuildSaysWhatFailed(t *testing.T) {
	root := checkout(t)
	if err := os.WriteFile(filepath.Join(root, "Makefile"), []byte("dist/bin/one:\n\t@echo undefined: x; exit 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := functions.Build(t.Context(), root, []string{"one"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "undefined: x") {
		t.Errorf("the error is %v", err)
	}
}
