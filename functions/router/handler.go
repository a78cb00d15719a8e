package function

import (
	_ "embed"

	"github.com/riposte-dev/riposte/shared/serve"
)

//go:embed rbac.yaml
var rbac string

// New is the entry point of Knative Functions (invoke: http) and of cmd.
func New() *serve.Function {
	return serve.New(serve.DefineService(serve.Info{
		Name:    "router",
		Summary: "takes raw alerts and outcomes, and delivers them by Triggers where there is no Broker, or to one.",
		RBAC:    rbac,
	}, newRouter))
}

// Handle is the entry point of OpenFaaS's golang-http template. It is a variable because the func
// CLI refuses a package that declares both func New and func Handle.
var Handle = serve.OpenFaaS(New) //nolint:gochecknoglobals // See above.
