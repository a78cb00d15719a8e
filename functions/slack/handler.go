package function

import (
	_ "embed"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
)

//go:embed rbac.yaml
var rbac string

// New is the entry point of Knative Functions (invoke: http) and of cmd.
func New() *serve.Function {
	return serve.New(serve.Define(serve.Info{
		Name:        "slack",
		Summary:     "posts alerts and outcomes to Slack.",
		Activity:    response.Notify,
		RBAC:        rbac,
		NeedsClaims: true,
		Tells:       true,
	}, newResponder))
}

// Handle is the entry point of OpenFaaS's golang-http template. It is a variable because the func
// CLI refuses a package that declares both func New and func Handle.
var Handle = serve.OpenFaaS(New) //nolint:gochecknoglobals // See above.
