package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// errPortTaken says that a component lost its port to another process between the
// choice of the port and its use.
var errPortTaken = errors.New("a port was taken by another process")

// process is one running component.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // Closed when the process has ended.
}

// launch starts a component. The process outlives ctx: it ends by kill.
func launch(ctx context.Context, binary, folder, name string, flags []string) (*process, error) {
	p := &process{
		name: name,
		log:  filepath.Join(folder, "logs", name+".log"),
		cmd:  exec.CommandContext(context.WithoutCancel(ctx), binary, append([]string{name}, flags...)...),
		done: make(chan struct{}),
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Dir = folder
	// etcd takes every flag from ETCD_ variables too, kwok reads a file in the home
	// folder, and proxy variables send the traffic elsewhere: nothing of the
	// caller's environment may reach the cluster.
	p.cmd.Env = []string{"HOME=" + folder, "TMPDIR=" + folder}
	p.cmd.SysProcAttr = childAttributes()

	started := make(chan error, 1)
	go func() {
		// On Linux the kernel sends the signal of childAttributes when the thread that
		// forked ends, not the process. The thread is therefore held until the child
		// has ended: only the death of the whole process can end it earlier.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// kill ends the process at once and waits for its end. An API server that is asked
// politely can hold its port for tens of seconds, and there is no state to save.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// failure describes the unexpected end of the process, with what it said last.
func (p *process) failure() error {
	content, err := os.ReadFile(p.log)
	if err != nil {
		content = []byte(err.Error())
	}
	cause := fmt.Errorf("%s ended (%s); the last lines of its log:\n%s", p.name, p.cmd.ProcessState, lastLines(shorten(content), 12))
	if bytes.Contains(content, []byte("address already in use")) {
		return fmt.Errorf("%w: %w", errPortTaken, cause)
	}
	return cause
}

// shorten cuts very long lines: some components dump whole objects.
func shorten(log []byte) []byte {
	const limit = 600
	lines := strings.Split(string(log), "\n")
	for i, line := range lines {
		if len(line) > limit {
			lines[i] = line[:limit] + " ..."
		}
	}
	return []byte(strings.Join(lines, "\n"))
}
