package function

import (
	"context"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

type pubSubConfig struct{}

func (pubSubConfig) Validate() error { return nil }

type pubSubInput struct{}

func newPubSubInput(pubSubConfig) *pubSubInput { return &pubSubInput{} }

func (*pubSubInput) takes(serve.Request) bool { return false }

func (*pubSubInput) open(context.Context, serve.Request) ([]response.Event, error) { return nil, nil }
