package serve

import (
	"context"
	"net/http"
	"net/url"

	handler "github.com/openfaas/templates-sdk/go-http"

	"github.com/riposte-dev/riposte/shared/config"
)

// OpenFaaS is what the golang-http template calls as function.Handle. The function starts with the
// process where OpenFaaS's watchdog runs it, so that a bad configuration shows at once.
// https://github.com/openfaas/of-watchdog : mode and upstream_url configure its HTTP mode.
func OpenFaaS(newFunction func() *Function) func(handler.Request) (handler.Response, error) {
	f := newFunction()
	if environ := config.Environ(); environ["mode"] == "http" && environ["upstream_url"] != "" {
		ctx := context.Background() //nolint:forbidigo // The template's process begins here.
		f.mustStart(ctx)
		go f.flushAtEnd(ctx)
	}
	return func(r handler.Request) (handler.Response, error) {
		f.mustStart(r.Context())
		var a answer
		if r.Method == http.MethodPost {
			query, _ := url.ParseQuery(r.QueryString) // What can be read of it counts, as in net/http.
			a = f.app.exchange(r.Context(), Request{Header: r.Header, Query: query, Body: r.Body})
		} else {
			a = f.refused(r.Context(), "method", wrongMethod(r.Method))
		}
		return handler.Response{StatusCode: a.status, Header: a.put(http.Header{}), Body: a.body}, nil
	}
}
