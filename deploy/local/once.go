package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/riposte-dev/riposte/deploy/local/flow"
	"github.com/riposte-dev/riposte/deploy/local/kube"
	"github.com/riposte-dev/riposte/deploy/local/standin"
)

// onceTimeout bounds the story of the one alert.
const onceTimeout = 30 * time.Second

// once sends the captured Critical alert, waits for what follows, and checks that
// exactly the right pod was deleted and replaced.
func once(ctx context.Context, c config, target string, out io.Writer) (err error) {
	t := &timeline{}
	c.see.pod = t.pod
	c.see.message = t.message
	s, err := setUp(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	o, err := s.menu.find("malware")
	if err != nil {
		return err
	}
	pod, err := o.aim(s.pods.Pods(), target, s.cluster != nil)
	if err != nil {
		if s.cluster == nil && target == "" {
			return errors.New("on your own cluster --once needs --target NAMESPACE/POD")
		}
		return err
	}
	before := s.pods.Pods()
	ctx, cancel := context.WithTimeoutCause(ctx, onceTimeout, fmt.Errorf("the story was not over after %s", onceTimeout))
	defer cancel()
	a, err := s.send(ctx, o, pod)
	if err != nil {
		return err
	}
	story, err := s.await(ctx, a)
	if err != nil {
		return t.fail(out, a, story, err)
	}
	outcome := deletion(story)
	switch {
	case s.dryRun && outcome.Outcome == "dryrun":
		return t.print(out, a, story, fmt.Sprintf("Dry run: %s. Nothing was changed.", outcome.Message))
	case outcome.Outcome != "applied":
		return t.fail(out, a, story, fmt.Errorf("delete-pod %s: %s", outcome.Outcome, cmp.Or(outcome.Message, outcome.Reason)))
	}
	clean, err := s.awaitReplacement(ctx, before, *pod)
	if err != nil {
		return t.fail(out, a, story, err)
	}
	return t.print(out, a, story,
		fmt.Sprintf("Deleted %s (UID %s), and only that one of %d pods.", pod.Key(), pod.UID, len(before)),
		fmt.Sprintf("%s %s started %s (UID %s), which is ready.", pod.OwnerKind, pod.Workload(), clean.Key(), clean.UID))
}

// await waits until the alert's story is over.
func (s *stage) await(ctx context.Context, a sent) (flow.Alert, error) {
	for {
		changed := s.alerts.Changed()
		story, found := s.alerts.Find(a.eventID)
		if found && story.Settled() {
			if deletion(story) == nil {
				return story, errors.New("no outcome of delete-pod")
			}
			return story, nil
		}
		select {
		case <-changed:
		case <-s.failed():
			return story, fmt.Errorf("the cluster died: %w", s.cluster.Err())
		case <-ctx.Done():
			return story, context.Cause(ctx)
		}
	}
}

func deletion(a flow.Alert) *flow.Outcome {
	for _, d := range a.Deliveries {
		if d.Function == "delete-pod" {
			return d.Outcome
		}
	}
	return nil
}

// awaitReplacement waits until one new pod of the same owner is ready, and checks that
// every other pod is as it was.
func (s *stage) awaitReplacement(ctx context.Context, before []kube.Pod, target kube.Pod) (kube.Pod, error) {
	was := map[string]kube.Pod{}
	for _, p := range before {
		was[p.UID] = p
	}
	var clean kube.Pod
	err := s.pods.Until(ctx, func(pods []kube.Pod) bool {
		clean = kube.Pod{}
		for _, p := range pods {
			if p.UID == target.UID {
				return false
			}
			if _, old := was[p.UID]; !old && p.Workload() == target.Workload() && p.Ready {
				clean = p
			}
		}
		return clean.UID != ""
	})
	if err != nil {
		return kube.Pod{}, fmt.Errorf("wait for the pod that replaces %s: %w", target.Key(), err)
	}
	var others []string
	for _, p := range s.pods.Pods() {
		if p.UID == clean.UID {
			continue
		}
		if old, known := was[p.UID]; !known || !same(old, p) {
			others = append(others, p.Key())
		}
		delete(was, p.UID)
	}
	delete(was, target.UID)
	for _, p := range was {
		others = append(others, p.Key())
	}
	if len(others) > 0 {
		return kube.Pod{}, fmt.Errorf("other pods changed too: %s", strings.Join(others, ", "))
	}
	return clean, nil
}

func same(a, b kube.Pod) bool {
	return a.UID == b.UID && a.Phase == b.Phase && a.Ready == b.Ready && a.Terminating == b.Terminating &&
		maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// timeline collects what happens, to be told in order.
type timeline struct {
	mu    sync.Mutex
	rows  []row
	ready map[string]bool // pods that have been told of, by UID
}

type row struct {
	at        time.Time
	who, what string
}

func (t *timeline) add(at time.Time, who, format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, row{at, who, fmt.Sprintf(format, args...)})
}

func (t *timeline) pod(c kube.Change) {
	switch {
	case c.Deleted:
		t.add(c.At, "cluster", "pod %s is gone", c.Pod.Key())
	case c.Added:
		t.add(c.At, "cluster", "pod %s is created", c.Pod.Key())
	case c.Pod.Ready && !c.Pod.Terminating && t.first(c.Pod.UID):
		t.add(c.At, "cluster", "pod %s is ready on %s", c.Pod.Key(), c.Pod.Node)
	}
}

func (t *timeline) first(uid string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ready == nil {
		t.ready = map[string]bool{}
	}
	seen := t.ready[uid]
	t.ready[uid] = true
	return !seen
}

func (t *timeline) message(m standin.Message) {
	first, _, _ := strings.Cut(m.Text, "\n")
	t.add(m.At, m.Service+" stand-in", "got %q", strings.Trim(cmp.Or(m.Title, first), "*"))
}

func (t *timeline) fail(out io.Writer, a sent, story flow.Alert, err error) error {
	return errors.Join(err, t.print(out, a, story))
}

// print tells the story since the alert was sent, and what it comes to.
func (t *timeline) print(out io.Writer, a sent, story flow.Alert, conclusion ...string) error {
	at := func(ms float64) time.Time { return a.at.Add(time.Duration(ms * float64(time.Millisecond))) }
	where := "no pod"
	if a.target != nil {
		where = a.target.Key()
	}
	t.add(a.at, "Falcosidekick", "sends %q (capture %s, aimed at %s)", a.capture.Alert.Rule, a.offer.Capture, where)
	t.passage(at, "alert", &story.Passage)
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.rows, func(a, b row) int { return a.at.Compare(b.at) })
	var text strings.Builder
	text.WriteString("MS\tWHO\tWHAT\n")
	for _, r := range t.rows {
		if !r.at.Before(a.at) {
			fmt.Fprintf(&text, "%.1f\t%s\t%s\n", float64(r.at.Sub(a.at).Microseconds())/1000, r.who, r.what)
		}
	}
	if len(conclusion) > 0 {
		text.WriteString("\n" + strings.Join(conclusion, "\n") + "\n")
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, text.String()); err != nil {
		return fmt.Errorf("print the timeline: %w", err)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the timeline: %w", err)
	}
	return nil
}

func (t *timeline) passage(at func(float64) time.Time, what string, p *flow.Passage) {
	var matched, not []string
	for _, d := range p.Decisions {
		if d.Matched {
			matched = append(matched, d.Trigger)
		} else {
			not = append(not, d.Trigger)
		}
	}
	if len(p.Deliveries) > 0 {
		t.add(at(p.Deliveries[0].Calls[0].Start), "broker", "%s fires %s; not %s", what, list(matched), list(not))
	}
	for _, d := range p.Deliveries {
		for _, c := range d.Calls {
			t.add(at(c.Start), "broker", "calls %s", d.Function)
			if d.Outcome == nil || c != d.Calls[len(d.Calls)-1] {
				t.add(at(c.Start+c.Took), d.Function, "answers %d %s", c.Status, c.Answer)
			}
		}
		if o := d.Outcome; o != nil {
			t.add(at(o.At), d.Function, "%s in %.1f ms: %s", strings.TrimSpace(o.Outcome+" "+o.Reason), o.Took, o.Message)
			if d.Next != nil {
				t.passage(at, "outcome of "+d.Function, d.Next)
			}
		}
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}
