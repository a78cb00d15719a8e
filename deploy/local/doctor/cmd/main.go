// Command doctor sends one marked alert through the whole path and reports each hop with times.
//
//	doctor -as falcosidekick -to http://falcosidekick.falco:2801 -advertise http://192.0.2.7:9000
//	doctor -as broker -to http://broker-ingress.knative-eventing.svc.cluster.local/riposte/default
//	doctor -as router -to http://router.riposte.svc.cluster.local
//
// With Falcosidekick and a Broker it needs the cluster (KUBECONFIG, or the pod's ServiceAccount), and an address at
// which the Broker reaches it: -advertise, or POD_IP in a pod. The router needs neither, but its token in AUTH_TOKEN or
// AUTH_TOKEN_FILE.
//
// It exits 0 if the way is whole, 1 if a hop failed, 2 if it was not told what it needs to know.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/doctor"
	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	// The first signal ends the wait and the doctor cleans up; a second one ends it at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], config.Environ(), os.Stdout, os.Stderr))
}

// settings are what does not belong on a command line.
type settings struct {
	Kubeconfig string        `env:"KUBECONFIG" help:"Path of a kubeconfig; unset means the ServiceAccount of the pod."`
	PodIP      string        `env:"POD_IP" help:"Address of the pod the doctor runs in."`
	Token      config.Secret `env:"AUTH_TOKEN" help:"Bearer token of the router."`
}

type flags struct {
	to, as                               string
	namespace, broker, function, trigger string
	advertise, listen, priority          string
	timeout, ready                       time.Duration
	watch, acceptQueued                  bool
	target, reachable                    *url.URL
	least                                falco.Priority
}

func run(ctx context.Context, args []string, environ map[string]string, stdout, stderr io.Writer) int {
	var s settings
	var f flags
	set := f.set(stderr)
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil { // The flag set has said it.
		return 2
	}
	err := errors.Join(config.Load(environ, &s), f.check(set.Args(), s))
	var options doctor.Options
	if err == nil {
		options, err = f.options(ctx, s)
	}
	if err != nil {
		say(stderr, err)
		return 2
	}
	report, err := doctor.Run(ctx, options)
	err = errors.Join(err, report.Write(stdout))
	if err != nil {
		say(stderr, err)
	}
	if err != nil || report.Failed() != nil {
		return 1
	}
	return 0
}

func say(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		_, _ = fmt.Fprintln(w, "doctor:", line)
	}
}

func (f *flags) set(stderr io.Writer) *flag.FlagSet {
	set := flag.NewFlagSet("doctor", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&f.to, "to", "", "URL of the entry")
	set.StringVar(&f.as, "as", string(doctor.Falcosidekick), "what stands there: falcosidekick, broker or router")
	set.StringVar(&f.namespace, "namespace", "riposte", "namespace of the Broker and the Triggers")
	set.StringVar(&f.broker, "broker", "default", "name of the Broker")
	set.StringVar(&f.trigger, "trigger", "canary", "name of the Trigger that brings the alert to the function")
	set.StringVar(&f.function, "function", "delete-pod", "function that the Trigger names")
	set.StringVar(&f.priority, "priority", "Notice", "priority of the alert; it must pass Falcosidekick's minimum")
	set.StringVar(&f.advertise, "advertise", "", "URL at which the Broker reaches the doctor; port 0 takes a free one (default: POD_IP)")
	set.StringVar(&f.listen, "listen", "", "HOST:PORT to listen on, if it is another than that of -advertise")
	set.DurationVar(&f.timeout, "timeout", time.Minute, "time for the way of the alert")
	set.DurationVar(&f.ready, "ready", time.Minute, "time for the doctor's own Triggers to become ready")
	set.BoolVar(&f.watch, "watch", false, "with a router: also watch the Broker that its K_SINK is")
	set.BoolVar(&f.acceptQueued, "accept-queued", false, "with a router: take its word that it has stored the alert for delivery")
	return set
}

func (f *flags) watches() bool { return f.watch || f.as != string(doctor.Router) }

func (f *flags) check(rest []string, s settings) error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(rest) > 0 {
		add("argument %q is not understood; see --help", rest[0])
	}
	var err error
	if f.target, err = httpURL(f.to); err != nil {
		add("-to is %q: want the http or https URL of Falcosidekick, of a Broker's ingress or of the router", f.to)
	}
	switch doctor.Kind(f.as) {
	case doctor.Falcosidekick, doctor.Broker:
		if f.watch || f.acceptQueued {
			add("-watch and -accept-queued go with -as router only")
		}
	case doctor.Router:
	default:
		add("-as is %q: want falcosidekick, broker or router", f.as)
	}
	if f.least, err = falco.ParsePriority(f.priority); err != nil {
		add("-priority is %q: want a priority of Falco, such as Notice", f.priority)
	}
	if f.timeout <= 0 || f.ready <= 0 {
		add("-timeout is %s and -ready is %s: want more than nothing", f.timeout, f.ready)
	}
	if f.watches() {
		if f.advertise == "" && s.PodIP != "" {
			f.advertise = "http://" + net.JoinHostPort(s.PodIP, "0")
		}
		if f.reachable, err = httpURL(f.advertise); err != nil || f.reachable.Scheme != "http" {
			add("-advertise is %q and POD_IP %q: want the http URL at which the Broker reaches this machine", f.advertise, s.PodIP)
		}
	}
	return errors.Join(problems...)
}

func httpURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil {
		return nil, errors.New("not a URL with http or https, a host and no password")
	}
	return u, nil
}

func (f *flags) options(ctx context.Context, s settings) (doctor.Options, error) {
	o := doctor.Options{
		Entry:    doctor.Entry{URL: f.target, Kind: doctor.Kind(f.as), AcceptQueued: f.acceptQueued},
		Function: f.function, Namespace: f.namespace, Priority: f.least,
		Timeout: f.timeout, Ready: f.ready, Now: time.Now,
	}
	if o.Entry.Kind == doctor.Router { // Nobody else wants the token, or may have it.
		o.Entry.Token = s.Token
	}
	if !f.watches() {
		return o, nil
	}
	client, err := kube.Connect(kube.Settings{Kubeconfig: s.Kubeconfig}, response.Settings{}, "doctor")
	if err != nil {
		return o, err
	}
	o.Taps = &doctor.Knative{Client: client, Namespace: f.namespace, Broker: f.broker, Trigger: f.trigger, Now: time.Now}
	o.Listener, o.Advertise, err = f.open(ctx)
	return o, err
}

// open listens where the Broker is told to post to, or where -listen says.
func (f *flags) open(ctx context.Context) (net.Listener, *url.URL, error) {
	port := f.reachable.Port()
	if port == "" {
		port = "80"
	}
	address := f.listen
	if address == "" {
		address = net.JoinHostPort(f.reachable.Hostname(), port)
	}
	var listening net.ListenConfig
	listener, err := listening.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen on %q for the Broker's copies: %w; -listen names another address than that of -advertise", address, err)
	}
	advertise := *f.reachable
	if port == "0" {
		_, port, err = net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, nil, fmt.Errorf("listen on %q: %w", address, err)
		}
		advertise.Host = net.JoinHostPort(advertise.Hostname(), port)
	}
	return listener, &advertise, nil
}
