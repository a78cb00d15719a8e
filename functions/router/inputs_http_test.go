package function

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/riposte-dev/riposte/shared/auth"
	"github.com/riposte-dev/riposte/shared/outbound"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/testkit/pki"
)

// page is an answer of the outside.
type page struct {
	status int
	body   []byte
}

// outside is every host there is: one server with TLS and one without, which answer by address and keep what is asked.
type outside struct {
	mu        sync.Mutex
	pages     map[string]page
	asked     []string
	away      bool
	transport *http.Transport
}

func newOutside(t *testing.T, hosts ...string) *outside {
	t.Helper()
	o := &outside{pages: map[string]page{}}
	ca := pki.New(t, "Web CA")
	plain := httptest.NewServer(http.HandlerFunc(o.serve))
	t.Cleanup(plain.Close)
	secure := httptest.NewUnstartedServer(http.HandlerFunc(o.serve))
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, pki.Leaf{Names: hosts}).TLS()}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	o.transport = &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: ca.Pool()},
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			server := plain
			if strings.HasSuffix(address, ":443") {
				server = secure
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
		},
	}
	t.Cleanup(o.transport.CloseIdleConnections)
	return o
}

func (o *outside) serve(w http.ResponseWriter, r *http.Request) {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	address := scheme + r.Host + r.URL.RequestURI()
	o.mu.Lock()
	o.asked = append(o.asked, address)
	answer, found := o.pages[address]
	o.mu.Unlock()
	if !found {
		answer = page{status: http.StatusNotFound}
	}
	w.WriteHeader(answer.status)
	_, _ = w.Write(answer.body)
}

// Do is that of shared/outbound's client, which has a transport of its own.
func (o *outside) Do(r *http.Request) (*http.Response, error) {
	o.mu.Lock()
	away := o.away
	o.mu.Unlock()
	if away {
		return nil, response.TransientError(errors.New("connection refused"), 0)
	}
	resp, err := outbound.Once(o.transport, r, 1<<20)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		_ = resp.Body.Close()
		return nil, &response.Error{Kind: outbound.Kind(resp.StatusCode), Err: fmt.Errorf("answered %d", resp.StatusCode)}
	}
	return resp, nil
}

func (o *outside) put(address string, status int, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pages[address] = page{status, body}
}

func (o *outside) disappear(away bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = away
}

// requests are the addresses asked for since the last time.
func (o *outside) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked := slices.Clone(o.asked)
	o.asked = nil
	return asked
}

// The ways an input can answer.
const (
	accepted        = "accepted"
	unauthenticated = "unauthenticated"
)

// verdict is what an input says of a request, in one word.
func verdict(err error) string {
	switch {
	case err == nil:
		return accepted
	case errors.Is(err, auth.ErrUnauthenticated):
		return unauthenticated
	}
	return response.KindOf(err).String()
}
