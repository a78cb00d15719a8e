package function

import (
	"context"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

type snsConfig struct{}

func (snsConfig) Validate() error { return nil }

type snsInput struct{}

func newSNSInput(snsConfig) *snsInput { return &snsInput{} }

func isSNS(serve.Request) bool { return false }

func (*snsInput) open(context.Context, serve.Request) ([]response.Event, error) { return nil, nil }
