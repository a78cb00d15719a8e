package kube

import (
	"context"
	"fmt"
	"time"
)

// TokenFor makes a token, and says when and for how long.
func TokenFor(ctx context.Context, cluster string) (text string, made, expires time.Time, err error) {
	config, err := eksConfig(cluster) //nolint:contextcheck // It has one of its own, which outlives every request.
	if err != nil {
		return "", made, expires, err
	}
	c, ok := config.Transport.(*eksCluster)
	if !ok {
		return "", made, expires, fmt.Errorf("the transport is a %T", config.Transport)
	}
	err = c.sign(ctx)
	return c.token.text, c.token.made, c.token.expires, err
}
