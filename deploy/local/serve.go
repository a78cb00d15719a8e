package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/flow"
	"github.com/riposte-dev/riposte/deploy/local/functions"
	"github.com/riposte-dev/riposte/deploy/local/kube"
	"github.com/riposte-dev/riposte/deploy/local/page"
	"github.com/riposte-dev/riposte/deploy/local/standin"
)

const (
	// maxPods is how many pods the page shows, of a cluster of the user's.
	maxPods = 500
	// maxMessages is how many messages of the stand-ins are kept.
	maxMessages = 50
	// coalesce is how long changes of pods are gathered.
	coalesce = 40 * time.Millisecond
)

// runState is what the page has to know of this run.
type runState struct {
	OwnCluster bool      `json:"ownCluster"`
	Host       string    `json:"host"`
	DryRun     bool      `json:"dryRun"`
	Started    time.Time `json:"started"`
	Offers     []offer   `json:"offers"`
	// NoAttack says why the series cannot be started; empty if it can.
	NoAttack string `json:"noAttack,omitempty"`
}

// clusterState is the pods and nodes as they are.
type clusterState struct {
	Pods  []kube.Pod  `json:"pods"`
	Nodes []kube.Node `json:"nodes"`
	// More is how many pods are not shown.
	More int `json:"more"`
}

// serve runs the page until the context ends.
func serve(ctx context.Context, c config, port int, out io.Writer) (err error) {
	hub := page.NewHub()
	publish := func(topic, key string, state any) {
		if err := hub.Publish(topic, key, state); err != nil {
			c.out.step("%v", err)
		}
	}
	var messages atomic.Int64
	c.see = observer{
		alert: func(id string, a flow.Alert) { publish("alert", id, a) },
		drop:  func(id string) { hub.Drop("alert", id) },
		function: func(s functions.Status) {
			publish("function", s.Name, s)
			if s.State == "restarting" {
				c.out.step("%s ended and is started again (restart %d): %s", s.Name, s.Restarts, s.Last)
			}
		},
		message: func(m standin.Message) {
			n := messages.Add(1)
			publish("message", fmt.Sprint(n), m)
			hub.Drop("message", fmt.Sprint(n-maxMessages))
		},
	}
	s, err := setUp(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	running, cancel := context.WithCancel(ctx)
	a := &attacker{stage: s, tell: func(state attackState) { publish("attack", "", state) }}
	defer a.group.Wait()
	defer cancel()
	publish("run", "", s.state())
	a.group.Go(func() { s.publishCluster(running, publish) })
	p, err := page.Listen(ctx, port, hub, page.Actions{
		Send: func(ctx context.Context, order page.Order) error { return s.order(ctx, order) },
		// The series outlives the request that starts it.
		Attack: func(context.Context) error { return a.start(running) },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if _, err := io.WriteString(out, s.welcome(p.URL())); err != nil {
		return fmt.Errorf("say where the page is: %w", err)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.failed():
		return fmt.Errorf("the cluster died: %w", s.cluster.Err())
	}
}

// welcome is what the terminal says.
func (s *stage) welcome(url string) string {
	text := fmt.Sprintf("\n  Riposte is running. Open %s\n", url)
	text += fmt.Sprintf("  Alerts of your own Falcosidekick: cloudevents.address %s\n", s.brokerURL())
	if s.cluster != nil {
		text += fmt.Sprintf("  Its cluster: export KUBECONFIG=%s\n", s.cluster.Kubeconfig)
	}
	return text + "  Ctrl-C stops everything.\n\n"
}

func (s *stage) state() runState {
	state := runState{OwnCluster: s.cluster != nil, Host: s.host, DryRun: s.dryRun, Started: time.Now(), Offers: s.menu.offers}
	if s.cluster == nil {
		state.NoAttack = "it aims at pods by itself, which it does not on your cluster"
	}
	return state
}

// order sends the alert that a button stands for.
func (s *stage) order(ctx context.Context, order page.Order) error {
	o, err := s.menu.find(order.Alert)
	if err != nil {
		return err
	}
	pod, err := o.aim(s.pods.Pods(), order.Pod, s.cluster != nil)
	if err != nil {
		return err
	}
	_, err = s.send(ctx, o, pod)
	return err
}

// publishCluster publishes the pods and nodes whenever they change.
func (s *stage) publishCluster(ctx context.Context, publish func(topic, key string, state any)) {
	for {
		changed := s.pods.Changed()
		state := clusterState{Pods: s.pods.Pods(), Nodes: s.pods.Nodes()}
		if len(state.Pods) > maxPods {
			state.More = len(state.Pods) - maxPods
			state.Pods = state.Pods[:maxPods]
		}
		publish("cluster", "", state)
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(coalesce):
		case <-ctx.Done():
			return
		}
	}
}
