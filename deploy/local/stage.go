package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/riposte-dev/riposte/deploy/local/broker"
	"github.com/riposte-dev/riposte/deploy/local/captures"
	"github.com/riposte-dev/riposte/deploy/local/flow"
	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/deploy/local/kube"
	"github.com/riposte-dev/riposte/deploy/local/standin"
	"github.com/riposte-dev/riposte/test/cluster"
	"github.com/riposte-dev/riposte/triggers"
)

//go:embed victim/workload.yaml
var victim embed.FS

const (
	namespace  = "riposte"
	brokerName = "default"
	// settleTimeout is the time the workload has to run.
	settleTimeout = time.Minute
)

// observer is told what happens while the stage is up. Any function may be nil.
type observer struct {
	alert    func(id string, a flow.Alert)
	drop     func(id string)
	pod      func(kube.Change)
	function func(functions.Status)
	message  func(standin.Message)
}

// config says what stage to set up.
type config struct {
	root    string
	network *broker.Network
	client  *http.Client
	// kubeconfig is the user's own; empty for a cluster of ours.
	kubeconfig string
	// environ is what functions inherit where they use the user's cluster, as the
	// programs that give credentials need it.
	environ []string
	out     *progress
	see     observer
}

// stage is everything that runs: a cluster, the Broker, the functions, the stand-ins.
type stage struct {
	config
	cluster  *cluster.Cluster // nil where the cluster is the user's
	host     string
	dryRun   bool
	kube     *kube.Client
	pods     *kube.Watch
	alerts   *flow.Store
	broker   *broker.Broker
	set      *triggers.Set
	services *standin.Services
	menu     *menu
	names    []string

	mu        sync.Mutex
	processes []*functions.Process
	closers   []func() error
}

// setUp starts everything. What it has started before an error it ends again.
func setUp(ctx context.Context, c config) (_ *stage, err error) {
	s := &stage{config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	all, err := captures.Load(filepath.Join(c.root, "test", "captures"))
	if err != nil {
		return nil, err
	}
	if s.menu, err = newMenu(all); err != nil {
		return nil, err
	}
	if err := s.listen(ctx); err != nil {
		return nil, err
	}
	s.names = slices.Sorted(slices.Values(s.set.Functions()))
	// The functions are built while the cluster starts.
	built := make(chan error, 1)
	building, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { built <- functions.Build(building, c.root, s.names, c.out) }()
	err = s.startCluster(ctx)
	if err != nil {
		cancel()
	}
	if err := errors.Join(err, <-built); err != nil {
		return nil, err
	}
	if err := s.startFunctions(ctx); err != nil {
		return nil, err
	}
	return s, s.settle(ctx)
}

// listen starts what needs no cluster: triggers, Broker, stand-ins.
func (s *stage) listen(ctx context.Context) error {
	var err error
	if s.set, err = triggers.LoadDir(filepath.Join(s.root, "triggers"), filepath.Join(s.root, "deploy", "knative", "brokers", "in-memory")); err != nil {
		return err
	}
	s.alerts = flow.NewStore(s.see.alert, s.see.drop)
	log, err := s.logFile("broker")
	if err != nil {
		return err
	}
	hooks := s.alerts.Hooks()
	hooks.Rejected = func(r broker.Rejected) {
		s.out.step("the broker refused a request with %d: it was no event for it", r.Status)
	}
	s.broker, err = broker.Start(ctx, broker.Options{Triggers: s.set, Network: s.network, Hooks: hooks, Log: log})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.broker.Close)
	s.services, err = standin.Start(ctx, func(m standin.Message) {
		if s.see.message != nil {
			s.see.message(m)
		}
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.services.Close)
	s.out.step("broker ready: %d triggers", len(s.set.Triggers()))
	return nil
}

// logFile opens the file that something of this run writes to.
func (s *stage) logFile(name string) (io.Writer, error) {
	dir := filepath.Join(s.root, "dist", "local")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the folder for logs: %w", err)
	}
	file, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	s.closers = append(s.closers, file.Close)
	return file, nil
}

func (s *stage) startCluster(ctx context.Context) error {
	rules, err := s.reach(ctx)
	if err != nil {
		return err
	}
	if s.kube, err = kube.NewClient(rules); err != nil {
		return err
	}
	if s.cluster != nil {
		if err := s.populate(ctx); err != nil {
			return err
		}
	}
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.closers = append(s.closers, func() error { cancel(); return nil })
	stop := context.AfterFunc(ctx, cancel) // While it waits for what is there.
	defer stop()
	s.pods, err = s.kube.Watch(watching, func(c kube.Change) {
		if s.see.pod != nil {
			s.see.pod(c)
		}
	})
	return err
}

// reach starts a cluster of ours, or finds the user's.
func (s *stage) reach(ctx context.Context) (*rest.Config, error) {
	if s.kubeconfig != "" {
		s.dryRun = true
		return s.usersCluster()
	}
	binary, err := cluster.Build(ctx, s.root, s.out)
	if err != nil {
		return nil, err
	}
	s.cluster, err = cluster.Start(ctx, cluster.Options{Binary: binary, Log: io.Discard})
	if err != nil {
		return nil, err
	}
	s.closers = append([]func() error{s.cluster.Stop}, s.closers...)
	s.host = s.cluster.Config().Host
	s.out.step("control plane ready: %s", s.host)
	return s.cluster.Config(), nil
}

func (s *stage) usersCluster() (*rest.Config, error) {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(s.kubeconfig)}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("KUBECONFIG is %q: %w", s.kubeconfig, err)
	}
	s.host = config.Host
	if len(rules.Precedence) == 1 {
		return config, nil
	}
	// The functions take one file: what kubectl would use, put together.
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("KUBECONFIG is %q: %w", s.kubeconfig, err)
	}
	file := filepath.Join(s.root, "dist", "local", "kubeconfig")
	if err := clientcmd.WriteToFile(raw, file); err != nil { // With mode 0600.
		return nil, fmt.Errorf("put the files of KUBECONFIG together: %w", err)
	}
	s.closers = append(s.closers, func() error { return os.Remove(file) })
	s.kubeconfig = file
	return config, nil
}

// populate puts the workload into a cluster of ours, and the functions' rights.
func (s *stage) populate(ctx context.Context) error {
	manifest, err := victim.ReadFile("victim/workload.yaml")
	if err != nil {
		return fmt.Errorf("read the workload: %w", err)
	}
	if _, err := s.kube.Apply(ctx, manifest); err != nil {
		return err
	}
	for _, name := range s.names {
		manifest, err := os.ReadFile(s.rbacFile(name))
		if err != nil {
			return fmt.Errorf("read the rights of %s: %w", name, err)
		}
		if _, err := s.kube.Apply(ctx, manifest); err != nil {
			return fmt.Errorf("give %s its rights: %w", name, err)
		}
	}
	return nil
}

func (s *stage) rbacFile(name string) string {
	return filepath.Join(s.root, "functions", name, "rbac.yaml")
}

func (s *stage) startFunctions(ctx context.Context) error {
	began := time.Now()
	failures := make([]error, len(s.names))
	logs := make([]io.Writer, len(s.names))
	for i, name := range s.names {
		var err error
		if logs[i], err = s.logFile(name); err != nil {
			return err
		}
	}
	var group sync.WaitGroup
	for i, name := range s.names {
		group.Go(func() { failures[i] = s.startFunction(ctx, name, logs[i]) })
	}
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	s.out.step("%d functions ready in %d ms, %s", len(s.names), time.Since(began).Milliseconds(), s.rights())
	return nil
}

func (s *stage) rights() string {
	if s.cluster == nil {
		return "with your credentials, dry run"
	}
	return "each with its own ServiceAccount"
}

func (s *stage) startFunction(ctx context.Context, name string, log io.Writer) error {
	spec := functions.Spec{Name: name, Binary: functions.Binary(s.root, name), Log: log, Changed: s.functionChanged}
	kubeconfig := s.kubeconfig
	if s.cluster != nil {
		account, err := s.account(name)
		if err != nil {
			return err
		}
		if kubeconfig, err = s.cluster.ServiceAccountKubeconfig(ctx, namespace, account); err != nil {
			return err
		}
		spec.Account = namespace + "/" + account
	}
	if err := os.MkdirAll(filepath.Join(s.root, "dist", "local", "evidence"), 0o750); err != nil {
		return fmt.Errorf("make the folder for evidence: %w", err)
	}
	spec.Env = s.environment(name, kubeconfig)
	process, err := functions.Start(ctx, spec)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.processes = append(s.processes, process)
	return nil
}

// account finds the ServiceAccount of a function in its manifest.
func (s *stage) account(name string) (string, error) {
	manifest, err := os.ReadFile(s.rbacFile(name))
	if err != nil {
		return "", fmt.Errorf("read the rights of %s: %w", name, err)
	}
	objects, err := kube.Parse(manifest)
	if err != nil {
		return "", fmt.Errorf("read the rights of %s: %w", name, err)
	}
	for _, object := range objects {
		if object.GetKind() == "ServiceAccount" {
			return object.GetName(), nil
		}
	}
	return "", fmt.Errorf("read the rights of %s: there is no ServiceAccount in %s", name, s.rbacFile(name))
}

// environment is all that a function gets to see.
func (s *stage) environment(name, kubeconfig string) []string {
	var env []string
	if s.cluster == nil {
		env = slices.Clone(s.environ)
	}
	env = append(env, "LISTEN_ADDRESS=127.0.0.1:0", "KUBECONFIG="+kubeconfig, fmt.Sprintf("DRY_RUN=%t", s.dryRun))
	if s.cluster != nil {
		// Who tries things out by hand raises more alerts in a minute than anybody should answer in earnest.
		env = append(env, "BUDGET_FUNCTION=60/1m", "BUDGET_WORKLOAD=off", "BUDGET_CLUSTER=off")
	}
	switch name {
	case "label":
		env = append(env, "LABELS=riposte.dev/suspect=true")
	case "collect-evidence":
		env = append(env, "ARTIFACT_URL=file://"+filepath.Join(s.root, "dist", "local", "evidence"))
	case "slack":
		env = append(env, "SLACK_WEBHOOK_URL="+s.services.SlackWebhookURL())
	case "lambda":
		// Keys that fit the stand-in only, and no others.
		env = append(env, "LAMBDA_FUNCTION=lock-account", "AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL="+s.services.AWSEndpointURL(),
			"AWS_ACCESS_KEY_ID=stand-in", "AWS_SECRET_ACCESS_KEY=stand-in", "AWS_EC2_METADATA_DISABLED=true",
			"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_PROFILE=", "AWS_SESSION_TOKEN=")
	}
	return env
}

// functionChanged leads the function's name to where it listens now.
func (s *stage) functionChanged(status functions.Status) {
	for _, t := range s.set.Triggers() {
		if t.Function == status.Name {
			s.network.Set(t.Subscriber.URL().Hostname(), status.Address)
		}
	}
	if s.see.function != nil {
		s.see.function(status)
	}
}

// settle waits until the workload of our cluster runs.
func (s *stage) settle(ctx context.Context) error {
	if s.cluster == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, fmt.Errorf("not all pods run after %s", settleTimeout))
	defer cancel()
	want := map[string]int{"default/web": 3, "shop/cart-api": 3, "shop/cart": 2, "kube-system/coredns": 1}
	err := s.pods.Until(ctx, func(pods []kube.Pod) bool {
		have := map[string]int{}
		for _, p := range pods {
			if p.Ready && p.ContainerID != "" {
				have[p.Workload()]++
			}
		}
		for workload, n := range want {
			if have[workload] < n {
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("wait for the workload: %w", err)
	}
	s.out.step("workload running: %d pods on %d nodes", len(s.pods.Pods()), len(s.pods.Nodes()))
	return nil
}

// failed is closed when the cluster has died.
func (s *stage) failed() <-chan struct{} {
	if s.cluster == nil {
		return nil
	}
	return s.cluster.Failed()
}

// brokerURL is where alerts are posted.
func (s *stage) brokerURL() string { return s.broker.URL(namespace, brokerName) }

// close ends everything, the newest first.
func (s *stage) close() error {
	s.mu.Lock()
	processes := s.processes
	s.mu.Unlock()
	var group sync.WaitGroup
	for _, p := range processes {
		group.Go(p.Stop)
	}
	group.Wait()
	var errs []error
	for _, f := range slices.Backward(s.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// progress prints one line for each step, with the time since the start.
type progress struct {
	mu    sync.Mutex
	w     io.Writer
	start time.Time
}

func (p *progress) step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = fmt.Fprintf(p.w, "%6.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// Write prints the lines of something that is being built.
func (p *progress) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		p.step("%s", strings.TrimRight(line, "\n"))
	}
	return len(b), nil
}
