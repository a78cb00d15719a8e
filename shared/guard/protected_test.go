package guard_test

import (
	"testing"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/guard"
	"github.com/riposte-dev/riposte/shared/response"
)

func TestProtection(t *testing.T) {
	usual := guard.Protection{SkipDaemonSets: true, OwnNamespace: "security"}
	more := guard.Protection{SkipDaemonSets: true, OwnNamespace: "riposte", Namespaces: config.List{"prod-*", "*-db", "bank", "team-?"}}
	in := func(namespace string) guard.Subject { return guard.Subject{Namespace: namespace} }
	cases := map[string]struct {
		protection guard.Protection
		subject    guard.Subject
		want       response.Reason
	}{
		"an ordinary namespace":        {usual, in("shop"), ""},
		"default":                      {usual, in("default"), ""},
		"kube-system":                  {usual, in("kube-system"), response.ProtectedNamespace},
		"kube-public":                  {usual, in("kube-public"), response.ProtectedNamespace},
		"kube-node-lease":              {usual, in("kube-node-lease"), response.ProtectedNamespace},
		"falco":                        {usual, in("falco"), response.ProtectedNamespace},
		"riposte":                      {usual, in("riposte"), response.ProtectedNamespace},
		"knative-serving":              {usual, in("knative-serving"), response.ProtectedNamespace},
		"knative-eventing":             {usual, in("knative-eventing"), response.ProtectedNamespace},
		"openfaas":                     {usual, in("openfaas"), response.ProtectedNamespace},
		"openfaas-fn":                  {usual, in("openfaas-fn"), response.ProtectedNamespace},
		"the function's own namespace": {usual, in("security"), response.ProtectedNamespace},
		"a name that only begins so":   {usual, in("falco-demo"), ""},
		"a name that only ends so":     {usual, in("my-kube-system"), ""},
		"knative alone":                {usual, in("knative"), ""},
		"an own prefix":                {more, in("prod-eu"), response.ProtectedNamespace},
		"an own suffix":                {more, in("orders-db"), response.ProtectedNamespace},
		"an own name":                  {more, in("bank"), response.ProtectedNamespace},
		"an own pattern of one letter": {more, in("team-a"), response.ProtectedNamespace},
		"an own pattern of one letter, two given": {more, in("team-ab"), ""},
		"own names add to the built-in ones":      {more, in("kube-system"), response.ProtectedNamespace},
		"a target without namespace":              {more, guard.Subject{}, ""},
		"no own namespace protects no empty one":  {guard.Protection{}, guard.Subject{}, ""},
		"a control-plane node":                    {usual, guard.Subject{ControlPlaneNode: true}, response.ControlPlaneNode},
		"a static pod":                            {usual, guard.Subject{Namespace: "shop", StaticPod: true}, response.StaticPod},
		"a pod of a DaemonSet":                    {usual, guard.Subject{Namespace: "shop", DaemonSet: true}, response.DaemonSetPod},
		"a pod of a DaemonSet, allowed":           {guard.Protection{}, guard.Subject{Namespace: "shop", DaemonSet: true}, ""},
		"an annotation":                           {usual, guard.Subject{Namespace: "shop", Annotated: "Deployment web"}, response.ProtectedAnnotation},
		"the namespace before the node": {
			usual, guard.Subject{Namespace: "falco", ControlPlaneNode: true, StaticPod: true, DaemonSet: true, Annotated: "x"}, response.ProtectedNamespace,
		},
		"the node before the pod": {usual, guard.Subject{ControlPlaneNode: true, StaticPod: true, DaemonSet: true, Annotated: "x"}, response.ControlPlaneNode},
		"static before DaemonSet": {usual, guard.Subject{StaticPod: true, DaemonSet: true, Annotated: "x"}, response.StaticPod},
		"DaemonSet before annotation": {
			usual, guard.Subject{DaemonSet: true, Annotated: "x"}, response.DaemonSetPod,
		},
		"an allowed DaemonSet can be annotated": {guard.Protection{}, guard.Subject{DaemonSet: true, Annotated: "x"}, response.ProtectedAnnotation},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := refused(t, c.protection.Check(c.subject)); got != c.want {
				t.Errorf("reason is %q, want %q", got, c.want)
			}
		})
	}
}

func TestProtectionValidate(t *testing.T) {
	for pattern, valid := range map[string]bool{"prod-*": true, "team-?": true, "[a-c]-*": true, "[a-": false, `a\`: false, "payments shop": false, "payments;shop": false, "Payments": false, `"x"`: false} {
		err := guard.Protection{Namespaces: config.List{"ok", pattern}}.Validate()
		if (err == nil) != valid {
			t.Errorf("PROTECTED_NAMESPACES %q: %v", pattern, err)
		}
	}
}
