package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/dynamic"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// knative is the Knative that all tests share: the program cmd/knative, as a process.
type knative struct {
	once    sync.Once
	err     error
	env     *testkit.Env
	client  dynamic.Interface
	street  *street
	ingress string
	command *exec.Cmd
	stdin   io.Closer
}

// only is started by the first test that wants it, and stopped by TestMain.
var only knative

// start returns the Knative of this process.
func start(t *testing.T) *knative {
	t.Helper()
	env := testkit.Cluster(t)
	only.once.Do(func() {
		only.env = env
		only.err = only.run(context.WithoutCancel(t.Context()), testkit.Root(t))
	})
	if only.err != nil {
		t.Fatalf("start Knative: %v", only.err)
	}
	return &only
}

func (k *knative) run(ctx context.Context, root string) error {
	var err error
	if k.client, err = dynamic.NewForConfig(k.env.Config); err != nil {
		return err
	}
	if k.street, err = newStreet(ctx); err != nil {
		return err
	}
	binary := filepath.Join(root, "dist", "bin", "knative")
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("%w; make e2e builds it", err)
	}
	folder := filepath.Join(root, "dist", "e2e")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(folder, "knative.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	k.command = exec.CommandContext(ctx, binary, "--kubeconfig", k.env.Kubeconfig, "--network", k.street.address,
		"--traces", "http://"+k.street.address+"/v1/traces", "--until-stdin-closes")
	k.command.Env = append(os.Environ(), "OTEL_BSP_SCHEDULE_DELAY=100")
	k.command.Stderr = log
	// It ends when this process does, however it does: then the pipe closes.
	if k.stdin, err = k.command.StdinPipe(); err != nil {
		return err
	}
	stdout, err := k.command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := k.command.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	ingress, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "INGRESS=")
	if err != nil || !ok {
		said, _ := os.ReadFile(log.Name())
		return fmt.Errorf("it said %q (%w) and\n%s", line, errors.Join(err, k.stop()), said[max(0, len(said)-2000):])
	}
	k.ingress = ingress
	return nil
}

func (k *knative) stop() error {
	if k.command == nil || k.command.Process == nil {
		return nil
	}
	defer k.street.close()
	_ = k.stdin.Close()
	err := k.command.Wait()
	k.command = nil
	if err != nil {
		return fmt.Errorf("Knative ended by itself: %w", err)
	}
	return nil
}

// broker is where events for a Broker are posted.
func (k *knative) broker(namespace, name string) string {
	return k.ingress + "/" + namespace + "/" + name
}

// send posts an event and returns the status.
func send(ctx context.Context, t *testing.T, to string, r *http.Request) int {
	t.Helper()
	r = r.Clone(ctx)
	target, err := r.URL.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	r.URL, r.Host, r.RequestURI = target, target.Host, ""
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatalf("post an event: %v", err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}
