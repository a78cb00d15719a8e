package functions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout is the time a function has to listen.
	startTimeout = 15 * time.Second
	// stopTimeout is the time it has to finish what it is doing.
	stopTimeout = 5 * time.Second
	// restartPause grows with each restart up to restartPauseMost.
	restartPause     = 500 * time.Millisecond
	restartPauseMost = 10 * time.Second
)

// Status is how a function is.
type Status struct {
	Name     string `json:"name"`
	State    string `json:"state"` // starting, ready, restarting, stopped
	PID      int    `json:"pid"`
	Address  string `json:"address"`
	Restarts int    `json:"restarts"`
	// Account is the ServiceAccount it has its rights from.
	Account string `json:"account"`
	// Last is the last thing a function said that ended by itself.
	Last string `json:"last,omitempty"`
}

// Spec says how to run a function.
type Spec struct {
	Name    string
	Binary  string
	Account string
	// Env is the whole environment, as NAME=VALUE.
	Env []string
	// Log receives everything the function says.
	Log io.Writer
	// Changed is called when its status has changed.
	Changed func(Status)
}

// Process is a function that is kept running.
type Process struct {
	spec Spec
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	status Status
}

// Start runs a function until Stop. It returns when the function is ready, or has not
// become so in time.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	p := &Process{
		spec: spec, stop: stop, done: make(chan struct{}),
		status: Status{Name: spec.Name, State: "starting", Account: spec.Account},
	}
	ready := make(chan error, 1)
	go p.keep(running, ready)
	var err error
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		p.Stop()
		return nil, fmt.Errorf("start function %s: %w", spec.Name, err)
	}
	return p, nil
}

// Stop ends the function: politely, and by force after a while.
func (p *Process) Stop() {
	p.stop()
	<-p.done
}

// Status returns how the function is.
func (p *Process) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

func (p *Process) update(change func(*Status)) {
	p.mu.Lock()
	change(&p.status)
	status := p.status
	p.mu.Unlock()
	if p.spec.Changed != nil {
		p.spec.Changed(status)
	}
}

// keep runs the function again and again. Whether it has become ready the first time
// goes to ready; if it has not, that is all.
//
// The kernel kills a child whose parent dies when the thread that forked it ends, not
// the process, so the thread is held for as long as there are children.
func (p *Process) keep(ctx context.Context, ready chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	defer p.update(func(s *Status) { s.State, s.PID, s.Address = "stopped", 0, "" })
	var told sync.Once
	for pause := restartPause; ; pause = min(2*pause, restartPauseMost) {
		err := p.run(ctx, func() { told.Do(func() { ready <- nil }) })
		first := false
		told.Do(func() {
			first = true
			ready <- err
		})
		if first || ctx.Err() != nil {
			return
		}
		p.update(func(s *Status) {
			s.State, s.PID, s.Address, s.Last = "restarting", 0, "", err.Error()
			s.Restarts++
		})
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// run runs the function once, until it ends.
func (p *Process) run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	command := exec.CommandContext(ctx, p.spec.Binary)
	command.Env = p.spec.Env
	command.SysProcAttr = childAttributes()
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = stopTimeout
	lines := &lineWriter{log: p.spec.Log, address: make(chan string, 1)}
	command.Stdout, command.Stderr = lines, lines
	if err := command.Start(); err != nil {
		return err
	}
	p.update(func(s *Status) { s.PID = command.Process.Pid })
	go func() {
		address, err := p.await(ctx, lines.address)
		if err != nil {
			cancel(err)
			return
		}
		p.update(func(s *Status) { s.State, s.Address = "ready", address })
		ready()
	}()
	err := command.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	if err == nil {
		err = errors.New("it ended by itself")
	}
	if last := lines.last(); last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// await returns the address of the function when it takes alerts.
func (p *Process) await(ctx context.Context, addresses <-chan string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	var address string
	select {
	case address = <-addresses:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return "", fmt.Errorf("ask whether it is ready: %w", err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask whether it is ready: it answered %s", response.Status)
	}
	return address, nil
}
