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
		Name:    "dead-letter",
		Summary: "keeps the events that no attempt delivered.",
		RBAC:    rbac,
		// More than functions read: what they refuse for its size comes here.
		MaxBody: maxBody,
	}, newKeeper))
}

// Handle is the entry point of OpenFaaS's golang-http template. It is a variable because the func
// CLI refuses a package that declares both func New and func Handle.
var Handle = serve.OpenFaaS(New) //nolint:gochecknoglobals // See above.
