package serve

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/riposte-dev/riposte/shared/config"
	"github.com/riposte-dev/riposte/shared/response"
)

// Function is a response ready to be hosted. Its methods are those Knative Functions looks for in an
// instance (https://github.com/knative/func, invoke: http): Start, Handle, Ready, Alive and Stop.
type Function struct {
	spec    Spec
	once    sync.Once
	err     error
	inner   *response.Function
	common  *Settings
	metrics *metrics
	pages   http.Handler
	slots   chan struct{}
}

// atOnce bounds how many requests are worked on at the same time, so that many large ones cannot fill the memory.
const atOnce = 32

// New makes a function of spec. Settings are read at Start, so that --help works without any.
func New(spec Spec) *Function {
	return &Function{spec: spec}
}

// Start reads the settings and builds the response. The error names every bad variable.
func (f *Function) Start(_ context.Context, environ map[string]string) error {
	return f.load(environ)
}

func (f *Function) load(environ map[string]string) error {
	f.once.Do(func() {
		f.metrics = newMetrics()
		f.inner, f.common, f.err = f.spec.function(environ, f.metrics.observe)
		f.slots = make(chan struct{}, atOnce)
		if f.err == nil {
			f.pages = f.routes()
		}
	})
	return f.err
}

// mustStart starts a function whose host has no hook for it, and stops the process where that is impossible.
func (f *Function) mustStart() {
	if err := f.load(config.Environ()); err != nil {
		fatal(f.spec.Name, err)
	}
}

// fatal says what is wrong with the configuration and exits with status 2.
func fatal(name string, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, line)
	}
	os.Exit(2)
}

// Handle answers one HTTP request, whatever its path: events by POST, and the health and metrics pages.
func (f *Function) Handle(w http.ResponseWriter, r *http.Request) {
	f.mustStart()
	f.pages.ServeHTTP(w, r)
}

// Ready says whether the function can take alerts.
func (f *Function) Ready(context.Context) (bool, error) {
	f.mustStart()
	return true, nil
}

// Alive says whether the process works.
func (f *Function) Alive(context.Context) (bool, error) { return true, nil }

// Stop has nothing to do: a request in flight is finished by the server, and nothing is kept in memory.
func (f *Function) Stop(context.Context) error { return nil }

// authenticate compares the bearer token in constant time, if one is configured.
func (f *Function) authenticate(header http.Header) (ok bool, err error) {
	if !f.common.AuthToken.IsSet() {
		return true, nil
	}
	want, err := f.common.AuthToken.Read()
	if err != nil {
		return false, err
	}
	scheme, got, found := strings.Cut(header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(strings.TrimSpace(got))), sha256.Sum256([]byte(strings.TrimSpace(want)))
	same := subtle.ConstantTimeCompare(a[:], b[:]) == 1
	return found && strings.EqualFold(scheme, "Bearer") && same, nil
}
