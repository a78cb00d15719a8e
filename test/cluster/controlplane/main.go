// Command controlplane is a whole Kubernetes control plane in one binary. Its
// first argument chooses the component, the rest are that component's own flags:
//
//	controlplane etcd | kube-apiserver | kube-controller-manager |
//	             kube-scheduler | kubectl | kwok | stages
//
// Everything comes from the components' Go modules, so a machine that can build
// Go can run a real API server: no download of binaries, no container engine, no
// root. There is no kubelet: kwok plays the nodes and their pods.
//
// It is a module of its own, outside the workspace, because k8s.io/kubernetes
// needs a replace directive for every staging module, and in a workspace those
// would bind the product's modules too.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // Adds --logging-format=json.
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // Adds the client metrics.
	_ "k8s.io/component-base/metrics/prometheus/version"  // Adds the version metric.
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	nodefast "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	nodelease "sigs.k8s.io/kwok/kustomize/stage/node/heartbeat-with-lease"
	podfast "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"
)

const usage = "usage: controlplane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl|kwok|stages [flags]"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	// Every component reads os.Args, so each must see itself as argument zero.
	os.Args = os.Args[1:]
	os.Exit(run(os.Args[0]))
}

func run(component string) int {
	switch component {
	case "etcd":
		etcdmain.Main(os.Args)
		return 0
	case "kube-apiserver":
		return cli.Run(apiserver.NewAPIServerCommand())
	case "kube-controller-manager":
		return cli.Run(controllermanager.NewControllerManagerCommand())
	case "kube-scheduler":
		return cli.Run(scheduler.NewSchedulerCommand())
	case "kubectl":
		return runKubectl(kubectl.NewDefaultKubectlCommand())
	case "kwok":
		return report(runKwok())
	case "stages":
		return report(printStages(os.Stdout))
	default:
		fmt.Fprintf(os.Stderr, "controlplane: unknown component %q\n%s\n", component, usage)
		return 2
	}
}

// report prints the error of a component that has no reporting of its own.
func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// runKubectl ends the process on an error, with kubectl's own messages and
// statuses: "kubectl diff" and others tell scripts something by them.
func runKubectl(command *cobra.Command) int {
	if err := cli.RunNoErrOutput(command); err != nil {
		kubectlutil.CheckErr(err)
	}
	return 0
}

func runKwok() error {
	// The other components put their flags on the global set when their packages
	// load, and some have the names of kwok's own.
	pflag.CommandLine = pflag.NewFlagSet(os.Args[0], pflag.ExitOnError)

	// kwok reads its configuration files before it builds its command, from a set
	// of flags that lets all others pass.
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx := signals.SetupSignalContext()
	ctx, _ = kwoklog.InitFlags(ctx, flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		return fmt.Errorf("read the kwok configuration: %w", err)
	}
	command := kwok.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(flags)
	return command.ExecuteContext(ctx)
}

// printStages writes the stages that kwok ships for the life of a node and for
// the end of a pod. What happens to a pod in between is the caller's to write:
// kwok's own stages leave out the container ids.
func printStages(w io.Writer) error {
	stages := []string{nodefast.DefaultNodeInit, nodelease.DefaultNodeHeartbeatWithLease, podfast.DefaultPodDelete}
	_, err := io.WriteString(w, strings.Join(stages, "\n---\n"))
	return err
}
