// Command cluster runs the test cluster of package cluster for people and for other
// programs. See the package's documentation for the contract of each subcommand.
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

	"github.com/riposte-dev/riposte/test/cluster"
)

const usage = `A real Kubernetes control plane on this machine, with simulated nodes.

Usage:

  cluster up [flags]               start it, and keep it until Ctrl-C
  cluster run [flags] -- CMD ARGS  start it, run CMD with RIPOSTE_TEST_KUBECONFIG
                                   set, stop it, exit with the status of CMD
  cluster kubectl ARGS             the kubectl that belongs to it
  cluster build                    only build it; the others do so when needed

"cluster COMMAND --help" tells the flags. Exit status: 0, or 1 when something
failed, or 2 for bad usage.
`

// errUsage is a fault of the command line, already reported.
var errUsage = errors.New("bad usage")

func main() {
	os.Exit(status(dispatch(os.Args[1:])))
}

// exitStatus is the error of a command that has run and has a status to pass on.
type exitStatus int

// Error tells the status.
func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func status(err error) int {
	var exit exitStatus
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	case errors.As(err, &exit):
		return int(exit)
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
}

func dispatch(args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errUsage
	}
	// A parent that died closes the reading ends of our pipes. Without this a line of
	// progress would kill the process before it has stopped the cluster.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	switch args[0] {
	case "up":
		return up(args[1:])
	case "run":
		return run(args[1:])
	case "kubectl":
		return kubectl(args[1:])
	case "build":
		return build(args[1:])
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return nil
	default:
		return badUsage("unknown command %q; it must be up, run, kubectl or build", args[0])
	}
}

func badUsage(format string, args ...any) error {
	fmt.Fprintf(os.Stderr, "cluster: "+format+"\n", args...)
	return errUsage
}

// settings are the flags that the subcommands share.
type settings struct {
	root    string
	options cluster.Options
}

// newFlags returns the flag set of a subcommand, with its help.
func newFlags(synopsis, about string) *flag.FlagSet {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.Usage = func() {
		_, _ = fmt.Fprintf(flags.Output(), "Usage: cluster %s\n\n%s\n\nFlags:\n", synopsis, about)
		flags.PrintDefaults()
	}
	return flags
}

func (s *settings) addRoot(flags *flag.FlagSet) {
	flags.StringVar(&s.root, "root", "", "the `folder` of the checkout (default: found from the current folder upwards)")
}

func (s *settings) add(flags *flag.FlagSet) {
	s.addRoot(flags)
	flags.IntVar(&s.options.Nodes, "nodes", 3, "the `number` of worker nodes, 1 to 200")
	flags.BoolVar(&s.options.ControlPlaneNode, "control-plane-node", false, "add a node with the control-plane label and taint")
	flags.StringVar(&s.options.Dir, "dir", "", "an empty or new `folder` for data and logs, which stays (default: a temporary one)")
}

// parse reads the arguments; operands tells whether any may follow the flags.
func (s *settings) parse(flags *flag.FlagSet, args []string, operands bool) error {
	// Help that was asked for is a result, not a complaint.
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			flags.SetOutput(os.Stdout)
			flags.Usage()
			return err
		}
		return badUsage("%v", err)
	}
	if !operands && flags.NArg() > 0 {
		return badUsage("unexpected argument %q", flags.Arg(0))
	}
	if flags.Lookup("nodes") != nil && (s.options.Nodes < 1 || s.options.Nodes > cluster.MaxNodes) {
		return badUsage("flag --nodes is %d; it must be between 1 and %d", s.options.Nodes, cluster.MaxNodes)
	}
	if s.root == "" {
		root, err := cluster.Root(".")
		if err != nil {
			return badUsage("%v; name the checkout with --root", err)
		}
		s.root = root
		return nil
	}
	root, err := cluster.Root(s.root)
	if err != nil {
		return badUsage("flag --root is %q: %v", s.root, err)
	}
	s.root = root
	return nil
}

func build(args []string) error {
	var s settings
	flags := newFlags("build [flags]", "Builds the control plane where that is needed, and prints the path of the binary.")
	s.addRoot(flags)
	if err := s.parse(flags, args, false); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	binary, err := cluster.Build(ctx, s.root, os.Stderr)
	if err != nil {
		return err
	}
	_, err = fmt.Println(binary)
	return err
}

// kubectl becomes the kubectl of the control plane: its flags are its own.
func kubectl(args []string) error {
	root, err := cluster.Root(".")
	if err != nil {
		return badUsage("%v", err)
	}
	binary, err := cluster.Build(context.Background(), root, os.Stderr)
	if err != nil {
		return err
	}
	signal.Reset()
	argv := append([]string{binary, "kubectl"}, args...)
	return fmt.Errorf("run kubectl: %w", syscall.Exec(binary, argv, os.Environ())) //nolint:gosec // G702: the user's own kubectl command.
}
