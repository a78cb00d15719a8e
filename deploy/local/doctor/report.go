package doctor

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// The hops of every way. Functions have hops of their own beside these: "delete-pod received", "delete-pod answered".
const (
	HopWatch   = "doctor watches"
	HopEntry   = "entry answered"
	HopBroker  = "Broker had it"
	HopOutcome = "outcome came back"
	HopMatch   = "router matched"
)

// State is what is known of a hop.
type State string

// The states.
const (
	// OK: the alert has passed.
	OK State = "ok"
	// Failed: the alert did not arrive here, or was refused.
	Failed State = "failed"
)

// Hop is one station of the way.
type Hop struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// After is when, since the alert was sent. Hops that tell the time by another machine's clock can be off by its error.
	After time.Duration `json:"after_ns"`
	// Detail says what was seen.
	Detail string `json:"detail"`
	// Look says what to look at where the hop failed.
	Look string `json:"look,omitempty"`
}

// Report is what became of one canary: the hops that it reached, in their order. Behind a hop that failed there are none.
type Report struct {
	Run     string    `json:"run"`
	AlertID string    `json:"alert_id,omitempty"`
	Sent    time.Time `json:"sent,omitzero"`
	Hops    []Hop     `json:"hops"`
}

// Failed is the first hop that failed; nil if the way is whole.
func (r Report) Failed() *Hop {
	for i := range r.Hops {
		if r.Hops[i].State == Failed {
			return &r.Hops[i]
		}
	}
	return nil
}

func (r *Report) pass(name string, after time.Duration, detail string) {
	r.Hops = append(r.Hops, Hop{Name: name, State: OK, After: after, Detail: detail})
}

// fail notes a hop that failed. The look of a *Problem counts more than the one given.
func (r *Report) fail(name string, after time.Duration, err error, look string) {
	var p *Problem
	if errors.As(err, &p) && p.Look != "" {
		look = p.Look
	}
	r.Hops = append(r.Hops, Hop{Name: name, State: Failed, After: after, Detail: err.Error(), Look: look})
}

// Write prints the hops as a table, and under it the verdict.
func (r Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "HOP\tAFTER\tSTATE\tDETAIL") // tabwriter keeps its first error for Flush.
	for _, hop := range r.Hops {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", hop.Name, milliseconds(hop.After), hop.State, hop.Detail)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	_, err := io.WriteString(w, r.verdict())
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (r Report) verdict() string {
	failed := r.Failed()
	if failed == nil {
		return fmt.Sprintf("The way is whole (alert %s).\n", r.AlertID)
	}
	text := fmt.Sprintf("Not whole: %s: %s.\n", failed.Name, strings.TrimSuffix(failed.Detail, "."))
	if failed.Look != "" {
		text += "Look at " + failed.Look + ".\n"
	}
	return text
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
