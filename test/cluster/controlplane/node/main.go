// Command node is what runs on a node of a cluster beside its container runtime: kubelet
// and kube-proxy in one binary. Its first argument chooses the component, the rest are
// that component's own flags:
//
//	node kubelet | kube-proxy
//
// It belongs to the control plane's module, so that both are of one version and share
// what was compiled for the other. It is a binary of its own because only test/e2e-node
// has nodes with real containers.
package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // Adds --logging-format=json.
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // Adds the client metrics.
	_ "k8s.io/component-base/metrics/prometheus/version"  // Adds the version metric.
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const usage = "usage: node kubelet|kube-proxy [flags]"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	// Each component reads os.Args, so it must see itself as argument zero.
	os.Args = os.Args[1:]
	os.Exit(run(os.Args[0]))
}

func run(component string) int {
	switch component {
	case "kubelet":
		return cli.Run(kubelet.NewKubeletCommand(context.Background()))
	case "kube-proxy":
		return cli.Run(proxy.NewProxyCommand())
	default:
		fmt.Fprintf(os.Stderr, "node: unknown component %q\n%s\n", component, usage)
		return 2
	}
}
