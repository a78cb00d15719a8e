package serve

import (
	"context"
	"encoding/json"
	"io"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
)

// Lambda is what a bootstrap hands to AWS's runtime.
func (f *Function) Lambda(ctx context.Context, payload json.RawMessage) (any, error) {
	return f.app.lambda(ctx, payload)
}

// Help is what --help writes.
func (s Spec) Help(w io.Writer) error { return s.help(w) }

// Markdown is what --help=markdown writes.
func (s Spec) Markdown(w io.Writer) error { return s.markdown(w) }

// Hosting are the settings of a function that runs its own server.
type Hosting = hosting

// Survive turns a panic into an error.
var Survive = survive

// Repeats are what a function of an activity makes repeats harmless with, in a store.
func Repeats(s store.Store, a response.Activity) response.Repeats {
	return keeping{}.repeats(s, Info{Name: "recorder", Activity: a}, Settings{})
}

// Scope tells deployments of a spec apart.
func (s Spec) Scope(environ map[string]string) string { return scope(environ, s.alone()) }

// Keeps is where claims are kept with these settings.
func Keeps(claims, kubeconfig, cluster string, environ map[string]string) string {
	return keeping{Claims: claims, Kubeconfig: kubeconfig, Cluster: cluster}.where(environ)
}
