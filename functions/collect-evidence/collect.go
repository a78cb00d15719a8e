package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/kube"
	"github.com/riposte-dev/riposte/shared/target"
)

// collect reads all parts at once and stores each as it comes. Its error is the store's, or that of a caller who has given
// up: a part that cannot be read is noted in the bundle and keeps nothing else from being stored.
func (r *responder) collect(ctx context.Context, b *bundle, found *target.Found, alert falco.Alert) error {
	until, ok := ctx.Deadline()
	if !ok {
		until = time.Now().Add(r.common.Timeout)
	}
	// The last fifth of the time is for what is on its way to the store, and for the manifest.
	reading, cancel := context.WithDeadlineCause(ctx, until.Add(-r.common.Timeout/5), errors.New("the time for reading is over"))
	defer cancel()
	c := &collector{responder: r, bundle: b, found: found, reading: reading, over: func() error { return context.Cause(reading) }}
	group, all := errgroup.WithContext(ctx)
	for name, read := range map[string]func(context.Context) (any, error){
		"pod.json": c.pod, "owners.json": c.owners, "events.json": c.events, "node.json": c.node,
		"images.json": func(context.Context) (any, error) { return images(found.Pod), nil },
		"alert.json":  func(context.Context) (any, error) { return alert, nil },
	} {
		group.Go(func() error { return c.json(all, name, read) })
	}
	for _, l := range c.logs() {
		group.Go(func() error { return c.log(all, l) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	c.sameStill(ctx)
	return nil
}

// collector reads the parts of one bundle.
type collector struct {
	*responder
	*bundle
	found *target.Found
	// reading bounds all reading, and over says why where it has ended.
	reading context.Context
	over    func() error
}

// part is the time for one part.
func (c *collector) part(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.PartTimeout, fmt.Errorf("not within %s", c.config.PartTimeout))
	stop := context.AfterFunc(c.reading, cancel)
	return ctx, func() { stop(); cancel() }
}

// reason says why a part could not be had.
func (c *collector) reason(ctx context.Context, err error) string {
	if cause := c.over(); cause != nil {
		return cause.Error()
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause.Error()
	}
	return err.Error()
}

// json stores what read gives. Nothing at all is not stored.
func (c *collector) json(ctx context.Context, name string, read func(context.Context) (any, error)) error {
	part, cancel := c.part(ctx)
	defer cancel()
	value, err := read(part)
	if err != nil {
		c.lacks(name, c.reason(part, err))
	}
	if value == nil {
		return nil
	}
	body, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		c.lacks(name, err.Error())
		return nil
	}
	return c.put(ctx, name, "application/json", body)
}

// sameStill looks at the end whether the pod is still the one that was verified. Logs are asked for by name: if another
// pod has taken the name meanwhile, some may be that one's.
func (c *collector) sameStill(ctx context.Context) {
	ctx, cancel := c.part(ctx)
	defer cancel()
	var now metav1.PartialObjectMetadata
	err := c.client.Get(ctx, kube.Pods, c.found.Pod.Namespace, c.found.Pod.Name, &now)
	switch {
	case apierrors.IsNotFound(err):
		c.lacks("logs", "the pod went away while they were read: some may be cut off")
	case err != nil:
		c.lacks("logs", "whether all are of this pod could not be seen in the end: "+c.reason(ctx, err))
	case now.UID != c.found.Pod.UID:
		c.lacks("logs", "another pod took the name while they were read: some may be of that one")
	}
}
