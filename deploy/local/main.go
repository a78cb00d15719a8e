// Command local runs all of Riposte on this machine: a real Kubernetes control plane
// with kwok playing the kubelets, a small workload to attack, Knative's Broker in
// process, every function as a process with its own ServiceAccount, and a page that
// shows what happens and sends real captured alerts.
//
//	make run                       the page
//	make run ARGS=--once           one alert, its outcome and the clean pod, as a table
//	KUBECONFIG=... make run        the same on your own cluster, in dry run
//
// It needs Go and nothing else, listens on loopback only, and leaves nothing running.
// The first run builds the control plane and the functions, which takes minutes; later
// ones start in seconds. Slack and AWS are played by stand-ins.
//
// With KUBECONFIG set it uses that cluster with your credentials. Every function then
// has DRY_RUN=true: the API server is asked with dryRun=All and changes nothing.
// Nothing is created there.
//
// Logs are in dist/local.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/test/cluster"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// A second signal ends the program at once; its children then die with it.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type flags struct {
	once   bool
	target string
	port   int
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var f flags
	set := flag.NewFlagSet("local", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.BoolVar(&f.once, "once", false, "send the captured Critical alert, wait for the outcome and the replacement pod, print the timeline and exit")
	set.StringVar(&f.target, "target", "", "NAMESPACE/POD that --once aims at (default: a pod of the Deployment shop/cart-api)")
	set.IntVar(&f.port, "port", 0, "port of the page on 127.0.0.1 (default: a free one)")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if problem := f.check(set.Args()); problem != "" {
		_, _ = fmt.Fprintln(stderr, "local:", problem)
		return 2
	}
	err := start(ctx, f, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil && !f.once:
		_, _ = fmt.Fprintln(stderr, "stopped")
		return 0
	}
	_, _ = fmt.Fprintln(stderr, "local:", err)
	return 1
}

func (f flags) check(rest []string) string {
	switch {
	case len(rest) > 0:
		return fmt.Sprintf("argument %q is not understood; see --help", rest[0])
	case f.target != "" && !f.once:
		return "--target goes with --once only"
	case f.port < 0 || f.port > 65535:
		return fmt.Sprintf("--port is %d; it must be between 0 and 65535", f.port)
	}
	return ""
}

func start(ctx context.Context, f flags, stdout, stderr io.Writer) error {
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the folder: %w", err)
	}
	root, err := cluster.Root(dir)
	if err != nil {
		return err
	}
	network := broker.NewNetwork()
	http.DefaultTransport = network.Transport() // Knative's dispatcher takes no other; see Network.
	c := config{
		root: root, network: network, client: &http.Client{Transport: network.Transport(), Timeout: time.Minute},
		kubeconfig: os.Getenv("KUBECONFIG"), environ: os.Environ(),
		out: &progress{w: stderr, start: time.Now()},
	}
	if c.kubeconfig != "" {
		c.out.step("KUBECONFIG is set: using YOUR cluster with YOUR credentials, dry run on; nothing is changed or created there")
	}
	if f.once {
		return once(ctx, c, f.target, stdout)
	}
	return serve(ctx, c, f.port, stdout)
}
