package install

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	if o.Undeploy {
		own := Own(all, o.Functions)
		o.remove(ctx, p, o.cluster(ctx, p, own), own)
		return nil
	}
	objects := Of(all, o.Functions)
	cluster := o.cluster(ctx, p, objects)
	if cluster != nil {
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
		if cluster != nil {
			what, err := cluster.Apply(ctx, objects[i], true)
			switch {
			case apierrors.IsConflict(err) || apierrors.IsForbidden(err):
				p.miss("leave to %s", oneLine(err))
			case !o.Plan: // What else fails now may not when what comes before it is there.
			case err != nil:
				says += ", which fails now: " + oneLine(err)
			default:
				says += " (" + would(what, len(references(objects[i:i+1])) > 0) + ")"
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

// would says what would become of an object. Which image it will have is not known before it is built.
func would(what string, builds bool) string {
	if what == Unchanged && builds {
		return "unchanged, unless its image is another"
	}
	return map[string]string{Created: "new", Changed: "to be changed", Unchanged: Unchanged}[what]
}

// remove adds the steps that take objects away, those first that others needed last. The namespace stays: secrets and dead
// letters in it are the user's.
func (o Options) remove(ctx context.Context, p *plan, cluster *Cluster, objects []unstructured.Unstructured) {
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
		p.steps = append(p.steps, o.command([]string{"GOWORK=off", "GOFLAGS=-trimpath '-ldflags=-s -w'"}, "func", args...))
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
