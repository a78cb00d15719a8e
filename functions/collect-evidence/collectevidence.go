// Package function is collect-evidence: it stores what is known of the pod that raised the alert, before anything is done to
// that pod.
//
// A bundle is a folder of the artifact store: the pod's manifest, its owners, its events, the logs of its containers, their
// images, its node, and the alert. The manifest of the bundle, manifest.json, holds a SHA-256 of each file and is written
// last: a bundle without it is not complete. What cannot be had is left out, and the manifest says what and why. Nothing on
// the cluster is changed. docs/evidence.md tells the rest.
package function

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riposte-dev/riposte/shared/artifact"
	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/target"
)

// Config are the settings of collect-evidence.
type Config struct {
	ArtifactURL string        `env:"ARTIFACT_URL" required:"true" help:"Where evidence goes: s3://BUCKET/PREFIX?region=REGION&endpoint=URL&use_path_style=true, or file:///FOLDER."`
	LogLimit    Bytes         `env:"LOG_LIMIT_BYTES" envDefault:"10Mi" help:"Most that is kept of a container's log: of a longer one the beginning, and the end of a quarter of that or 1Mi."`
	PartTimeout time.Duration `env:"PART_TIMEOUT" envDefault:"8s" help:"Most that one part may take, such as the log of one container; what was read of a log until then is kept."`
	// The AWS SDK reads these itself.
	_ string `env:"AWS_REGION" help:"Region of the bucket, if ARTIFACT_URL does not name it; read by the AWS SDK, as are its other variables."`
	kube.Settings
}

// Validate checks what the types do not.
func (c Config) Validate() error {
	if err := artifact.Check(c.ArtifactURL); err != nil {
		return fmt.Errorf("ARTIFACT_URL is %q: %w", artifact.Shown(c.ArtifactURL), err)
	}
	if c.PartTimeout <= 0 {
		return fmt.Errorf("PART_TIMEOUT is %q: want more than nothing", c.PartTimeout)
	}
	return c.Settings.Validate()
}

// atOnce is how many logs the process reads at the same time: each holds up to 12 MiB on its way to a bucket.
const atOnce = 4

type responder struct {
	*target.PodFinder
	config Config
	common response.Settings
	client *kube.Client
	store  *artifact.Store
	slots  chan struct{}
}

func newResponder(c Config, common response.Settings) (response.Responder, error) {
	if c.PartTimeout >= common.Timeout {
		return nil, fmt.Errorf("PART_TIMEOUT is %q: want less than RESPONSE_TIMEOUT, %q", c.PartTimeout, common.Timeout)
	}
	client, err := kube.Connect(c.Settings, common, "riposte-collect-evidence")
	if err != nil {
		return nil, err
	}
	store, err := artifact.Open(c.ArtifactURL)
	if err != nil {
		return nil, fmt.Errorf("ARTIFACT_URL: %w", err)
	}
	return &responder{target.NewPodFinder(client, c.Settings, target.LevelPod), c, common, client, store, make(chan struct{}, atOnce)}, nil
}

// Respond implements response.Responder.
func (r *responder) Respond(ctx context.Context, alert falco.Alert) (response.Outcome, error) {
	found := target.FoundFrom(ctx)
	b := newBundle(r.store, r.common.DryRun, found, alert)
	m, err := b.earlier(ctx)
	if m != nil {
		o := b.outcome(*m, "was stored by an earlier attempt")
		o.Reason = response.Recovered
		return o, nil
	}
	if err == nil {
		err = r.collect(ctx, b, found, alert)
	}
	if err == nil {
		m, err = b.seal(ctx)
	}
	if err != nil {
		return response.Outcome{}, artifact.Classify(fmt.Errorf("store evidence: %w", errors.Join(err, ctx.Err())))
	}
	o := b.outcome(*m, "is stored")
	if len(m.Missing) > 0 {
		o.Reason = response.EvidencePartial
	}
	return o, nil
}
