package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/kube"
	"github.com/riposte-dev/riposte/deploy/local/page"
)

// step is one alert of the simulated attack.
type step struct {
	after time.Duration // since the step before
	offer string
	// same aims at the pod that the first alert was about.
	same bool
	// repeat sends the alert of an earlier step again, with the title and what is to
	// be seen.
	repeat, title, expect string
}

// attackSteps is a break-in as it unfolds, with the noise that goes with one: alerts
// that must not lead to anything.
func attackSteps() []step {
	const pause = 900 * time.Millisecond
	return []step{
		{offer: "shell"},
		{after: pause, offer: "host"},
		{after: pause, offer: "api", same: true},
		{after: pause, offer: "malware-statefulset"},
		{after: pause, offer: "malware"},
		{
			after: pause, repeat: "malware-statefulset", title: "The same alert once more",
			expect: "the same outcome as before, and nothing is done: the new cart-0 lives",
		},
		{after: pause, offer: "protected"},
		{after: pause, offer: "stale"},
		{after: pause, offer: "forged"},
		{after: pause, offer: "escape"},
		{after: pause, offer: "cloud"},
		{after: pause, offer: "test"},
	}
}

// attackState is what the page shows of a running attack.
type attackState struct {
	Running bool   `json:"running"`
	Step    int    `json:"step"`
	Of      int    `json:"of"`
	Title   string `json:"title"`
	Problem string `json:"problem,omitempty"`
}

// attacker runs one attack at a time.
type attacker struct {
	stage  *stage
	tell   func(attackState)
	mu     sync.Mutex
	active bool
	group  sync.WaitGroup
}

// start begins the series and lets it run; it ends early with the context.
func (a *attacker) start(ctx context.Context) error {
	if a.stage.cluster == nil {
		return &page.RefusedError{Reason: "the series aims at several pods by itself; on your own cluster send single alerts at pods you choose"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.active {
		return &page.RefusedError{Reason: "an attack is running"}
	}
	a.active = true
	a.group.Go(func() {
		a.run(ctx, attackSteps())
		a.mu.Lock()
		defer a.mu.Unlock()
		a.active = false
	})
	return nil
}

func (a *attacker) run(ctx context.Context, steps []step) {
	earlier := map[string]sent{}
	var first *kube.Pod
	state := attackState{Running: true, Of: len(steps)}
	for i, step := range steps {
		select {
		case <-time.After(step.after):
		case <-ctx.Done():
			return
		}
		state.Step, state.Title, state.Problem = i+1, step.title, ""
		s, err := a.do(ctx, step, first, earlier)
		if err != nil {
			state.Problem = err.Error()
		} else {
			state.Title = s.offer.Title
			earlier[step.offer] = s
			if first == nil {
				first = s.target
			}
		}
		a.tell(state)
	}
	state.Running = false
	a.tell(state)
}

func (a *attacker) do(ctx context.Context, step step, first *kube.Pod, earlier map[string]sent) (sent, error) {
	if step.repeat != "" {
		before, ok := earlier[step.repeat]
		if !ok {
			return sent{}, fmt.Errorf("the alert %s has not been sent", step.repeat)
		}
		return a.stage.repeat(ctx, before, step.title, step.expect)
	}
	o, err := a.stage.menu.find(step.offer)
	if err != nil {
		return sent{}, err
	}
	chosen := ""
	if step.same && first != nil {
		chosen = first.Key()
	}
	pod, err := o.aim(a.stage.pods.Pods(), chosen, true)
	if err != nil {
		return sent{}, err
	}
	return a.stage.send(ctx, o, pod)
}
