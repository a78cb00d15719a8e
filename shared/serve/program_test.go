package serve_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// patience is how long a test waits for a process.
const patience = 30 * time.Second

// built is where the program under test is; it is built by the first test that needs it.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	if how := config.Environ()[asInstance]; how != "" {
		os.Exit(instance(how))
	}
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// program is the binary of a real function, slack, as make build makes it.
func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		built.dir, built.err = os.MkdirTemp("", "riposte-serve-") //nolint:usetesting // It outlives the test that happens to build it.
		if built.err != nil {
			return
		}
		arguments := []string{"build", "-tags", "lambda.norpc", "-o", filepath.Join(built.dir, "slack")}
		if config.Environ()["GOCOVERDIR"] != "" { // Somebody wants to know what of the program the tests reach.
			arguments = append(arguments, "-cover", "-coverpkg=./shared/...,./functions/slack/...")
		}
		build := exec.Command("go", append(arguments, "./functions/slack/cmd")...)
		build.Dir = testkit.Root(t)
		if output, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w\n%s", err, output)
		}
	})
	if built.err != nil {
		t.Fatalf("build the program: %v", built.err)
	}
	return filepath.Join(built.dir, "slack")
}

// coverage lets a process say what of it was reached, where that is wanted.
func coverage() []string {
	if dir := config.Environ()["GOCOVERDIR"]; dir != "" {
		return []string{"GOCOVERDIR=" + dir}
	}
	return nil
}

// slackStandIn is an incoming webhook of Slack that keeps what is posted to it.
type slackStandIn struct {
	url string
	// arrived gets a value for each post; the answer waits for gate, where there is one.
	arrived chan struct{}
	gate    chan struct{}

	mu    sync.Mutex
	posts []string
}

func startSlack(t *testing.T, gate chan struct{}) *slackStandIn {
	t.Helper()
	s := &slackStandIn{arrived: make(chan struct{}, 1000), gate: gate}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.posts = append(s.posts, string(body))
		s.mu.Unlock()
		s.arrived <- struct{}{}
		if s.gate != nil {
			<-s.gate
		}
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	s.url = server.URL + "/services/T0/B0/secret"
	return s
}

// taken are the posts since the last time it was asked.
func (s *slackStandIn) taken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	posts := s.posts
	s.posts = nil
	return posts
}

// process is a running program that writes a JSON line for each thing that happens.
type process struct {
	*exec.Cmd
	lines  chan map[string]any
	exited chan struct{}
}

func run(t *testing.T, environ ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), program(t)), lines: make(chan map[string]any, 1000), exited: make(chan struct{})}
	p.Env = append(environ, coverage()...)
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.exited)
		scanner := bufio.NewScanner(stderr)
		scanner.Buffer(nil, 1<<20)
		for scanner.Scan() {
			line := map[string]any{}
			if json.Unmarshal(scanner.Bytes(), &line) != nil {
				line["text"] = scanner.Text()
			}
			p.lines <- line
		}
		close(p.lines)
		_ = p.Wait() // how it ended is in its state
	}()
	t.Cleanup(func() { <-p.exited }) // the test's context has ended it
	return p
}

// await reads lines up to one with this message.
func (p *process) await(t *testing.T, message string) map[string]any {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var before []map[string]any
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("the process ended without %q: %v", message, before)
			}
			if line["msg"] == message {
				return line
			}
			before = append(before, line)
		case <-timer.C:
			t.Fatalf("no %q within %s: %v", message, patience, before)
		}
	}
}

// status waits for the process to end.
func (p *process) status(t *testing.T) int {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
		t.Fatalf("the process did not end within %s", patience)
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestProgramFinishesWhatItAccepted(t *testing.T) {
	for name, signal := range map[string]os.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": os.Interrupt} {
		t.Run(name, func(t *testing.T) {
			slack := startSlack(t, make(chan struct{}))
			release := sync.OnceFunc(func() { close(slack.gate) })
			defer release()
			p := run(t, "LISTEN_ADDRESS=127.0.0.1:0", "MAX_ALERT_AGE=0", "SLACK_WEBHOOK_URL="+slack.url)
			address, _ := p.await(t, "listening")["address"].(string)

			answers := make(chan reply, 1)
			request := testkit.Find(t, "01").CloudEvent(t, "http://"+address)
			go func() {
				resp, err := (&http.Client{}).Do(request)
				if err != nil {
					t.Error(err)
					close(answers)
					return
				}
				defer resp.Body.Close()
				body, _ := io.ReadAll(resp.Body)
				answers <- reply{resp.StatusCode, resp.Header, body}
			}()
			select {
			case <-slack.arrived:
			case <-time.After(patience):
				t.Fatal("the alert did not reach Slack")
			}
			p.signal(t, signal)
			refusesConnections(t, address)
			select {
			case a := <-answers:
				t.Fatalf("answered %d before the response was complete: %s", a.status, a.body)
			case <-p.exited:
				t.Fatal("ended with a request in flight")
			default:
			}
			release()
			select {
			case a, ok := <-answers:
				if !ok {
					t.Fatal("not answered")
				}
				if _, record := outcome(t, a); record.Outcome != "applied" {
					t.Errorf("outcome is %s", record.Outcome)
				}
			case <-time.After(patience):
				t.Fatal("not answered")
			}
			p.await(t, "stopped")
			if status := p.status(t); status != 0 {
				t.Errorf("exit status is %d, want 0", status)
			}
		})
	}
}

// A request that has begun to arrive when the signal comes is read to its end and answered.
func TestProgramFinishesWhatItReads(t *testing.T) {
	slack := startSlack(t, nil)
	p := run(t, "LISTEN_ADDRESS=127.0.0.1:0", "MAX_ALERT_AGE=0", "SLACK_WEBHOOK_URL="+slack.url)
	address, _ := p.await(t, "listening")["address"].(string)
	alert := testkit.Find(t, "01").Alert
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(alert)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(connection)
	if resp, err := http.ReadResponse(reader, nil); err != nil || resp.StatusCode != http.StatusContinue { // it is being read
		t.Fatalf("%v, %v", resp, err)
	}
	p.signal(t, syscall.SIGTERM)
	refusesConnections(t, address)
	if _, err := connection.Write(alert); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if _, record := outcome(t, reply{resp.StatusCode, resp.Header, body}); record.Outcome != "applied" || len(slack.taken()) != 1 {
		t.Errorf("outcome is %s", record.Outcome)
	}
	if status := p.status(t); status != 0 {
		t.Errorf("exit status is %d, want 0", status)
	}
}

// refusesConnections waits until nobody listens on the address any more.
func refusesConnections(t *testing.T, address string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return
		}
		_ = c.Close()
	}
	t.Fatal("still accepts connections after the signal")
}

func TestProgramServes(t *testing.T) {
	slack := startSlack(t, nil)
	p := run(t, "LISTEN_ADDRESS=127.0.0.1:0", "MAX_ALERT_AGE=0", "DRY_RUN=true", "SLACK_WEBHOOK_URL="+slack.url)
	line := p.await(t, "listening")
	address, _ := line["address"].(string)
	if line["response"] != "slack" || line["dry_run"] != true || line["version"] == "" {
		t.Errorf("it says of itself: %v", line)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer := send(t, request); answer.status != http.StatusOK {
			t.Errorf("GET %s: status is %d", path, answer.status)
		}
	}
	_, record := outcome(t, send(t, testkit.Find(t, "01").Webhook(t, "http://"+address)))
	if record.Outcome != "dryrun" || !record.DryRun || len(slack.taken()) > 0 {
		t.Errorf("outcome is %s", record.Outcome)
	}
	logged := p.await(t, "response")
	for key, want := range map[string]any{
		"level": "INFO", "response": "slack", "rule": "Terminal shell in container", "priority": "Notice", "outcome": "dryrun", "dry_run": true,
		"alert_id": record.AlertID,
	} {
		if logged[key] != want {
			t.Errorf("the log has %s %v, want %v", key, logged[key], want)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if status := p.status(t); status != 0 {
		t.Errorf("exit status is %d, want 0", status)
	}
}

// A program that cannot work says everything that is wrong, and never listens.
func TestProgramRefusesBadSettings(t *testing.T) {
	cases := map[string]struct {
		environ []string
		names   []string
	}{
		"several": {
			[]string{"LISTEN_ADDRESS=127.0.0.1:0", "MIN_PRIORITY=High", "MAX_ALERT_AGE=ten", "WHEN=1", "DRYRUN=true", "PORT=99999", "LOG_LEVEL=LOUD", "AUTH_TOKEN=a", "AUTH_TOKEN_FILE=/a"},
			[]string{"MIN_PRIORITY", "MAX_ALERT_AGE", "WHEN", "DRYRUN", "PORT", "LOG_LEVEL", "AUTH_TOKEN", "SLACK_WEBHOOK_URL"},
		},
		"no way to post":     {[]string{"LISTEN_ADDRESS=127.0.0.1:0"}, []string{"SLACK_WEBHOOK_URL"}},
		"a misspelt address": {[]string{"LISTENADDRESS=127.0.0.1:0", "SLACK_WEBHOOK_URL=http://127.0.0.1:1/services/x"}, []string{"LISTENADDRESS"}},
	}
	for name, c := range cases {
		for _, host := range []string{"server", "Lambda"} {
			t.Run(name+" on "+host, func(t *testing.T) {
				environ := c.environ
				if host == "Lambda" {
					environ = append(slices.Clone(environ), "AWS_LAMBDA_RUNTIME_API=127.0.0.1:1")
				}
				p := run(t, environ...)
				if status := p.status(t); status != 2 {
					t.Errorf("exit status is %d, want 2", status)
				}
				var text []string
				for line := range p.lines {
					if line["msg"] == "listening" {
						t.Error("listened all the same")
					}
					text = append(text, fmt.Sprint(line["text"]))
				}
				for _, name := range c.names {
					if !slices.ContainsFunc(text, func(line string) bool { return strings.HasPrefix(line, "slack: ") && strings.Contains(line, name) }) {
						t.Errorf("no line about %s: %q", name, text)
					}
				}
			})
		}
	}
}

func TestProgramWithATakenAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := run(t, "LISTEN_ADDRESS="+taken.Addr().String(), "SLACK_WEBHOOK_URL=http://127.0.0.1:1/services/x")
	p.await(t, "server stopped")
	if status := p.status(t); status != 1 {
		t.Errorf("exit status is %d, want 1", status)
	}
}

func TestProgramArguments(t *testing.T) {
	cases := map[string]struct {
		arguments []string
		status    int
		words     []string
	}{
		"help": {
			[]string{"--help"},
			0,
			[]string{"slack: ", "SLACK_WEBHOOK_URL", "MIN_PRIORITY", "Debug", "DRY_RUN", "WHEN", "AUTH_TOKEN", "PORT", "8080", "DEBUG | INFO | WARN | ERROR", "Permissions", "none"},
		},
		"short help": {[]string{"-h"}, 0, []string{"SLACK_WEBHOOK_URL"}},
		"markdown":   {[]string{"--help=markdown"}, 0, []string{"| `SLACK_WEBHOOK_URL` |", `DEBUG \| INFO`, "| `10m` |", "leases"}},
		"version":    {[]string{"--version"}, 0, []string{"slack "}},
		"a flag":     {[]string{"--dry-run"}, 2, []string{"--dry-run", "--help"}},
		"a word":     {[]string{"serve"}, 2, []string{"serve", "--help"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			// Settings that would not do: these answers need none.
			command := exec.CommandContext(t.Context(), program(t), c.arguments...)
			command.Env = append([]string{"MIN_PRIORITY=High"}, coverage()...)
			var stdout, stderr strings.Builder
			command.Stdout, command.Stderr = &stdout, &stderr
			_ = command.Run() // the status counts
			text, silent := stdout.String(), stderr.String()
			if c.status != 0 {
				text, silent = silent, text
			}
			if status := command.ProcessState.ExitCode(); status != c.status || silent != "" {
				t.Errorf("exit status is %d, want %d; on the wrong output: %q", status, c.status, silent)
			}
			for _, word := range c.words {
				if !strings.Contains(text, word) {
					t.Errorf("no %q in:\n%s", word, text)
				}
			}
		})
	}
}
