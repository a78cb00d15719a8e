package function

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
)

// collector is the function that stores evidence.
const collector = "collect-evidence"

// waiting are the settings of a deletion that comes after the evidence.
type waiting struct {
	Require time.Duration `env:"REQUIRE_EVIDENCE" envDefault:"0s" help:"Delete when collect-evidence has stored its bundle, or, without one, when the alert is so old; 0 does not wait."`
	Partial bool          `env:"PARTIAL_EVIDENCE" envDefault:"true" help:"A bundle in which parts are missing is evidence too."`
	// MaxAge is everybody's, read here too to be compared with.
	MaxAge time.Duration `env:"MAX_ALERT_AGE" envDefault:"10m" help:"Older alerts are refused; 0 accepts any age."`
}

// Validate refuses a deadline at which the alert would be too old to act on.
func (w waiting) Validate() error {
	switch {
	case w.Require < 0:
		return fmt.Errorf("REQUIRE_EVIDENCE is %q: want a duration that is not negative", w.Require)
	case w.MaxAge > 0 && w.Require >= w.MaxAge:
		return fmt.Errorf("REQUIRE_EVIDENCE is %q and MAX_ALERT_AGE is %q: want REQUIRE_EVIDENCE to be the shorter one, or alerts are too old by then", w.Require, w.MaxAge)
	}
	return nil
}

// Defer implements response.Deferrer: an alert by itself waits until its evidence would have come.
func (r *responder) Defer(ctx context.Context, alert falco.Alert, now time.Time) error {
	left := r.config.Require - now.Sub(alert.Time)
	if r.config.Require == 0 || left <= 0 || response.CauseFrom(ctx) != nil {
		return nil
	}
	err := fmt.Errorf("REQUIRE_EVIDENCE is %s: wait for the outcome of %s, %s at most", r.config.Require, collector, left.Round(time.Second))
	return response.DeferredError(err, left)
}

// evidence is what an outcome of collect-evidence says of its bundle.
type evidence struct {
	ManifestSHA256 string            `json:"manifest_sha256"`
	Missing        []json.RawMessage `json:"missing"`
	URL            string            `json:"url"`
}

// evidenceOf reads it. Whoever may send events to this function could have written it.
func evidenceOf(record response.Record) (evidence, error) {
	var e evidence
	b, err := json.Marshal(record.Details["artifacts"])
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	if err != nil {
		return evidence{}, fmt.Errorf("its artifacts cannot be read: %w", err)
	}
	const longest = 2048
	if u, err := url.Parse(e.URL); err != nil || u.Scheme == "" || u.Path == "" || len(e.URL) > longest {
		return evidence{}, fmt.Errorf("it names no place: url is %.80q", e.URL)
	}
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(e.ManifestSHA256) {
		return evidence{}, fmt.Errorf("it names no manifest: manifest_sha256 is %.80q", e.ManifestSHA256)
	}
	return e, nil
}

// Follow implements response.Follower: the go-ahead is a bundle that is stored. Everything else is left to the deadline.
func (r *responder) Follow(_ context.Context, record response.Record) *response.Outcome {
	dry := record.Outcome == response.DryRun && r.dryRun // what would be stored, before what would be deleted
	e, err := evidenceOf(record)
	var o response.Outcome
	switch {
	case r.config.Require == 0:
		o = response.Skip(response.NoEvidence, "REQUIRE_EVIDENCE is 0s, so alerts alone are acted on")
	case record.Response != collector:
		o = response.Skip(response.NoEvidence, "the outcome is of %.80q, not of %s", record.Response, collector)
	case record.Outcome != response.Applied && !dry:
		o = response.Skip(response.NoEvidence, "%s has stored nothing: its outcome is %.80q", collector, record.Outcome)
	case err != nil:
		o = response.Skip(response.NoEvidence, "the outcome of %s holds no evidence: %v", collector, err)
	case len(e.Missing) > 0 && !r.config.Partial:
		o = response.Skip(response.NoEvidence, "%d parts of the evidence are missing, and PARTIAL_EVIDENCE is false", len(e.Missing))
	default:
		return nil
	}
	return &o
}

// Target implements response.Targeter: the pod that the alert is about has to be the one that the evidence is of.
func (r *responder) Target(ctx context.Context, alert falco.Alert) (response.Target, *response.Outcome, error) {
	target, o, err := r.PodFinder.Target(ctx, alert)
	cause := response.CauseFrom(ctx)
	if o != nil || err != nil || cause == nil {
		return target, o, err
	}
	if cause.Target == nil || cause.Target.UID != target.UID {
		other := response.Skip(response.NoEvidence, "the evidence is of another pod than %s/%s", target.Namespace, target.Name)
		return target, &other, nil
	}
	return target, nil, nil
}

// witnessed adds to an outcome where the evidence is, or that there is none.
func (r *responder) witnessed(ctx context.Context, o response.Outcome) response.Outcome {
	if r.config.Require == 0 {
		return o
	}
	o.Details = map[string]any{"evidence": fmt.Sprintf("none: deadline of %s passed", r.config.Require)}
	if cause := response.CauseFrom(ctx); cause != nil {
		if e, err := evidenceOf(*cause); err == nil { // Follow has read it before
			o.Details["evidence"] = map[string]any{"manifest_sha256": e.ManifestSHA256, "missing": len(e.Missing), "url": e.URL}
		}
	}
	return o
}
