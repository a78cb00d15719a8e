package platforms

import (
	"slices"
	"testing"

	"github.com/riposte-dev/riposte/shared/testkit"
)

// The program of make build, which every other way of building is compared with.
func TestPlain(t *testing.T) {
	e := testkit.Cluster(t)
	for _, name := range functions(t) {
		t.Run(name, func(t *testing.T) {
			w, at := workFor(t, e, name), port(t)
			binary := testkit.Binary(t, name)
			p := started(t, binary, at, "healthz", slices.Concat(w.environ, []string{"LISTEN_ADDRESS=127.0.0.1:" + at}))
			figures.add(figure{name, "make build", size(t, binary), p.first})
			does(t, p.url, w)
		})
	}
}
