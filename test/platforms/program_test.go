package platforms

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// patience is how long a program has to answer for the first time.
const patience = 20 * time.Second

// port is a free one on this machine.
func port(tb testing.TB) string {
	tb.Helper()
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	_, p, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// program is a built function, running.
type program struct {
	url string
	// first is the time from its start to its first answer.
	first time.Duration
}

// started runs a binary that listens on this port, until the test ends, and waits for a GET of the path to be answered.
func started(tb testing.TB, binary, port, path string, environ []string) program {
	tb.Helper()
	command := exec.CommandContext(tb.Context(), binary)
	command.Env = slices.Clone(environ)
	var log bytes.Buffer
	command.Stdout, command.Stderr = &log, &log
	began := time.Now()
	if err := command.Start(); err != nil {
		tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	tb.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		if tb.Failed() {
			tb.Logf("%s wrote:\n%s", binary, log.Bytes())
		}
	})
	p := program{url: fmt.Sprintf("http://127.0.0.1:%s/", port)}
	for time.Since(began) < patience {
		r, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, p.url+path, nil)
		if err != nil {
			tb.Fatal(err)
		}
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_ = answer.Body.Close()
			p.first = time.Since(began)
			if answer.StatusCode != http.StatusOK {
				tb.Fatalf("GET /%s is answered %s", path, answer.Status)
			}
			return p
		}
		select {
		case err := <-ended:
			ended <- err
			tb.Fatalf("%s ended: %v\n%s", binary, err, log.Bytes())
		case <-time.After(500 * time.Microsecond):
		}
	}
	tb.Fatalf("%s did not answer within %s", binary, patience)
	return p
}
