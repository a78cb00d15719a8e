package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// cluster is the one that the objects go to. It is nil where there is none that answers: that is said once, and nothing more
// is asked of it.
func (o Options) cluster(ctx context.Context, p *plan, objects []unstructured.Unstructured) *Cluster {
	cluster, err := Connect()
	if err != nil {
		p.miss("a cluster: %s", oneLine(err))
		return nil
	}
	for _, u := range objects {
		kind := u.GroupVersionKind()
		served, err := cluster.serves(kind)
		switch {
		case err != nil:
			p.miss("an answer of %s: %s", cluster.Host, oneLine(err))
			return nil
		case !served && !o.Undeploy:
			p.miss("the kind %s on %s: %s", kind.GroupKind(), cluster.Host, component(kind))
		}
	}
	if !o.Undeploy {
		p.namespaces(ctx, cluster, objects)
	}
	return cluster
}

// component is what serves a kind.
func component(kind schema.GroupVersionKind) string {
	group := kind.Group
	switch {
	case kind.Kind == "RabbitmqBrokerConfig": // It is not Knative Eventing's own, though its group is.
		return "install Knative's Broker for RabbitMQ, see docs/brokers.md"
	case group == "serving.knative.dev":
		return "install Knative Serving, https://knative.dev/docs/install/yaml-install/serving/"
	case group == "eventing.knative.dev", group == "sources.knative.dev", group == "messaging.knative.dev":
		return "install Knative Eventing, https://knative.dev/docs/install/yaml-install/eventing/"
	case strings.HasSuffix(group, "rabbitmq.com"):
		return "install RabbitMQ's cluster operator, https://www.rabbitmq.com/kubernetes/operator/install-operator"
	}
	return "install what serves " + group + ", see docs/brokers.md"
}

// namespaces says which namespaces nobody makes, and which are on their way out.
func (p *plan) namespaces(ctx context.Context, cluster *Cluster, objects []unstructured.Unstructured) {
	var names, made []string
	for _, u := range objects {
		if u.GetKind() == "Namespace" {
			made = append(made, u.GetName())
		}
		names = append(names, u.GetNamespace())
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if name == "" {
			continue
		}
		found, err := cluster.get(ctx, named("Namespace", "", name))
		switch {
		case apierrors.IsForbidden(err): // What is in it may be allowed.
		case err != nil:
			p.miss("a look at the namespace %s: %s", name, oneLine(err))
		case found == nil && name == functionsNamespace:
			p.miss("the namespace %s on %s: install OpenFaaS, https://docs.openfaas.com/deployment/kubernetes/", name, cluster.Host)
		case found == nil && !slices.Contains(made, name):
			p.miss("the namespace %s on %s: kubectl create namespace %s", name, cluster.Host, name)
		case found != nil && found.GetDeletionTimestamp() != nil:
			p.miss("the namespace %s, which is being deleted: wait until it is gone", name)
		}
	}
}

// named is a name for an object of the core group.
func named(kind, namespace, name string) unstructured.Unstructured {
	var u unstructured.Unstructured
	u.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: kind})
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// secrets says which Secrets, and keys of them, the functions read and neither the user nor the objects make.
func (p *plan) secrets(ctx context.Context, cluster *Cluster, objects []unstructured.Unstructured) {
	for _, u := range objects {
		for _, s := range secretsOf(u) {
			if !slices.ContainsFunc(objects, func(made unstructured.Unstructured) bool {
				return made.GetKind() == "Secret" && made.GetNamespace() == u.GetNamespace() && made.GetName() == s.name
			}) {
				p.secret(ctx, cluster, u.GetNamespace(), s)
			}
		}
	}
}

// secretKey is a key of a Secret, or with an empty key all of it.
type secretKey struct{ name, key string }

// secretsOf are those without which the workload's pods do not start.
func secretsOf(u unstructured.Unstructured) []secretKey {
	var out []secretKey
	add := func(holder any, nameField string, path ...string) {
		m, _ := holder.(map[string]any)
		ref, found, _ := unstructured.NestedMap(m, path...)
		if name, _ := ref[nameField].(string); found && name != "" && ref["optional"] != true {
			key, _ := ref["key"].(string)
			out = append(out, secretKey{name, key})
		}
	}
	for _, c := range containers(u) {
		env, _, _ := unstructured.NestedSlice(c, "env")
		for _, entry := range env {
			add(entry, "name", "valueFrom", "secretKeyRef")
		}
		from, _, _ := unstructured.NestedSlice(c, "envFrom")
		for _, entry := range from {
			add(entry, "name", "secretRef")
		}
	}
	volumes, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "volumes")
	for _, volume := range volumes {
		add(volume, "secretName", "secret")
	}
	return out
}

func (p *plan) secret(ctx context.Context, cluster *Cluster, namespace string, want secretKey) {
	found, err := cluster.get(ctx, named("Secret", namespace, want.name))
	if err != nil {
		p.miss("a look at the Secret %s/%s: %s", namespace, want.name, oneLine(err))
		return
	}
	what, literal := "the Secret "+want.name, "KEY"
	if want.key != "" {
		what, literal = fmt.Sprintf("the key %s of the Secret %s", want.key, want.name), want.key
	}
	if found != nil {
		if _, ok, _ := unstructured.NestedString(found.Object, "data", want.key); ok || want.key == "" {
			return
		}
	}
	p.miss("%s (or leave out, by FUNCTION, the function that reads it): kubectl create namespace %s; kubectl create secret generic %s -n %s --from-literal=%s=...",
		what, namespace, want.name, namespace, literal)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
