package function

import (
	"context"

	"github.com/riposte-dev/riposte/shared/serve"
)

type natsConfig struct{}

func (natsConfig) Validate() error { return nil }

type natsInput struct{}

func newNATSInput(natsConfig, serve.Host, intake, func(ctx context.Context, raw []byte, why error) error) (*natsInput, error) {
	return &natsInput{}, nil
}

func (*natsInput) run(ctx context.Context) error { <-ctx.Done(); return nil }

func (*natsInput) ready() error { return nil }
