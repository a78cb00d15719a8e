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
		Name:    "collect-evidence",
		Summary: "stores manifest, logs, events and node of the pod that raised the alert.",
		// OCSF's 99, Other: evidence remediates nothing, and the class leaves out D3FEND's Detect.
		Activity: response.Notify,
		RBAC:     rbac,
		// Two at once would write the same files, and the manifest of one might not fit those of the other.
		NeedsClaims: true,
	}, newResponder))
}

// Handle is the entry point of OpenFaaS's golang-http template. It is a variable because the func
// CLI refuses a package that declares both func New and func Handle.
var Handle = serve.OpenFaaS(New) //nolint:gochecknoglobals // See above.
