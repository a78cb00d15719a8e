package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/riposte-dev/riposte/shared/config"
)

// hosting are the settings of a function that runs its own server.
type hosting struct {
	Port   int    `env:"PORT" envDefault:"8080" help:"TCP port to listen on, on all addresses."`
	Listen string `env:"LISTEN_ADDRESS" help:"HOST:PORT to listen on instead of PORT; port 0 picks a free one."`
	encryption
}

// Validate checks the port's range and the files of TLS.
func (h hosting) Validate() error {
	err := h.encryption.Validate()
	if h.Port < 0 || h.Port > 65535 {
		err = errors.Join(fmt.Errorf("PORT is %d: want 0 to 65535", h.Port), err)
	}
	return err
}

// gcPercent is how much the heap grows until it is collected, unless GOGC says so. A function holds some 4 MB: at twice Go's
// 100, collecting takes a seventh less of its CPU time for as much again of memory under load. GOMEMLIMIT bounds it.
// https://go.dev/doc/gc-guide#GOGC
const gcPercent = 200

// Main is the main of package program: on Lambda, where AWS_LAMBDA_RUNTIME_API is set, by startLambda, which takes a handler and does
// not return; else as an HTTP server until SIGTERM or SIGINT. It does not return.
func (f *Function) Main(startLambda func(handler any)) {
	f.arguments(os.Args[1:])
	environ := config.Environ()
	if environ["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
	onLambda := environ["AWS_LAMBDA_RUNTIME_API"] != ""
	f.ownServer = !onLambda
	var host hosting
	if err := errors.Join(f.Start(context.Background(), environ), config.Load(environ, &host)); err != nil {
		fatal(f.spec.Name, err)
	}
	if onLambda {
		startLambda(f.invoke)
	}
	if err := f.serve(host); err != nil {
		f.log.Error("server stopped", "error", err.Error())
		os.Exit(1)
	}
	os.Exit(0)
}

// arguments answers --help and --version; functions are configured by their environment alone.
func (f *Function) arguments(args []string) {
	if len(args) == 0 {
		return
	}
	var err error
	switch args[0] {
	case "--help", "-h":
		err = f.spec.help(os.Stdout)
	case "--help=markdown":
		err = f.spec.markdown(os.Stdout)
	case "--version":
		_, err = fmt.Fprintln(os.Stdout, f.spec.Name, Version())
	default:
		fatal(f.spec.Name, fmt.Errorf("argument is %q: want --help, --version or none; settings are environment variables", args[0]))
	}
	if err != nil {
		fatal(f.spec.Name, err)
	}
	os.Exit(0)
}

// serve listens until a signal, then finishes the requests it has accepted.
func (f *Function) serve(host hosting) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	address := host.Listen
	if address == "" {
		address = net.JoinHostPort("", strconv.Itoa(host.Port))
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", address, err)
	}
	grace := f.app.patience() + 5*time.Second
	server := &http.Server{
		Handler: http.HandlerFunc(f.Handle), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: 15*time.Second + grace,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- f.listen(server, listener, host.encryption) }()
	f.log.Info("listening", append([]any{
		"address", listener.Addr().String(), "tls", host.about(), "response", f.name, "version", Version(),
	}, f.app.about()...)...)
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// The signal ended ctx; the requests in flight get the time they were promised.
	finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	f.stop()
	if err := errors.Join(server.Shutdown(finish), f.Stop(finish)); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	f.log.Info("stopped")
	return nil
}

// listen serves by TLS where there are files for it.
func (f *Function) listen(server *http.Server, listener net.Listener, files encryption) error {
	if files.Certificate == "" {
		return server.Serve(listener)
	}
	current := &rotation{files: files, log: f.log}
	if files.ClientCA != "" {
		f.callers = current
	}
	server.TLSConfig = &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetConfigForClient: current.forClient,
	}
	return server.ServeTLS(listener, "", "")
}
