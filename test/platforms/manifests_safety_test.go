package platforms

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// acting are the overlays in which functions do what they are for.
func acting() []string { return []string{"enforce"} }

// userSecrets are the Secrets that whoever deploys makes, by the keys that are needed.
func userSecrets() map[string]string {
	return map[string]string{"riposte-router": "token", "riposte-slack": "webhook-url"}
}

// Nothing acts but in the overlay whose name says so, and there everything does.
func TestDryRunIsTheDefault(t *testing.T) {
	harmless := []string{"router", "dead-letter", "intake-router"}
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			want := "true"
			if slices.Contains(acting(), overlay) {
				want = "false"
			}
			for _, w := range workloads(t, objects) {
				got, ok := w.environ()["DRY_RUN"]
				if slices.Contains(harmless, w.GetName()) {
					continue
				}
				if !ok || got.Value != want || got.ValueFrom != nil {
					t.Errorf("%s has DRY_RUN %q: want %q", called(w.Unstructured), got.Value, want)
				}
			}
		})
	}
}

// Containers have nothing they could do without: no root, no files to write, no capabilities, no bound that is missing.
func TestContainersAreConfined(t *testing.T) {
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			for _, w := range workloads(t, objects) {
				pod := w.pod
				if pod.HostNetwork || pod.HostPID || pod.HostIPC || len(pod.InitContainers) > 0 || len(pod.Containers) != 1 {
					t.Errorf("%s has more than one container, or its node's namespaces", called(w.Unstructured))
				}
				for _, v := range pod.Volumes {
					if v.HostPath != nil || v.EmptyDir != nil {
						t.Errorf("%s has the volume %s of its node", called(w.Unstructured), v.Name)
					}
				}
				c := pod.Containers[0]
				s := c.SecurityContext
				nonRoot := s != nil && (set(s.RunAsNonRoot) || pod.SecurityContext != nil && set(pod.SecurityContext.RunAsNonRoot))
				switch {
				case !nonRoot:
					t.Errorf("%s may run as root", called(w.Unstructured))
				case !set(s.ReadOnlyRootFilesystem):
					t.Errorf("%s may write its files", called(w.Unstructured))
				case s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || set(s.Privileged):
					t.Errorf("%s may become privileged", called(w.Unstructured))
				case s.Capabilities == nil || len(s.Capabilities.Add) > 0 || !slices.Contains(s.Capabilities.Drop, "ALL"):
					t.Errorf("%s has capabilities", called(w.Unstructured))
				}
				if c.Resources.Limits.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() {
					t.Errorf("%s has the resources %v: want a request and a limit of CPU and memory", called(w.Unstructured), c.Resources)
				}
				if c.LivenessProbe == nil || c.ReadinessProbe == nil {
					t.Errorf("%s has not both probes", called(w.Unstructured))
				}
				function, ours := strings.CutPrefix(c.Image, "ko://github.com/riposte-dev/riposte/functions/")
				function, main := strings.CutSuffix(function, "/cmd")
				if !ours || !main || !slices.Contains(functions(t), function) {
					t.Errorf("%s has the image %s: want one that ko builds of a function", called(w.Unstructured), c.Image)
				}
				if w.GetKind() == "Service" && w.GetLabels()["networking.knative.dev/visibility"] != "cluster-local" {
					t.Errorf("%s has an address outside of the cluster", called(w.Unstructured))
				}
			}
		})
	}
}

func set(b *bool) bool { return b != nil && *b }

// No function has another's rights: each has an account of its own, bound to roles of its own.
func TestAccountsAreNotShared(t *testing.T) {
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			users := map[string]string{}
			for _, w := range workloads(t, objects) {
				account, function := w.pod.ServiceAccountName, w.GetLabels()["app.kubernetes.io/name"]
				if account != "riposte-"+function || !has(objects, "v1", "ServiceAccount", account) {
					t.Errorf("%s of %s runs as %q", called(w.Unstructured), function, account)
				}
				if other := users[account]; other != "" {
					t.Errorf("%s runs as %s, as %s does", called(w.Unstructured), account, other)
				}
				users[account] = called(w.Unstructured)
			}
			for _, kind := range []string{"RoleBinding", "ClusterRoleBinding"} {
				for _, o := range find(objects, "rbac.authorization.k8s.io/v1", kind) {
					subjects, _, _ := unstructured.NestedSlice(o.Object, "subjects")
					role, _, _ := unstructured.NestedString(o.Object, "roleRef", "name")
					if len(subjects) != 1 || subjects[0].(map[string]any)["name"] != o.GetName() || role != o.GetName() || users[o.GetName()] == "" {
						t.Errorf("%s gives %s to %v: want a function's own account and role", called(o), role, subjects)
					}
				}
			}
		})
	}
}

// The namespace lets nobody less confined in. RabbitMQ's Broker needs more, which its component says.
func TestNamespaceIsRestricted(t *testing.T) {
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			want := map[string]string{"enforce": "restricted", "audit": "restricted", "warn": "restricted"}
			if overlay == "broker-rabbitmq" {
				want["enforce"] = "baseline"
			}
			got := map[string]string{}
			for label, value := range find(objects, "v1", "Namespace")[0].GetLabels() {
				if mode, ok := strings.CutPrefix(label, "pod-security.kubernetes.io/"); ok {
					got[mode] = value
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// policies are the NetworkPolicies of an overlay.
func policies(t *testing.T, objects []*unstructured.Unstructured) []networkingv1.NetworkPolicy {
	t.Helper()
	var all []networkingv1.NetworkPolicy
	for _, o := range find(objects, "networking.k8s.io/v1", "NetworkPolicy") {
		var p networkingv1.NetworkPolicy
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// matches says whether a selector, as NetworkPolicies have them, takes these labels.
func matches(t *testing.T, selector *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(of))
}

// peer is a pod somewhere.
type peer struct {
	namespace string
	labels    map[string]string
}

// admits says whether a peer of a rule is this pod.
func admits(t *testing.T, rule []networkingv1.NetworkPolicyPeer, from peer) bool {
	t.Helper()
	return len(rule) == 0 || slices.ContainsFunc(rule, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return false
		}
		here := p.NamespaceSelector == nil && from.namespace == "riposte" ||
			p.NamespaceSelector != nil && matches(t, p.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": from.namespace})
		return here && (p.PodSelector == nil || matches(t, p.PodSelector, from.labels))
	})
}

// reaches says whether the policies let a pod speak to one of the namespace.
func reaches(t *testing.T, all []networkingv1.NetworkPolicy, from peer, to map[string]string) bool {
	t.Helper()
	return slices.ContainsFunc(all, func(p networkingv1.NetworkPolicy) bool {
		return slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) && matches(t, &p.Spec.PodSelector, to) &&
			slices.ContainsFunc(p.Spec.Ingress, func(r networkingv1.NetworkPolicyIngressRule) bool { return admits(t, r.From, from) })
	})
}

// sends says whether the policies let a pod of the namespace speak to one elsewhere, on this port.
func sends(t *testing.T, all []networkingv1.NetworkPolicy, from map[string]string, to peer, port int32) bool {
	t.Helper()
	return slices.ContainsFunc(all, func(p networkingv1.NetworkPolicy) bool {
		return slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) && matches(t, &p.Spec.PodSelector, from) &&
			slices.ContainsFunc(p.Spec.Egress, func(r networkingv1.NetworkPolicyEgressRule) bool {
				return admits(t, r.To, to) && (len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.IntVal == port }))
			})
	})
}

// Whatever is not meant to be reached is not: each pod by those that have to, and by no other.
func TestNetworkPolicies(t *testing.T) {
	dispatcher := map[string]string{"eventing.knative.dev/broker": "intake", "eventing.knative.dev/brokerRole": "dispatcher"}
	last := map[string]string{"eventing.knative.dev/broker": "intake", "eventing.knative.dev/brokerRole": "dispatcher-dlq"}
	ingress := map[string]string{"eventing.knative.dev/broker": "intake", "eventing.knative.dev/brokerRole": "ingress"}
	from := map[string]peer{
		"the activator": {"knative-serving", nil}, "a gateway": {"kourier-system", nil}, "the Broker": {"knative-eventing", nil}, "Falcosidekick": {"falco", nil},
		"RabbitMQ's dispatcher": {"riposte", dispatcher}, "RabbitMQ's ingress": {"riposte", ingress}, "RabbitMQ's dispatcher of dead letters": {"riposte", last},
		"the router": {"riposte", map[string]string{"serving.knative.dev/service": "router"}}, "the intake's router": {"riposte", map[string]string{"app.kubernetes.io/name": "router"}},
		"a function": {"riposte", map[string]string{"serving.knative.dev/service": "slack", "app.kubernetes.io/name": "slack"}},
		"a workload": {"shop", map[string]string{"serving.knative.dev/service": "router", "eventing.knative.dev/brokerRole": "dispatcher"}},
	}
	serving := []string{"a gateway", "the Broker", "the activator"}
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			all := policies(t, objects)
			rabbit := overlay == "broker-rabbitmq"
			for _, w := range workloads(t, objects) {
				if !slices.ContainsFunc(all, func(p networkingv1.NetworkPolicy) bool {
					return matches(t, &p.Spec.PodSelector, w.labels) && len(p.Spec.PolicyTypes) == 2 && len(p.Spec.Ingress)+len(p.Spec.Egress) == 0
				}) {
					t.Errorf("%s is not cut off to begin with", called(w.Unstructured))
				}
				want := slices.Clone(serving)
				switch {
				case w.GetName() == "dead-letter" && rabbit:
					want = []string{"RabbitMQ's dispatcher", "RabbitMQ's dispatcher of dead letters", "the Broker", "the intake's router", "the router"}
				case w.GetName() == "dead-letter":
					want = []string{"the Broker", "the router"}
				case w.GetName() == "router":
					want = append(want, "Falcosidekick")
				case w.GetName() == "intake-router":
					want = []string{"RabbitMQ's dispatcher"}
				case rabbit:
					want = append(want, "the intake's router")
				}
				var got []string
				for name, p := range from {
					if reaches(t, all, p, w.labels) {
						got = append(got, name)
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s is reached by others than it should be: %s", called(w.Unstructured), diff)
				}
				for to, may := range map[address]bool{
					{"kube-system", 53}: true, {"monitoring", 4317}: true, {"monitoring", 4318}: true, {"shop", 80}: false, {"shop", 22}: false, {"shop", 5432}: false,
					{"knative-eventing", 8080}: w.GetName() == "router",
					{"kourier-system", 8081}:   w.GetName() == "intake-router",
					{"elsewhere", 443}:         w.GetKind() == "Service",
				} {
					if got := sends(t, all, w.labels, peer{namespace: to.namespace}, to.port); got != may {
						t.Errorf("%s may speak to %s on %d: %t", called(w.Unstructured), to.namespace, to.port, got)
					}
				}
			}
			if rabbit && (!reaches(t, all, from["Falcosidekick"], ingress) || reaches(t, all, from["a workload"], ingress) || reaches(t, all, from["a function"], ingress)) {
				t.Error("RabbitMQ's ingress is reached by others than Falcosidekick")
			}
		})
	}
}

// address is where a pod speaks to.
type address struct {
	namespace string
	port      int32
}

// What manifests refer to is there, or is what docs/knative.md and docs/helm.md tell to make.
func TestReferencesAreThere(t *testing.T) {
	docs := map[string]string{}
	for _, name := range []string{"knative.md", "helm.md"} {
		doc, err := os.ReadFile(filepath.Join(testkit.Root(t), "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		docs[name] = string(doc)
	}
	for overlay, objects := range overlays(t) {
		t.Run(overlay, func(t *testing.T) {
			secrets := map[string]string{}
			for _, w := range workloads(t, objects) {
				for _, e := range w.pod.Containers[0].Env {
					if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
						secrets[e.ValueFrom.SecretKeyRef.Name] = e.ValueFrom.SecretKeyRef.Key
					}
				}
				for _, e := range w.pod.Containers[0].EnvFrom {
					if e.ConfigMapRef == nil || !has(objects, "v1", "ConfigMap", e.ConfigMapRef.Name) {
						t.Errorf("%s takes variables from %v, which is not there", called(w.Unstructured), e)
					}
				}
				for _, v := range w.pod.Volumes {
					if v.Secret != nil || v.ConfigMap != nil && !has(objects, "v1", "ConfigMap", v.ConfigMap.Name) ||
						v.PersistentVolumeClaim != nil && !has(objects, "v1", "PersistentVolumeClaim", v.PersistentVolumeClaim.ClaimName) {
						t.Errorf("%s has the volume %s of what is not there", called(w.Unstructured), v.Name)
					}
				}
			}
			want := userSecrets()
			if overlay == "broker-rabbitmq" {
				delete(want, "riposte-router") // Its router asks nobody for a token.
			}
			if diff := cmp.Diff(want, secrets); diff != "" {
				t.Errorf("the Secrets are not those of docs/knative.md: %s", diff)
			}
			for name, key := range want {
				for doc, text := range docs {
					if !strings.Contains(text, "create secret generic "+name+" -n riposte --from-literal="+key+"=") {
						t.Errorf("docs/%s does not say how the Secret %s with the key %s is made", doc, name, key)
					}
				}
			}
			reached := 0
			for _, o := range objects {
				for _, field := range [][]string{{"spec", "subscriber", "ref"}, {"spec", "delivery", "deadLetterSink", "ref"}, {"spec", "sink", "ref"}, {"spec", "config"}} {
					ref, found, err := unstructured.NestedStringMap(o.Object, field...)
					if !found {
						continue
					}
					reached++
					if err != nil || !has(objects, ref["apiVersion"], ref["kind"], ref["name"]) {
						t.Errorf("%s refers by %s to %v, which is not there: %v", called(o), strings.Join(field, "."), ref, err)
					}
				}
				broker, found, _ := unstructured.NestedString(o.Object, "spec", "broker")
				if found && !has(objects, "eventing.knative.dev/v1", "Broker", broker) {
					t.Errorf("%s is of the Broker %s, which is not there", called(o), broker)
				}
			}
			if reached < 4 {
				t.Errorf("there are only %d references", reached)
			}
		})
	}
}

// Senders that the Broker knows by their token: the router, the clock and whoever answers, each with its own events.
func TestOIDCAdmitsNobodyElse(t *testing.T) {
	objects := kustomized(t, "deploy/knative/overlays/oidc")
	want := map[string]bool{"system:serviceaccount:riposte:riposte-router": true, "PingSource release": true}
	for _, o := range find(objects, "eventing.knative.dev/v1", "Trigger") {
		want[called(o)] = true
	}
	got := map[string]bool{}
	for _, o := range find(objects, "eventing.knative.dev/v1alpha1", "EventPolicy") {
		from, _, _ := unstructured.NestedSlice(o.Object, "spec", "from")
		for _, f := range from {
			sender, _, _ := unstructured.NestedString(f.(map[string]any), "sub")
			if ref, found, _ := unstructured.NestedStringMap(f.(map[string]any), "ref"); found {
				sender = ref["kind"] + " " + ref["name"]
			}
			if got[sender] {
				t.Errorf("%s is in two policies, of which Knative asks one", sender)
			}
			got[sender] = true
		}
		if filters, _, _ := unstructured.NestedSlice(o.Object, "spec", "filters"); len(filters) == 0 {
			t.Errorf("%s lets its senders send any event", called(o))
		}
		to, _, _ := unstructured.NestedSlice(o.Object, "spec", "to")
		if len(to) != 1 {
			t.Errorf("%s is for %v", called(o), to)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Error(diff)
	}
	at := slices.IndexFunc(workloads(t, objects), func(w workload) bool { return w.GetName() == "router" })
	router := workloads(t, objects)[at]
	file, c := router.environ()["FUNCTION_TOKEN_FILE"].Value, router.pod.Containers[0]
	if len(c.VolumeMounts) != 1 || len(router.pod.Volumes) != 1 || router.pod.Volumes[0].Projected == nil {
		t.Fatalf("the router has the volumes %v", router.pod.Volumes)
	}
	token := router.pod.Volumes[0].Projected.Sources[0].ServiceAccountToken
	if token == nil || token.Audience != "eventing.knative.dev/broker/riposte/default" || file != c.VolumeMounts[0].MountPath+"/"+token.Path {
		t.Errorf("the router shows %v, which is at %s", token, file)
	}
}
