// Command knative runs Knative Eventing against an API server: the reconcilers and the
// data plane of the Broker that is made of in-memory channels, and the admission
// webhooks, all of Knative's own code and of the version that go.mod names. It first
// installs what belongs to it, from the manifests of the same module.
//
//	knative --kubeconfig PATH [--network HOST:PORT] [--traces URL] [--until-stdin-closes]
//
// When Brokers can be made, exactly one line appears on standard output,
// INGRESS=http://127.0.0.1:PORT, below which each Broker is at /NAMESPACE/NAME. Logs go
// to standard error. Every server listens on loopback, on a port of its own.
//
// There are no pods and there is no cluster network. The names of Knative's own Services
// lead to this process; all others lead to one address, the value of --network, where
// somebody has to tell them apart by their Host header. The Deployments of the data plane
// exist for what depends on them: Knative looks whether they have endpoints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
)

type settings struct {
	kubeconfig       string
	network          string
	traces           string
	untilStdinCloses bool
}

func main() {
	var s settings
	flag.StringVar(&s.kubeconfig, "kubeconfig", "", "`path` of a kubeconfig with the rights of cluster-admin")
	flag.StringVar(&s.network, "network", "", "`address` that every name leads to which is not Knative's own; without it they lead nowhere")
	flag.StringVar(&s.traces, "traces", "", "`URL` of a collector that takes OTLP; traces that others have begun are recorded")
	flag.BoolVar(&s.untilStdinCloses, "until-stdin-closes", false, "end when standard input does, so as not to outlive the parent")
	flag.Parse()
	if s.kubeconfig == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "knative: want --kubeconfig and no arguments")
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	if s.untilStdinCloses {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	err := run(ctx, s)
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "knative:", err)
		os.Exit(1)
	}
	// Knative's own servers drain for most of a minute here; nothing is worth waiting for.
	os.Exit(0)
}

// run installs and runs Knative until ctx ends.
func run(ctx context.Context, s settings) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1 // No limit: the API server is all ours.
	if err := observe(ctx, s.traces); err != nil {
		return err
	}
	listeners, err := listen(ctx)
	if err != nil {
		return err
	}
	if err := resolve(listeners, s.network); err != nil {
		return err
	}
	cluster, err := connect(config)
	if err != nil {
		return err
	}
	if err := cluster.install(ctx, listeners.port(webhookServer)); err != nil {
		return fmt.Errorf("install Knative: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, config, listeners) }()
	ready := make(chan error, 1)
	go func() { ready <- cluster.awaitWebhooks(ctx) }()
	for {
		select {
		case err := <-ended:
			return errors.Join(err, ctx.Err())
		case err := <-ready:
			if err != nil {
				return err
			}
			fmt.Printf("INGRESS=http://%s\n", listeners[ingressServer].Addr())
			ready = nil
		}
	}
}
