package function

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/riposte-dev/riposte/shared/config"
)

// patience is how long a test waits for what has to happen.
const patience = 30 * time.Second

// TestNATSServer is no test but the NATS server of the others, a real one in a process of its own, which can be killed.
// It does nothing where nobody asks for it.
func TestNATSServer(t *testing.T) {
	environ := config.Environ()
	if environ["TEST_NATS_STORE"] == "" {
		return
	}
	port, err := strconv.Atoi(environ["TEST_NATS_PORT"])
	if err != nil {
		t.Fatal(err)
	}
	options := &server.Options{
		Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: environ["TEST_NATS_STORE"], Authorization: environ["TEST_NATS_TOKEN"],
	}
	if file := environ["TEST_NATS_CERT"]; file != "" {
		pair, err := tls.LoadX509KeyPair(file, environ["TEST_NATS_KEY"])
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(environ["TEST_NATS_CA"])
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(text)
		options.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
		options.TLSVerify = true
	}
	if allowed := environ["TEST_NATS_ALLOW"]; allowed != "" { // What the user router may publish; others may do all.
		options.Users = []*server.User{
			{Username: "router", Password: "secret", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: strings.Split(allowed, ",")}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
			{Username: "admin", Password: "secret"},
		}
		options.NoAuthUser = "admin"
	}
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server is not ready")
	}
	address, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal(s.Addr())
	}
	fmt.Fprintln(os.Stdout, "listening", address.Port)
	go func() { // Without those who started it there is nobody to serve.
		_, _ = io.Copy(io.Discard, os.Stdin)
		s.Shutdown()
	}()
	s.WaitForShutdown()
}

// natsServer is a server that can be stopped and started again, with the same port and the same files.
type natsServer struct {
	store   string
	port    string
	environ []string
	command *exec.Cmd
}

// startNATS starts a server, with further variables of TestNATSServer.
func startNATS(t *testing.T, environ ...string) *natsServer {
	t.Helper()
	s := &natsServer{store: t.TempDir(), port: "-1", environ: environ}
	s.start(t)
	t.Cleanup(func() { s.stop(t, syscall.SIGKILL) })
	return s
}

func (s *natsServer) start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.command = exec.Command(self, "-test.run=^TestNATSServer$", "-test.count=1")
	s.command.Env = append([]string{"TEST_NATS_STORE=" + s.store, "TEST_NATS_PORT=" + s.port}, s.environ...)
	if _, err := s.command.StdinPipe(); err != nil { // It closes when we end.
		t.Fatal(err)
	}
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(stdout)
	var said []string
	for scanner.Scan() {
		if port, found := strings.CutPrefix(scanner.Text(), "listening "); found {
			s.port = port
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return
		}
		said = append(said, scanner.Text())
	}
	t.Fatalf("the server of NATS did not start: %q", said)
}

// stop ends the server and waits for its end.
func (s *natsServer) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if s.command.ProcessState != nil {
		return
	}
	if err := s.command.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = s.command.Wait() // How it ended is in its state.
}

func (s *natsServer) url() string { return "nats://127.0.0.1:" + s.port }

// client connects to the server, for as long as the test lasts.
func (s *natsServer) client(t *testing.T, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(s.url(), append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// eventually looks until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %s: %s", patience, what)
}
