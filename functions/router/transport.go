package function

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"knative.dev/eventing/pkg/kncloudevents"

	"github.com/riposte-dev/riposte/shared/outbound"
)

// redirected is an answer that points elsewhere. An event goes to no address but the configured one.
type redirected struct{ status int }

func (r *redirected) Error() string { return "answered with a redirect, which is not followed" }

// direct lets no request follow a redirect: a transport asks for the proxy of each, and those that follow one know the
// answer they were made for.
func direct(r *http.Request) (*url.URL, error) {
	if r.Response != nil {
		return nil, &redirected{r.Response.StatusCode}
	}
	return http.ProxyFromEnvironment(r)
}

// redirectOf is the status of a redirect that was not followed, or 0.
func redirectOf(err error) int {
	if r := (*redirected)(nil); errors.As(err, &r) {
		return r.status
	}
	return 0
}

// configureKnative makes the transport that Knative's dispatcher copies for each destination, which is the one way to
// tell it how to call. The first router of a process does, the next ones would find connections in use.
var configureKnative = sync.OnceFunc(func() { //nolint:gochecknoglobals // As global as what it sets.
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	http.DefaultTransport = &http.Transport{ //nolint:forbidigo // See above.
		Proxy: direct, DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 100, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: outbound.MaxHeader,
	}
	kncloudevents.ConfigureConnectionArgs(nil)
})
