package platforms

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/gateway"
)

// Every function of the stack, built as the golang-http template builds it and started as its image starts it.
func TestOpenFaaS(t *testing.T) {
	e, stack := testkit.Cluster(t), stackOf(t, communityStack)
	for _, name := range functions(t) {
		if _, there := stack[name]; !there {
			continue
		}
		t.Run(name, func(t *testing.T) {
			w := guarded(workFor(t, e, name), stack[name])
			image := imageOf(t, buildContext(t, staged(t, name)))
			p := invoked(t, image, port(t), "", environOf(t, name, w.environ))
			figures.add(figure{name, "openfaas", size(t, filepath.Join(image, "handler")), p.first})
			does(t, p.url, w)
			if w.token != "" {
				if answer := post(t, p.url, w.next().event); answer.Status != http.StatusUnauthorized {
					t.Errorf("without a token it is answered %d, want %d", answer.Status, http.StatusUnauthorized)
				}
			}
			pathless(t, p.url)
			switch name {
			case "router":
				t.Run("calls functions through the gateway", func(t *testing.T) { routes(t, image) })
			case "label":
				t.Run("behind the watchdog", func(t *testing.T) { watched(t, image, w) })
			}
		})
	}
}

// guarded gives the function, and who calls it, the token that the stack names.
func guarded(w work, f stackFunction) work {
	const token = "of-the-functions"
	switch path := mounted + "riposte-function-token"; path {
	case f.Environment["AUTH_TOKEN_FILE"]:
		w.token, w.environ = token, append(w.environ, "AUTH_TOKEN="+token)
	case f.Environment["FUNCTION_TOKEN_FILE"]:
		w.environ = append(w.environ, "FUNCTION_TOKEN="+token)
	}
	return w
}

// pathless proves that the template hands on no path: so a GET of /healthz is as wrong as any, and probes are the watchdog's.
func pathless(t *testing.T, url string) {
	t.Helper()
	for _, path := range []string{"", "healthz", "metrics"} {
		if status := got(t, url+path); status != http.StatusMethodNotAllowed {
			t.Errorf("GET /%s is answered %d, want %d", path, status, http.StatusMethodNotAllowed)
		}
	}
}

// got is the status of a GET.
func got(t *testing.T, url string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// invoked starts the program of an image in its working directory, alone or behind a watchdog that listens on this port,
// and waits until it answers anything.
func invoked(t *testing.T, image, at, watchdog string, environ []string) program {
	t.Helper()
	command, upstream := exec.CommandContext(t.Context(), "./handler"), at
	if watchdog != "" {
		command, upstream = exec.CommandContext(t.Context(), watchdog), port(t)
	}
	command.Dir, command.SysProcAttr = image, &syscall.SysProcAttr{Setpgid: true}
	// What the template's image sets. The watchdog's lock file is in the folder for temporary files.
	command.Env = slices.Concat([]string{
		"fprocess=./handler", "mode=http", "prefix_logs=false", "upstream_url=http://127.0.0.1:" + upstream, "port=" + at, "TMPDIR=" + t.TempDir(),
	}, environ)
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	began := time.Now()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // With what a watchdog started.
		<-ended
		if t.Failed() {
			t.Logf("%s wrote:\n%s", command, log.Bytes())
		}
	})
	p := program{url: fmt.Sprintf("http://127.0.0.1:%s/", at)}
	for time.Since(began) < patience {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		// While the watchdog cannot reach the function it answers 500.
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_ = answer.Body.Close()
			if p.first = time.Since(began); answer.StatusCode == http.StatusMethodNotAllowed {
				return p
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", command, err, log.Bytes())
		case <-time.After(500 * time.Microsecond):
		}
	}
	t.Fatalf("%s did not answer within %s", command, patience)
	return p
}

// routes proves that the router finds the triggers that were staged with it below its working directory, and calls functions
// through the gateway: on behalf of who shows the token, which is in a secret's file.
func routes(t *testing.T, image string) {
	t.Helper()
	stack := stackOf(t, communityStack)
	if triggers := environmentOf(t, stack["router"])["TRIGGERS"]; triggers != "static/triggers" {
		t.Errorf("TRIGGERS is %q, want the folder that the template copies", triggers)
	}
	g := gateway.New(t.Context(), gateway.Options{})
	t.Cleanup(g.Close)
	calls := make(chan string, 100)
	for name := range stack {
		function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if shown := r.Header.Get("Authorization"); shown != "Bearer of-the-functions" {
				t.Errorf("%s is shown %q", name, shown)
			}
			calls <- name + " " + string(body)
			w.WriteHeader(http.StatusNoContent)
		}))
		t.Cleanup(function.Close)
		g.Set(name, function.Listener.Addr().String())
	}
	through := httptest.NewServer(g)
	t.Cleanup(through.Close)
	address := strings.Replace(environmentOf(t, stack["router"])["FUNCTION_URL"], "http://gateway.openfaas:8080", through.URL, 1)
	p := invoked(t, image, port(t), "", environOf(t, "router", []string{
		"AUTH_TOKEN=of-the-secret", "FUNCTION_TOKEN=of-the-functions", "FUNCTION_URL=" + address, "DEAD_LETTER_URL=file://" + t.TempDir(), "PATH=/usr/bin:/bin",
	}))

	pod := fmt.Sprintf("web-%d", time.Now().UnixNano())
	c := testkit.Find(t, "03").Retarget(testkit.Retargeting{Time: time.Now(), Namespace: "shop", Pod: pod, ContainerID: "abc012345678"})
	alert := job{alert: c.Alert}
	if answer := post(t, p.url, alert.bare(t)); answer.Status != http.StatusUnauthorized || len(calls) != 0 {
		t.Errorf("without a token it is answered %d, and %d functions are called", answer.Status, len(calls))
	}
	r := alert.bare(t)
	r.Header.Set("Authorization", "Bearer of-the-secret")
	if answer := post(t, p.url, r); answer.Status != http.StatusNoContent {
		t.Fatalf("it is answered %d: %s", answer.Status, answer.Body)
	}
	close(calls)
	var called []string
	for call := range calls {
		name, body, _ := strings.Cut(call, " ")
		if !strings.Contains(body, pod) {
			t.Errorf("%s is called with %s", name, body)
		}
		called = append(called, name)
	}
	slices.Sort(called)
	// What triggers/ says of a container that writes below /etc.
	if !slices.Contains(called, "slack") || len(called) < 2 {
		t.Errorf("%q are called", called)
	}
}

// watched starts the function behind OpenFaaS's own watchdog, with the limits of the stack.
func watched(t *testing.T, image string, w work) {
	t.Helper()
	watchdog, err := exec.LookPath("fwatchdog")
	if err != nil {
		t.Log("fwatchdog is not on the PATH: functions run without it here, which adds the paths /_/health and /_/ready and nothing else to their answers")
		return
	}
	p := invoked(t, image, port(t), watchdog, environOf(t, "label", w.environ))
	does(t, p.url, w)
	pathless(t, p.url)
	for _, probe := range []string{"_/health", "_/ready"} {
		if status := got(t, p.url+probe); status != http.StatusOK {
			t.Errorf("GET /%s is answered %d", probe, status)
		}
	}
}
