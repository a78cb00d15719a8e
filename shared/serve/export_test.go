package serve

import (
	"context"
	"encoding/json"
	"io"
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
