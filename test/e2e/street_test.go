package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// street is the one address that the names of all Services lead to. What stands at each
// name is told apart by the Host header. A name at which nothing stands does not answer.
type street struct {
	address string
	server  *http.Server

	mu     sync.Mutex
	houses map[string]http.Handler
}

func newStreet(ctx context.Context) (*street, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &street{address: l.Addr().String(), houses: map[string]http.Handler{}}
	s.houses[s.address] = accepts() // What nobody looks at: traces that Knative exports.
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

func (s *street) close() { _ = s.server.Close() }

func (s *street) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	house := s.houses[r.Host]
	s.mu.Unlock()
	if house == nil {
		panic(http.ErrAbortHandler)
	}
	house.ServeHTTP(w, r)
}

// host is the name of a Service.
func host(namespace, service string) string { return service + "." + namespace + ".svc.cluster.local" }

// build puts a handler at the name of a Service, for real and embedded brokers alike.
func (s *street) build(t *testing.T, namespace, service string, house http.Handler) {
	t.Helper()
	name := host(namespace, service)
	s.mu.Lock()
	s.houses[name] = house
	s.mu.Unlock()
	names.Set(name, s.address)
	t.Cleanup(func() {
		names.Set(name, "")
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.houses, name)
	})
}

// lead passes requests on to an address, which may change. Where there is none, or nobody
// answers there, the connection is cut, as if it had been made straight.
func lead(address func() string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: address()})
			r.Out.Host = r.In.Host
		},
		Transport:    &http.Transport{DisableKeepAlives: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}

// call is a request that came to a Service.
type call struct {
	At     time.Time
	Host   string
	Path   string
	Header http.Header
	Body   []byte
	// Status is what was answered: 0 where the connection was cut, -1 while nothing is.
	Status int
	Reply  http.Header
	Answer []byte
}

// attributes are those of the CloudEvent.
func attributes(h http.Header) map[string]string {
	found := map[string]string{}
	for name, values := range h {
		if attribute, ok := strings.CutPrefix(strings.ToLower(name), "ce-"); ok {
			found[attribute] = values[0]
		}
	}
	return found
}

func (c call) id() string { return c.Header.Get("Ce-Id") }

// service is the first part of the host's name.
func (c call) service() string {
	name, _, _ := strings.Cut(c.Host, ".")
	return name
}

// journal writes down what comes to Services.
type journal struct {
	mu    sync.Mutex
	calls []*call
}

// of puts the journal in front of a handler.
func (j *journal) of(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c := &call{At: time.Now(), Host: r.Host, Path: r.URL.Path, Header: r.Header.Clone(), Body: body, Status: -1}
		j.mu.Lock()
		j.calls = append(j.calls, c)
		j.mu.Unlock()
		answer := &recorder{header: http.Header{}}
		defer func() { // Written down before it is answered: the answer is what sends a reply on its way.
			aborted := recover()
			j.mu.Lock()
			c.Status, c.Reply, c.Answer = answer.status, answer.header, answer.body.Bytes()
			j.mu.Unlock()
			if aborted != nil {
				panic(http.ErrAbortHandler)
			}
			maps.Copy(w.Header(), answer.header)
			w.WriteHeader(answer.status)
			_, _ = w.Write(answer.body.Bytes())
		}()
		next.ServeHTTP(answer, r)
		answer.WriteHeader(http.StatusOK)
	})
}

// recorder holds an answer back.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(b)
}

// all are the calls so far, in order of their begin.
func (j *journal) all() []call {
	j.mu.Lock()
	defer j.mu.Unlock()
	list := make([]call, len(j.calls))
	for i, c := range j.calls {
		list[i] = *c
	}
	return list
}

// to are the calls of a Service.
func (j *journal) to(service string) []call {
	return slices.DeleteFunc(j.all(), func(c call) bool { return c.service() != service })
}

// services are those that were called with the event, sorted; one that was called twice is there twice.
func (j *journal) services(id string) []string {
	called := []string{}
	for _, c := range j.all() {
		if c.id() == id {
			called = append(called, c.service())
		}
	}
	slices.Sort(called)
	return called
}

// finished says whether every call with the event has been answered.
func (j *journal) finished(id string) error {
	for _, c := range j.all() {
		if c.id() == id && c.Status == -1 {
			return fmt.Errorf("%s is at work", c.service())
		}
	}
	return nil
}
