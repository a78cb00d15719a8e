package testkit

import (
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Proxy stands between one function and the API server: it writes down what the function asks for, and can make
// requests fail. It changes nothing in what it passes on.
type Proxy struct {
	// Kubeconfig leads through the proxy; it is the account's.
	Kubeconfig string

	env     *Env
	account *Account
	forward http.Handler

	mu     sync.Mutex
	faults []*Fault
	seen   []*Request
}

// Request is a request of the function to the API server.
type Request struct {
	Method, Path string
	Query        url.Values
	Body         []byte
	// Permission is what RBAC asks for.
	Permission
	Namespace, Name string
	// Status is what was answered; 0 where the connection was cut.
	Status int
}

// String is delete pods shop/cart-0.
func (r Request) String() string {
	return strings.TrimSuffix(r.Verb+" "+r.Resource+" "+strings.Trim(r.Namespace+"/"+r.Name, "/"), " ")
}

// Changes says whether the request is one that changes objects.
func (r Request) Changes() bool { return r.Method != http.MethodGet }

// DryRun says whether the API server was told to store nothing. A deletion's options are in its body, where the
// API server ignores the query.
func (r Request) DryRun() bool {
	if r.Method == http.MethodDelete {
		return regexp.MustCompile(`"dryRun":\["All"\]`).Match(r.Body)
	}
	return slices.Equal(r.Query["dryRun"], []string{"All"})
}

// NewProxy starts a proxy for the account.
func (e *Env) NewProxy(tb testing.TB, account *Account) *Proxy {
	tb.Helper()
	upstream, err := url.Parse(e.Config.Host)
	if err != nil {
		tb.Fatalf("read the address of the API server: %v", err)
	}
	p := &Proxy{env: e, account: account, forward: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport: e.transport,
		// The function went away before the answer came: nobody is left to be told.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	server := httptest.NewUnstartedServer(p)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections cut on purpose
	life, end := context.WithCancel(context.WithoutCancel(tb.Context()))
	server.Config.BaseContext = func(net.Listener) context.Context { return life }
	server.StartTLS()
	tb.Cleanup(func() {
		end() // lets go of what is held
		server.CloseClientConnections()
		server.Close()
	})
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	p.Kubeconfig = account.kubeconfig(tb, server.URL, ca)
	return p
}

// ServeHTTP notes a request and passes it on, through the first fault that fits.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	request := parseRequest(r, body)
	p.mu.Lock()
	p.seen = append(p.seen, request)
	fault := p.take(request)
	p.mu.Unlock()

	status := &statusWriter{ResponseWriter: w}
	defer func() {
		p.mu.Lock()
		request.Status = status.status
		p.mu.Unlock()
	}()
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		allowed := &statusWriter{ResponseWriter: w}
		defer func() {
			if allowed.status != 0 && allowed.status != http.StatusForbidden && allowed.status != http.StatusUnauthorized {
				p.env.use(p.account.Function, request.Permission)
			}
		}()
		p.forward.ServeHTTP(allowed, r)
	})
	if fault == nil {
		next.ServeHTTP(status, r)
		return
	}
	fault.reach()
	fault.Effect(status, r, next)
}

// Inject makes the requests fail that fit.
func (p *Proxy) Inject(f *Fault) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f.reached = make(chan struct{})
	p.faults = append(p.faults, f)
	return f
}

// Heal takes all faults out.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
}

// Forget clears the list of requests.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = nil
}

// Requests are all requests so far.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Request, len(p.seen))
	for i, r := range p.seen {
		list[i] = *r
	}
	return list
}

// Bookkeeping says whether the request is about the function's own records, not about what it acts on: the Leases of
// claims and budgets, and the Events that tell of outcomes.
func (r Request) Bookkeeping() bool { return r.Resource == "leases" || r.Resource == "events" }

// Changes are the requests so far that would change objects, but for the function's own records.
func (p *Proxy) Changes() []Request {
	return slices.DeleteFunc(p.Requests(), func(r Request) bool { return !r.Changes() || r.Bookkeeping() })
}

// Changed are the changes as text, such as "delete pods shop/cart-0".
func (p *Proxy) Changed() []string {
	list := []string{}
	for _, r := range p.Changes() {
		list = append(list, r.String())
	}
	return list
}

// take is the fault for a request, if one fits.
func (p *Proxy) take(r *Request) *Fault {
	for _, f := range p.faults {
		if (f.Verb == "" || f.Verb == r.Verb) && (f.Resource == "" || f.Resource == r.Resource) {
			f.fits++
			if f.fits > f.After && (f.Times == 0 || f.fits <= f.After+f.Times) {
				return f
			}
		}
	}
	return nil
}

// parseRequest reads a path of the API as RBAC does.
// https://kubernetes.io/docs/reference/access-authn-authz/authorization/#determine-the-request-verb
func parseRequest(r *http.Request, body []byte) *Request {
	request := &Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Body: body}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if parts[0] == "apis" && len(parts) > 2 {
		request.Group, parts = parts[1], parts[3:]
	} else {
		parts = parts[min(2, len(parts)):]
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		request.Namespace, parts = parts[1], parts[2:]
	}
	if len(parts) > 0 {
		request.Resource = parts[0]
	}
	if len(parts) > 1 {
		request.Name = parts[1]
	}
	if len(parts) > 2 {
		request.Resource += "/" + parts[2]
	}
	request.Verb = map[string]string{
		http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[r.Method]
	if request.Verb == "get" && request.Name == "" {
		request.Verb = "list"
	}
	if request.Verb == "delete" && request.Name == "" {
		request.Verb = "deletecollection"
	}
	return request
}

// statusWriter notes the status.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader notes the status and passes it on.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
