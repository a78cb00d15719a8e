// Command peer is the only program in the image of the end-to-end tests on a node. Its
// argument says what it is: "serve" is package peer, "pause" holds the namespaces of a
// pod for its containers, as the pause program of Kubernetes does.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/riposte-dev/riposte/test/e2e-node/peer"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: peer serve|pause")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	switch os.Args[1] {
	case "serve":
		return peer.Run(ctx, os.Stdout)
	case "pause":
		<-ctx.Done()
		return nil
	default:
		return fmt.Errorf("the argument is %q: want serve or pause", os.Args[1])
	}
}
