package kube

import (
	"context"
	"fmt"
	"time"
)

// TokenFor makes a token, and says how long it is used.
func TokenFor(ctx context.Context, cluster string) (text string, expires time.Time, err error) {
	config, err := eksConfig(cluster) //nolint:contextcheck // It has one of its own, which outlives every request.
	if err != nil {
		return "", expires, err
	}
	c, ok := config.Transport.(*eksCluster)
	if !ok {
		return "", expires, fmt.Errorf("the transport is a %T", config.Transport)
	}
	err = c.sign(ctx)
	return c.token.text, c.token.expires, err
}
