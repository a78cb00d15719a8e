package testkit

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// patience bounds every wait: what takes a second on an idle machine gets this long on a busy one.
	patience = time.Minute
	// interval is the time between two looks.
	interval = 20 * time.Millisecond
)

// Eventually waits until check finds no fault.
func Eventually(tb testing.TB, what string, check func(context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeoutCause(tb.Context(), patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("wait until %s: %v; last seen: %v", what, context.Cause(ctx), err)
		case <-ticker.C:
		}
	}
}

// Await reads the object again until check finds no fault with it.
func (e *Env) Await(tb testing.TB, o Object, what string, check func() error) {
	tb.Helper()
	Eventually(tb, describe(o)+" "+what, func(ctx context.Context) error {
		if err := e.read(ctx, o); err != nil {
			return err
		}
		return check()
	})
}

// Gone waits until there is no object of that type and name.
func (e *Env) Gone(tb testing.TB, o Object) {
	tb.Helper()
	Eventually(tb, describe(o)+" is gone", func(ctx context.Context) error {
		err := send(ctx, e.client.Get().AbsPath(path(o, o.GetName())...), nil, nil)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = errors.New("it is there")
		}
		return err
	})
}
