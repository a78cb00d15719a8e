package install

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/riposte-dev/riposte/deploy/source"
	"github.com/riposte-dev/riposte/deploy/stage"
)

// knative plans what is done on Knative: the overlay's objects, with images that ko or func builds.
func (o Options) knative(ctx context.Context, p *plan) error {
	all, err := Build(o.folder())
	if err != nil {
		return err
	}
	cluster, err := Connect()
	if err != nil {
		p.miss("a cluster: %s", oneLine(err))
		cluster = nil
	}
	if o.Undeploy {
		return o.remove(ctx, p, cluster, Own(all, o.Functions))
	}
	objects := Of(all, o.Functions)
	if cluster != nil {
		p.kinds(cluster, objects)
		p.secrets(ctx, cluster, objects)
	}
	if o.Registry == "" {
		p.miss("REGISTRY: where images go, such as ghcr.io/you")
	}
	if o.With == "func" {
		return o.withFunc(ctx, p, cluster, objects)
	}
	p.steps = append(p.steps, o.images(objects)...)
	o.apply(ctx, p, cluster, objects)
	return nil
}

// apply adds the steps that apply objects and wait for them.
func (o Options) apply(ctx context.Context, p *plan, cluster *Cluster, objects []unstructured.Unstructured) {
	for i := range objects {
		says := "apply " + Name(objects[i])
		if o.Plan && cluster != nil {
			if what, err := cluster.Apply(ctx, objects[i], true); err == nil {
				says = fmt.Sprintf("apply %s (%s)", Name(objects[i]), would(what))
			} else {
				says = fmt.Sprintf("apply %s, which fails now: %s", Name(objects[i]), oneLine(err))
			}
		}
		p.steps = append(p.steps, step{says, func(ctx context.Context) error {
			what, err := cluster.Apply(ctx, objects[i], false)
			if err == nil {
				o.say("  %s", what)
			}
			return err
		}})
	}
	if o.Wait > 0 {
		p.steps = append(p.steps, step{fmt.Sprintf("wait up to %s until all is ready", o.Wait), func(ctx context.Context) error {
			return cluster.Wait(ctx, objects, o.Wait)
		}})
	}
}

func would(what string) string {
	return map[string]string{Created: "new", Changed: "to be changed", Unchanged: Unchanged}[what]
}

// remove adds the steps that take objects away, those first that others needed last. The namespace stays: secrets and dead
// letters in it are the user's.
func (o Options) remove(ctx context.Context, p *plan, cluster *Cluster, objects []unstructured.Unstructured) error {
	for _, object := range slices.Backward(objects) {
		if kind := object.GetKind(); kind == "Namespace" || kind == "PersistentVolumeClaim" {
			p.steps = append(p.steps, step{"keep " + Name(object), func(context.Context) error { return nil }})
			continue
		}
		says := "delete " + Name(object)
		if o.Plan && cluster != nil {
			if what, err := cluster.Delete(ctx, object, true); err == nil && what == Absent {
				says += " (absent)"
			}
		}
		p.steps = append(p.steps, step{says, func(ctx context.Context) error {
			what, err := cluster.Delete(ctx, object, false)
			if err == nil {
				o.say("  %s", what)
			}
			return err
		}})
	}
	return nil
}

// withFunc adds the steps of func: it makes the Services, and events come by the overlay's Triggers alone.
func (o Options) withFunc(ctx context.Context, p *plan, cluster *Cluster, objects []unstructured.Unstructured) error {
	p.program("func", "https://knative.dev/docs/functions/install-func")
	functions, err := o.functions()
	if err != nil {
		return err
	}
	var theirs []source.Function
	services := map[string]unstructured.Unstructured{}
	for _, f := range functions {
		at := slices.IndexFunc(objects, func(u unstructured.Unstructured) bool { return isService(u) && u.GetName() == f.Name })
		if at < 0 { // It is no Knative Service, as dead-letter is none.
			continue
		}
		theirs, services[f.Name] = append(theirs, f), objects[at]
	}
	rest := slices.DeleteFunc(slices.Clone(objects), func(u unstructured.Unstructured) bool {
		return isService(u) && slices.ContainsFunc(theirs, func(f source.Function) bool { return f.Name == u.GetName() })
	})
	p.steps = append(p.steps, o.images(rest)...)
	waiting := o
	waiting.Wait = 0
	waiting.apply(ctx, p, cluster, rest)
	for _, f := range theirs {
		p.steps = append(p.steps, step{"stage " + f.Name + " without subscriptions", func(ctx context.Context) error {
			if _, err := stage.Stage(ctx, o.Root, stage.Func, f); err != nil {
				return err
			}
			return stage.Unsubscribe(filepath.Join(o.Root, stage.Folder(stage.Func, f.Name)))
		}})
		args := []string{"deploy", "--path", stage.Folder(stage.Func, f.Name), "--builder", "host", "--registry", o.Registry}
		for _, e := range differs(services[f.Name], f) {
			args = append(args, "--env", e)
		}
		p.steps = append(p.steps, o.command([]string{"GOWORK=off", "GOFLAGS=-trimpath -tags=lambda.norpc '-ldflags=-s -w'"}, "func", args...))
	}
	return nil
}

// differs are the variables that the overlay gives another value than func.yaml, NAME=value.
func differs(service unstructured.Unstructured, f source.Function) []string {
	own := map[string]string{}
	for _, e := range f.Run.Envs {
		own[e.Name] = e.Value
	}
	var out []string
	for _, c := range containers(service) {
		env, _, _ := unstructured.NestedSlice(c, "env")
		for _, entry := range env {
			e, _ := entry.(map[string]any)
			name, _ := e["name"].(string)
			if value, ok := e["value"].(string); ok && own[name] != value {
				out = append(out, name+"="+value)
			}
		}
	}
	return out
}

func isService(u unstructured.Unstructured) bool {
	return u.GroupVersionKind().GroupKind() == schema.GroupKind{Group: "serving.knative.dev", Kind: "Service"}
}

// containers are those of a workload's pods.
func containers(u unstructured.Unstructured) []map[string]any {
	found, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
	out := make([]map[string]any, 0, len(found))
	for _, c := range found {
		if c, ok := c.(map[string]any); ok {
			out = append(out, c)
		}
	}
	return out
}

// kinds says which of the cluster's components are missing.
func (p *plan) kinds(cluster *Cluster, objects []unstructured.Unstructured) {
	for _, u := range objects {
		kind := u.GroupVersionKind()
		served, err := cluster.serves(kind)
		if err != nil {
			p.miss("an answer of %s: %s", cluster.Host, oneLine(err))
			return
		}
		if !served {
			p.miss("the kind %s on %s: %s", kind.GroupKind(), cluster.Host, component(kind.Group))
		}
	}
}

// component is what serves the kinds of a group.
func component(group string) string {
	switch {
	case group == "serving.knative.dev":
		return "install Knative Serving, https://knative.dev/docs/install/yaml-install/serving/"
	case group == "eventing.knative.dev", group == "sources.knative.dev", group == "messaging.knative.dev":
		return "install Knative Eventing, https://knative.dev/docs/install/yaml-install/eventing/"
	case strings.HasSuffix(group, "rabbitmq.com"):
		return "install RabbitMQ's cluster operator, https://www.rabbitmq.com/kubernetes/operator/install-operator"
	}
	return "install what serves " + group + ", see docs/brokers.md"
}

// secrets says which Secrets, and keys of them, the functions read and nobody has made.
func (p *plan) secrets(ctx context.Context, cluster *Cluster, objects []unstructured.Unstructured) {
	for _, u := range objects {
		for _, c := range containers(u) {
			env, _, _ := unstructured.NestedSlice(c, "env")
			for _, entry := range env {
				e, _ := entry.(map[string]any)
				ref, found, _ := unstructured.NestedMap(e, "valueFrom", "secretKeyRef")
				if !found || ref["optional"] == true {
					continue
				}
				p.secret(ctx, cluster, u.GetNamespace(), fmt.Sprint(ref["name"]), fmt.Sprint(ref["key"]))
			}
		}
	}
}

func (p *plan) secret(ctx context.Context, cluster *Cluster, namespace, name, key string) {
	var want unstructured.Unstructured
	want.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "Secret"})
	want.SetNamespace(namespace)
	want.SetName(name)
	found, err := cluster.get(ctx, want)
	if err != nil {
		p.miss("a look at the Secret %s/%s: %s", namespace, name, oneLine(err))
		return
	}
	if found != nil {
		if _, ok, _ := unstructured.NestedString(found.Object, "data", key); ok {
			return
		}
	}
	p.miss("the key %s of the Secret %s (or leave out, by FUNCTION, the function that reads it): kubectl create namespace %s; kubectl create secret generic %s -n %s --from-literal=%s=...",
		key, name, namespace, name, namespace, key)
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
