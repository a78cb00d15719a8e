//go:build prove

package prove

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// victim is a process that is killed again and again, and started again at the same address.
type victim struct {
	t             *testing.T
	name, address string
	settings      []string

	mu                     sync.Mutex
	command                *exec.Cmd
	exited                 chan struct{}
	terminations, murdered int
}

// newVictim starts dist/bin/NAME on a port of its own until the test ends.
func newVictim(t *testing.T, name string, settings ...string) *victim {
	t.Helper()
	v := &victim{t: t, name: name, address: freeAddress(t)}
	v.settings = append([]string{"LISTEN_ADDRESS=" + v.address, "PATH=/usr/bin:/bin"}, settings...)
	v.start()
	t.Cleanup(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		_ = v.command.Process.Kill()
		<-v.exited
	})
	return v
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs the process and returns when it listens.
func (v *victim) start() {
	v.mu.Lock()
	defer v.mu.Unlock()
	command := exec.Command(filepath.Join(testkit.Root(v.t), "dist", "bin", v.name))
	command.Env = v.settings
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := command.StderrPipe()
	if err != nil {
		v.t.Error(err)
		return
	}
	if err := command.Start(); err != nil {
		v.t.Errorf("start %s: %v", v.name, err)
		return
	}
	exited, listening := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(exited)
		var said sync.Once
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			var line struct{ Msg string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
				said.Do(func() { close(listening) })
			}
		}
		_ = command.Wait() // Killed, which is the point.
	}()
	v.command, v.exited = command, exited
	select {
	case <-listening:
	case <-exited:
		v.t.Errorf("%s ended at its start", v.name)
	}
}

// kill ends the process, by SIGTERM or at once, and starts it again.
func (v *victim) kill(gently bool) {
	v.mu.Lock()
	process, exited := v.command.Process, v.exited
	v.mu.Unlock()
	if gently {
		v.terminations++
		_ = process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(2 * time.Second): // Kubernetes waits longer; the longer way is the kinder one.
			_ = process.Kill()
		}
	} else {
		v.murdered++
		_ = process.Kill()
	}
	<-exited
	v.start()
}

// haunt kills the victims at random until ctx ends.
func haunt(ctx context.Context, seed uint64, victims ...*victim) (done <-chan struct{}) {
	random := rand.New(rand.NewPCG(seed, seed))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(20+random.IntN(200)) * time.Millisecond):
				victims[random.IntN(len(victims))].kill(random.IntN(2) == 0)
			}
		}
	}()
	return ended
}

// persistently posts an event until it is accepted: what is not answered is not accepted.
func persistently(ctx context.Context, url string, header http.Header, body []byte) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header = header.Clone()
		answer, err := http.DefaultClient.Do(request)
		if err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode/100 == 2 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
