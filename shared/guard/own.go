package guard

import (
	"os"
	"slices"
	"strings"

	"github.com/riposte-dev/riposte/shared/falco"
)

// home is the namespace that the shipped manifests put Riposte into.
const home = "riposte"

// OwnNamespace is the function's own namespace: the one that is set, else the one that Kubernetes mounts beside the
// ServiceAccount's token, else that of the shipped manifests.
func OwnNamespace(set string) string {
	if set != "" {
		return set
	}
	if b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace"); err == nil {
		return strings.TrimSpace(string(b))
	}
	return home
}

// user is who an audit event is about. An alert of another source has none, whatever fields it has.
func user(a falco.Alert) string {
	if strings.HasPrefix(a.Source, "syscall") {
		return ""
	}
	name, _ := a.Fields.String("ka.user.name")
	return name
}

// ownAction says whether the alert is about what a function of Riposte did, by the account that the API server
// authenticated. To answer it could raise the same alert again, and so without an end. config/falco/ keeps Falco from
// raising most of them.
//
// Only accounts in Riposte's own namespace count, where nobody else may create any: a name is free to choose elsewhere.
// Who tells people goes on to do so, because an account that does what it is not known for may have been stolen;
// but not about leases and events, which telling itself writes.
func (s Sane) ownAction(a falco.Alert) bool {
	account, found := strings.CutPrefix(user(a), "system:serviceaccount:")
	if !found {
		return false
	}
	namespace, name, _ := strings.Cut(account, ":")
	if !strings.HasPrefix(name, "riposte-") || namespace != home && namespace != OwnNamespace(s.OwnNamespace) {
		return false
	}
	resource, _ := a.Fields.String("ka.target.resource")
	return !s.Tells || slices.Contains([]string{"leases", "events"}, resource)
}
