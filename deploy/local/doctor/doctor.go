// Package doctor proves that the way of an alert is whole, because nobody else notices a silent loss: Falcosidekick
// counts an alert that its Broker refused as sent, and an alert that no Trigger takes leaves no trace.
//
// It sends one marked alert (falco.CanaryRule), on which no function acts, to an entry: Falcosidekick, a Broker's
// ingress or Riposte's router. Then it looks at each hop: did the entry answer, did the Broker have the alert, did
// the function receive and answer it, did the outcome come back. With a Broker it sees this by two Triggers of its
// own, which exist for this run only; the router says it in its answer.
//
// [Run] is the whole of it. Its [Report] names the first hop that failed and what to look at.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// Options say what to prove.
type Options struct {
	Entry Entry
	// Function is the one that the canary's Trigger names, Namespace that of both.
	Function, Namespace string
	// Priority of the alert. It must pass the minimum priority of the entry.
	Priority falco.Priority
	// Taps show what passes through the Broker; nil where there is none to look into.
	Taps Taps
	// Listener is where the Broker's copies arrive, Advertise how the Broker reaches it. Run closes the listener.
	// Both go with Taps.
	Listener  net.Listener
	Advertise *url.URL
	// Timeout bounds the way of the alert, from the moment it is sent. Ready bounds the time until the taps see events.
	Timeout time.Duration
	Ready   time.Duration
	Now     func() time.Time
}

// closing bounds how long the taps may take to be removed, after a signal too.
const closing = 15 * time.Second

// Taps let the doctor see the events that pass through a Broker.
type Taps interface {
	// Open returns when the taps see events. Its error is a *Problem where there is something to look at.
	Open(ctx context.Context, taps []Tap) error
	// Close removes what Open made, all of it or less, if it was interrupted.
	Close(ctx context.Context) error
}

// Problem is a failed hop.
type Problem struct {
	Detail string
	// Look says where the cause is likely to be found.
	Look string
}

// Error is the detail.
func (p *Problem) Error() string { return p.Detail }

// Run sends the canary and reports on its way. The error is about the doctor itself: it was interrupted, or could not
// clean up. A way that is not whole is no error; see [Report.Failed].
func Run(ctx context.Context, o Options) (report Report, err error) {
	run := newRun(o)
	if o.Taps != nil {
		inbox := newInbox(run.alert.ID())
		stop := inbox.serve(o.Listener)
		defer stop()
		defer func() {
			finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
			defer cancel()
			if failed := o.Taps.Close(finish); failed != nil {
				err = errors.Join(err, fmt.Errorf("clean up: %w", failed))
			}
		}()
		run.inbox = inbox
		if !run.open(ctx) {
			return run.report, context.Cause(ctx)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, errTimeout)
	defer cancel()
	if run.send(ctx) && run.inbox != nil {
		run.await(ctx)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errTimeout) {
		return run.report, cause
	}
	return run.report, nil
}

var errTimeout = errors.New("no answer in time")

// running is one run.
type running struct {
	Options

	id     string
	alert  falco.Alert
	inbox  *inbox
	report Report
}

func newRun(o Options) *running {
	id := uuid.NewString()[:8]
	now := o.Now().UTC()
	return &running{
		Options: o, id: id,
		alert: falco.Alert{
			Rule: falco.CanaryRule, Priority: o.Priority, Time: now, Source: "syscall",
			// The one attribute that an alert carries unchanged through every entry and that is this run's own.
			Hostname: "riposte-doctor-" + id,
			Tags:     []string{"riposte_canary"},
			Output:   "Riposte canary: a marked alert that proves that alerts arrive; nothing has happened and no function acts on it",
			Fields:   falco.Fields{"evt.type": "canary", "riposte.run": id},
		},
		report: Report{Run: id},
	}
}

func (r *running) open(ctx context.Context) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Ready, errTimeout)
	defer cancel()
	start := r.Now()
	err := r.Taps.Open(ctx, []Tap{
		{
			Name: "doctor-" + r.id + "-alert", URI: r.Advertise.JoinPath(r.inbox.alertPath).String(),
			Types:      []string{falco.TypeFalcosidekick, falco.TypeRiposte},
			Attributes: map[string]string{"rule": falco.CanaryRule, "hostname": r.alert.Hostname},
		},
		{
			Name: "doctor-" + r.id + "-outcome", URI: r.Advertise.JoinPath(r.inbox.outcomePath).String(),
			Types:      []string{response.TypeOutcome},
			Attributes: map[string]string{"alertid": r.alert.ID(), "response": r.Function},
		},
	})
	took := "after " + milliseconds(r.Now().Sub(start))
	if err != nil {
		r.report.fail(HopWatch, 0, err, "")
		return false
	}
	r.report.pass(HopWatch, 0, "the doctor's own Triggers are ready, "+took)
	return true
}

// send posts the alert, and reads the hops where the entry names them.
func (r *running) send(ctx context.Context) bool {
	r.report.AlertID, r.report.Sent = r.alert.ID(), r.Now()
	answer, err := r.Entry.post(ctx, r.alert)
	took := r.Now().Sub(r.report.Sent)
	if err != nil {
		look := r.Entry.look(err)
		if errors.Is(err, errTimeout) {
			err = fmt.Errorf("no answer within %s", r.Timeout)
		}
		r.report.fail(HopEntry, took, err, look)
		return false
	}
	r.report.pass(HopEntry, took, fmt.Sprintf("%s answered %d", r.Entry.Kind, answer.status))
	if r.Entry.Kind == Router {
		return r.report.router(answer, r.Function, r.Entry.AcceptQueued, r.Taps != nil)
	}
	return true
}

// await waits for the copies of the alert and of its outcome, and for no longer than the deadline.
func (r *running) await(ctx context.Context) {
	var alert, outcome *arrival
	for alert == nil || outcome == nil {
		select {
		case a := <-r.inbox.alerts:
			alert = firstOf(alert, &a)
		case o := <-r.inbox.outcomes:
			outcome = firstOf(outcome, &o)
		case <-ctx.Done():
			waited := "within " + r.Timeout.String()
			if !errors.Is(context.Cause(ctx), errTimeout) {
				waited = "before the doctor was interrupted"
			}
			r.judge(alert, outcome, waited)
			return
		}
	}
	r.judge(alert, outcome, "")
}

// firstOf keeps the first of two: a Broker may deliver more than once.
func firstOf(first, next *arrival) *arrival {
	if first != nil {
		return first
	}
	return next
}
