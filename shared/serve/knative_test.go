package serve_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	knative "knative.dev/func-go/http"

	"github.com/riposte-dev/riposte/shared/serve"
)

// asInstance is the variable that makes this program an instance of Knative Functions, with a desk in it.
const asInstance = "TEST_KNATIVE_INSTANCE"

// instance is what the func CLI builds around a function.
func instance(how string) int {
	var middleware *knative.Service
	work := func(ctx context.Context) error {
		if how == "fails" {
			return errors.New("no more ink")
		}
		fmt.Println("listening", middleware.Addr())
		<-ctx.Done()
		fmt.Println("ended")
		return nil
	}
	middleware = knative.New(serve.New(serve.DefineService(serve.Info{Name: "desk"}, func(struct{}, serve.Host) (serve.Service, error) {
		return working{&desk{reply: serve.Reply{Status: http.StatusNoContent}}, work}, nil
	})))
	if err := middleware.Start(context.Background()); err != nil {
		fmt.Println("error", err)
		return 3
	}
	return 0
}

// working is a desk with work of its own beside the requests.
type working struct {
	*desk
	work func(context.Context) error
}

func (w working) Run(ctx context.Context) error { return w.work(ctx) }

// under runs an instance, and gives what it says, line by line.
func under(t *testing.T, how string, environ ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program)
	command.Env = append([]string{asInstance + "=" + how, "LISTEN_ADDRESS=127.0.0.1:0"}, environ...)
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	return command, bufio.NewScanner(output)
}

// ended are the rest of what an instance says, and its status.
func ended(command *exec.Cmd, output *bufio.Scanner) (string, int) {
	var rest strings.Builder
	for output.Scan() {
		rest.WriteString(output.Text() + "\n")
	}
	_ = command.Wait() // The status counts.
	return rest.String(), command.ProcessState.ExitCode()
}

func TestKnativeStartsAndStops(t *testing.T) {
	command, output := under(t, "works")
	if !output.Scan() || !strings.HasPrefix(output.Text(), "listening ") {
		t.Fatalf("it says %q", output.Text())
	}
	url := "http://" + strings.TrimPrefix(output.Text(), "listening ")
	for _, page := range []string{"/health/readiness", "/health/liveness", "/healthz", "/readyz", "/metrics"} {
		if answer := send(t, get(t, url+page)); answer.status != http.StatusOK {
			t.Errorf("%s: answered %d %s", page, answer.status, answer.body)
		}
	}
	if answer := send(t, post(t, url+"/any", "application/json", []byte("{}"))); answer.status != http.StatusNoContent {
		t.Errorf("an event: answered %d %s", answer.status, answer.body)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if said, status := ended(command, output); said != "ended\n" || status != 0 {
		t.Errorf("it ends with %d and says %q", status, said)
	}
}

// An instance whose work has failed would accept what nobody sees to: it does not live on.
func TestInstancesThatCannotWork(t *testing.T) {
	for name, test := range map[string]struct {
		how, environ string
		status       int
		word         string
	}{
		"the work fails":        {"fails", "LOG_LEVEL=INFO", 1, ""},
		"a setting is wrong":    {"works", "LOG_LEVEL=LOUD", 3, "LOG_LEVEL"},
		"TLS that nobody gives": {"works", "TLS_CERT_FILE=/tls.crt", 3, "TLS_CERT_FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			command, output := under(t, test.how, test.environ)
			if said, status := ended(command, output); status != test.status || !strings.Contains(said, test.word) || strings.Contains(said, "listening") {
				t.Errorf("it ends with %d and says %q, want %d and a word of %q", status, said, test.status, test.word)
			}
		})
	}
}
