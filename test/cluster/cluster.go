package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// startTimeout bounds one attempt to start, which takes a few seconds on two
	// idle cores and many times that on busy ones.
	startTimeout = 3 * time.Minute
	// startAttempts is how often a start is tried when ports are lost to others.
	startAttempts = 5
)

// Options say what cluster to start.
type Options struct {
	// Binary is the control plane, as returned by [Build].
	Binary string
	// Dir is where the cluster keeps its data, logs and keys: an empty folder or one
	// that does not exist yet, which Stop leaves there. By default it is a temporary
	// folder, which Stop removes.
	Dir string
	// Nodes is the number of worker nodes, fake-0 and so on; 0 means 3.
	Nodes int
	// RealNodes leaves kwok and its nodes out: the caller starts kubelets of its own, with
	// what [Cluster.UserKubeconfig] and [Cluster.ServingCertificate] give them.
	RealNodes bool
	// ControlPlaneNode adds the node control-plane-0 with the label and the taint of
	// its role.
	ControlPlaneNode bool
	// Log receives a few lines on how the start goes; nil means nowhere.
	Log io.Writer
}

// Cluster is a cluster that runs.
type Cluster struct {
	// Kubeconfig is the path of a cluster-admin kubeconfig; it holds its
	// certificates, so it can be copied.
	Kubeconfig string

	binary    string
	folder    *folder
	pki       *pki // Nil where somebody else has started the cluster.
	config    *rest.Config
	client    dynamic.Interface
	processes []*process

	ending  sync.Once     // Whoever comes first: the first failure or Stop.
	failed  chan struct{} // Closed when a component has ended by itself.
	failure error         // Why; set before failed is closed.
}

// Start starts a cluster and returns when it is ready for work: the API server is
// ready, the nodes are Ready and untainted, namespaces get their ServiceAccounts and
// the scheduler is healthy. The context bounds the start alone; the cluster then
// runs until Stop.
func Start(ctx context.Context, options Options) (*Cluster, error) {
	if options.RealNodes && (options.Nodes != 0 || options.ControlPlaneNode) {
		return nil, fmt.Errorf("start a cluster: Nodes is %d and ControlPlaneNode is %t; with RealNodes they must be 0 and false",
			options.Nodes, options.ControlPlaneNode)
	}
	if options.Nodes == 0 && !options.RealNodes {
		options.Nodes = 3
	}
	if options.Nodes < 0 || options.Nodes > MaxNodes {
		return nil, fmt.Errorf("start a cluster: Nodes is %d; it must be between 1 and %d, or 0 for 3", options.Nodes, MaxNodes)
	}
	if info, err := os.Stat(options.Binary); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("start a cluster: Binary is %q, which is not a file; it must be what Build returned", options.Binary)
	}
	log := &progressWriter{w: options.Log}
	var c *Cluster
	err := withFreshPorts(log, func() (err error) {
		c, err = start(ctx, options, log)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start a cluster: %w", err)
	}
	return c, nil
}

// withFreshPorts tries again while ports are lost to other processes.
func withFreshPorts(log *progressWriter, try func() error) error {
	for attempt := 1; ; attempt++ {
		err := try()
		if !errors.Is(err, errPortTaken) || attempt == startAttempts {
			return err
		}
		log.sayf("cluster: attempt %d of %d failed, trying again on other ports: %v", attempt, startAttempts, err)
	}
}

// start tries once.
func start(ctx context.Context, options Options, log *progressWriter) (_ *Cluster, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("not ready after %s", startTimeout))
	defer cancel()
	began := time.Now()
	folder, err := newFolder(options.Dir)
	if err != nil {
		return nil, err
	}
	binary, err := filepath.Abs(options.Binary)
	if err != nil {
		return nil, err
	}
	c := &Cluster{binary: binary, folder: folder, failed: make(chan struct{})}
	defer func() {
		if err == nil {
			return
		}
		// What fails because the context has ended seldom says so.
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		err = errors.Join(err, c.Stop())
	}()
	if err := c.launchAll(ctx, options); err != nil {
		return nil, err
	}
	log.sayf("cluster: ready after %.1f s, %d nodes, %s", time.Since(began).Seconds(), options.Nodes, c.config.Host)
	return c, nil
}

// launchAll starts the components in the order in which they need each other.
func (c *Cluster) launchAll(ctx context.Context, options Options) error {
	certificates, err := newPKI(c.folder.join("pki"))
	if err != nil {
		return err
	}
	c.pki = certificates
	ports, err := choosePorts(ctx, 6)
	if err != nil {
		return err
	}
	e := newEndpoints(ports)
	defer func() {
		for _, p := range e.all() {
			p.release()
		}
	}()
	configs, err := writeKubeconfigs(c.folder, certificates, e.apiServer.url())
	if err != nil {
		return err
	}
	c.Kubeconfig = configs["admin"]
	if err := c.connect(); err != nil {
		return err
	}

	if err := c.launch(ctx, "etcd", etcdFlags(c.folder.path, certificates, e), e.etcd, e.etcdPeer); err != nil {
		return err
	}
	if err := c.launch(ctx, "kube-apiserver", apiServerFlags(certificates, e), e.apiServer); err != nil {
		return err
	}
	var kwokConfiguration string
	if !options.RealNodes {
		if kwokConfiguration, err = writeKwokConfiguration(ctx, c.binary, c.folder.path); err != nil {
			return err
		}
	}
	if err := c.waitFor(ctx, "the API server", c.apiServerReady); err != nil {
		return err
	}
	if err := c.launch(ctx, "kube-controller-manager", controllerManagerFlags(configs["controllers"], certificates, e), e.controllers); err != nil {
		return err
	}
	if err := c.launch(ctx, "kube-scheduler", schedulerFlags(configs["scheduler"], certificates, e), e.scheduler); err != nil {
		return err
	}
	if options.RealNodes {
		return c.waitUntilReady(ctx, certificates, e, nil)
	}
	if err := c.launch(ctx, "kwok", kwokFlags(configs["kwok"], kwokConfiguration, certificates, e), e.kwok); err != nil {
		return err
	}
	version, err := c.serverVersion(ctx)
	if err != nil {
		return err
	}
	if err := c.createNodes(ctx, options, version); err != nil {
		return err
	}
	return c.waitUntilReady(ctx, certificates, e, e.kwok)
}

// launch starts one component on its ports and watches over it.
func (c *Cluster) launch(ctx context.Context, name string, flags []string, ports ...*port) error {
	for _, p := range ports {
		p.release()
	}
	p, err := launch(ctx, c.binary, c.folder.path, name, flags)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	go c.watch(p)
	return nil
}

// watch notices when a component ends that nobody has stopped.
func (c *Cluster) watch(p *process) {
	<-p.done
	c.ending.Do(func() {
		c.failure = p.failure()
		close(c.failed)
	})
}

// Failed returns a channel that is closed when a component has ended by itself; Err
// then says why, and Stop still has to be called.
func (c *Cluster) Failed() <-chan struct{} { return c.failed }

// Err returns why the cluster has failed, or nil while it has not.
func (c *Cluster) Err() error {
	select {
	case <-c.failed:
		return c.failure
	default:
		return nil
	}
}

// Config returns a configuration for clients with the rights of cluster-admin and
// without a rate limit. Each call returns a copy.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Stop ends every process of the cluster at once, waits until they are gone and
// removes the folder, unless the caller has chosen it. To stop twice does nothing.
func (c *Cluster) Stop() error {
	// From here on the end of a component is no failure.
	c.ending.Do(func() {})
	for _, p := range c.processes {
		_ = p.cmd.Process.Kill()
	}
	for _, p := range c.processes {
		<-p.done
	}
	return c.folder.remove()
}

// connect makes the clients of the kubeconfig.
func (c *Cluster) connect() error {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig %s: %w", c.Kubeconfig, err)
	}
	config.QPS = -1
	c.config = config
	c.client, err = dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return nil
}
