//go:build prove

package prove

import (
	"context"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/riposte-dev/riposte/shared/testkit"
	"github.com/riposte-dev/riposte/test/process"
)

// overNATS publishes a crowd to a stream, from which the router takes it, while the server of NATS is killed and
// started again on the same files.
func overNATS(p proof) {
	bodies, ids, l := crowdOf(p, crowd)
	webhook := httptest.NewServer(l)
	defer webhook.Close()
	slack := newVictim(p.T, "slack", slackSettings(webhook.URL)...)
	server := newNATS(p)
	dead, manifests := folder(p, "dead"), folder(p, "triggers")
	writeCrowdTrigger(p, manifests)
	newVictim(p.T, "router", "AUTH=off", "TRIGGERS="+manifests, "FUNCTION_URL=http://"+slack.address+"/{function}",
		"DEAD_LETTER_URL=file://"+dead, "NATS_URL="+server.url, "NATS_STREAM=falco")

	connection, err := nats.Connect(server.url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		p.Fatal(err)
	}
	defer connection.Close()
	stream, err := jetstream.New(connection)
	if err != nil {
		p.Fatal(err)
	}
	testkit.Eventually(p.T, "the router creates its stream", func(ctx context.Context) error {
		_, err := stream.Stream(ctx, "falco")
		return err
	})
	accepted, restarts := 0, 0
	for i, body := range bodies {
		if i == crowd/3 || i == 2*crowd/3 {
			server.restart(p, i == crowd/3)
			restarts++
		}
		// A publisher that got no acknowledgement publishes again, by the same id, which the stream knows.
		testkit.Eventually(p.T, "the stream accepts an alert", func(ctx context.Context) error {
			once, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			_, err := stream.Publish(once, "falco.critical.drop_and_execute_new_binary_in_container", body, jetstream.WithMsgID(fmt.Sprint(i)))
			return err
		})
		accepted++
	}
	settle(p, l, ids, dead, accepted)
	acted, repeats := l.count(ids)
	ended := deadLetters(p, dead)
	p.row("NATS JetStream: accepted = acted on + dead-lettered, while the server is killed and started again",
		fmt.Sprintf("%d = %d + %d (%d restarts; %d acted on again)", accepted, acted, len(ended), restarts, repeats),
		fmt.Sprintf("%d, all accepted, none twice", crowd), accepted == crowd && acted+len(ended) == accepted && repeats == 0)
}

// natsServer is a real server of NATS in a process of its own: the one that the router's tests run.
type natsServer struct {
	url, port, store string
	command          *exec.Cmd
}

func newNATS(p proof) *natsServer {
	s := &natsServer{store: p.TempDir(), port: strings.Split(freeAddress(p.T), ":")[1]}
	s.url = "nats://127.0.0.1:" + s.port
	s.start(p)
	p.Cleanup(func() {
		_ = s.command.Process.Kill()
		_ = s.command.Wait()
	})
	return s
}

func (s *natsServer) start(p proof) {
	s.command = exec.Command(filepath.Join(testkit.Root(p), "dist", "bin", "router.test"), "-test.run=^TestNATSServer$")
	s.command.Env = []string{"TEST_NATS_STORE=" + s.store, "TEST_NATS_PORT=" + s.port}
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	input, err := s.command.StdinPipe() // The server ends when it is closed.
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() { _ = input.Close() })
	if err := s.command.Start(); err != nil {
		p.Fatalf("start nats: %v", err)
	}
}

// restart ends the server, by SIGTERM or at once, and starts it again.
func (s *natsServer) restart(p proof, gently bool) {
	if gently {
		_ = s.command.Process.Signal(syscall.SIGTERM)
	} else {
		_ = s.command.Process.Kill()
	}
	_ = s.command.Wait() // Killed, which is the point.
	s.start(p)
}

// folder makes a folder of that name.
func folder(p proof, name string) string {
	dir := filepath.Join(p.TempDir(), name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.Fatal(err)
	}
	return dir
}

func writeCrowdTrigger(p proof, dir string) {
	if err := os.WriteFile(filepath.Join(dir, "everything.yaml"), []byte(crowdTrigger), 0o600); err != nil {
		p.Fatal(err)
	}
}

// answers sends what a router refuses, and looks at what it says.
func answers(p proof) {
	manifests := folder(p, "triggers")
	writeCrowdTrigger(p, manifests)
	router := newVictim(p.T, "router", "AUTH_TOKEN=secret", "TRIGGERS="+manifests, "DEAD_LETTER_URL=file://"+folder(p, "dead"))
	alert := string(testkit.Find(p, "03").Alert)
	var figures []string
	good := true
	for _, test := range []struct {
		name, token, body string
		status            int
	}{
		{"wrong token", "wrong", alert, 401},
		{"no token", "", alert, 401},
		{"2 MiB", "secret", strings.Repeat("x", 2<<20), 413},
		{"malformed", "secret", `{"rule": `, 400},
	} {
		status, body := process.Try(p, "http://"+router.address+"/", test.token, test.body)
		line := strings.HasSuffix(body, "\n") && strings.Count(body, "\n") == 1 && len(body) > 1 &&
			strings.IndexFunc(body[:len(body)-1], func(r rune) bool { return r < ' ' || r > '~' }) < 0
		figures = append(figures, fmt.Sprintf("%s %d", test.name, status))
		good = good && status == test.status && line
	}
	p.row("what the router refuses is answered with one line of ASCII", strings.Join(figures, ", "), "401, 401, 413, 400", good)
}

// scale compares what an event costs with few Triggers and with many, and the router with a plain reverse proxy, by the
// benchmarks of the router, in one run.
func scale(p proof) {
	command := exec.Command(filepath.Join(testkit.Root(p), "dist", "bin", "router.test"), "-test.run=^$",
		"-test.bench=^(BenchmarkTake|BenchmarkThroughput)$", "-test.benchtime=2s", "-test.count=3")
	command.Dir = filepath.Join(testkit.Root(p), "functions", "router")
	command.Stderr = io.Discard // The router's log.
	output, err := command.Output()
	if err != nil {
		p.Fatalf("benchmarks of the router: %v\n%s", err, output)
	}
	few, many := process.Best(p, string(output), "BenchmarkTake/wanted/10-triggers", "ns/op"), process.Best(p, string(output), "BenchmarkTake/wanted/1000-triggers", "ns/op")
	p.row("an event costs hardly more with 1,000 Triggers than with 10", fmt.Sprintf("%.0f ns against %.0f ns: %.2f times", many, few, many/few), "1.5 times", many <= 1.5*few)
	router, proxy := process.Best(p, string(output), "BenchmarkThroughput/router", "ns/op"), process.Best(p, string(output), "BenchmarkThroughput/reverse-proxy", "ns/op")
	p.row("throughput on one core, with the client and the function on the same core, against a plain reverse proxy",
		fmt.Sprintf("%.0f against %.0f events/s: %.2f of it", 1e9/router, 1e9/proxy, proxy/router), "0.25 of it", proxy >= 0.25*router)
}
