// Package gateway stands in for OpenFaaS's gateway and its queue-worker, with their documented routes:
//
//	POST /function/NAME        calls the function and answers with its answer
//	POST /async-function/NAME  queues the request and answers 202; the result goes to X-Callback-Url
//
// The queue-worker behaves as the Community Edition's: a call is made once, whatever comes of it, and its result is
// posted once. With [Options.Retries] it tries again what OpenFaaS Pro tries again. Functions are processes whose
// addresses are told, and may change or go away at any time.
//
// https://docs.openfaas.com/reference/async/ , https://docs.openfaas.com/openfaas-pro/retries/ and
// https://github.com/openfaas/nats-queue-worker/blob/master/main.go
package gateway

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Options say how the gateway works.
type Options struct {
	// Workers is how many queued calls are made at once: max_inflight, 1 in the Community Edition.
	Workers int
	// Retries is maxRetryAttempts, which is Pro's; Wait is initialRetryWait, doubled each time.
	Retries int
	Wait    time.Duration
}

// Gateway is a gateway with a queue. Close ends it.
type Gateway struct {
	options Options
	client  *http.Client
	queue   chan call
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu        sync.Mutex
	functions map[string]string
}

// call is one queued request.
type call struct {
	function, callback, id string
	header                 http.Header
	body                   []byte
	started                time.Time
}

// queueLength is far more than any test queues: what is accepted is never dropped.
const queueLength = 100_000

// New starts a gateway's queue-worker. The gateway itself is an http.Handler.
func New(ctx context.Context, options Options) *Gateway {
	ctx, cancel := context.WithCancel(ctx)
	g := &Gateway{
		options: options, cancel: cancel, queue: make(chan call, queueLength), functions: map[string]string{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute},
	}
	for range max(options.Workers, 1) {
		g.workers.Go(func() { g.work(ctx) })
	}
	return g
}

// Close stops the queue-worker. What is still queued is dropped.
func (g *Gateway) Close() {
	g.cancel()
	g.workers.Wait()
	g.client.CloseIdleConnections()
}

// Set says where a function is; an empty address takes it away.
func (g *Gateway) Set(function, address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if address == "" {
		delete(g.functions, function)
		return
	}
	g.functions[function] = address
}

// address is where a function is; names may carry their namespace, as in delete-pod.openfaas-fn.
func (g *Gateway) address(function string) string {
	name, _, _ := strings.Cut(function, ".")
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.functions[name]
}

// ServeHTTP serves the routes.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	_, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	name, _, _ := strings.Cut(rest, "/")
	switch {
	case strings.HasPrefix(r.URL.Path, "/function/"):
		status, header, answer := g.invoke(r.Context(), name, r.URL.RawQuery, r.Header, body)
		maps.Copy(w.Header(), header)
		w.WriteHeader(status)
		_, _ = w.Write(answer) //nolint:gosec // No browser reads it: a function's answer goes to its caller as it is.
	case strings.HasPrefix(r.URL.Path, "/async-function/") && r.Method == http.MethodPost:
		id := uuid.NewString()
		header := r.Header.Clone()
		header.Set("X-Call-Id", id)
		g.queue <- call{function: name, callback: r.Header.Get("X-Callback-Url"), id: id, header: header, body: body, started: time.Now()}
		w.Header().Set("X-Call-Id", id)
		w.WriteHeader(http.StatusAccepted)
	default:
		http.NotFound(w, r)
	}
}

// invoke calls a function. One that cannot be reached is a 502, one that does not exist a 404, as from the gateway.
func (g *Gateway) invoke(ctx context.Context, function, query string, header http.Header, body []byte) (int, http.Header, []byte) {
	address := g.address(function)
	if address == "" {
		return http.StatusNotFound, nil, []byte("error finding function " + function)
	}
	url := "http://" + address + "/"
	if query != "" {
		url += "?" + query
	}
	status, answered, answer, err := g.post(ctx, url, header, body)
	if err != nil {
		return http.StatusBadGateway, nil, []byte("Can't reach service for: " + function)
	}
	return status, answered, answer
}

func (g *Gateway) post(ctx context.Context, url string, header http.Header, body []byte) (int, http.Header, []byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body)) //nolint:gosec // A gateway calls what it is told to.
	if err != nil {
		return 0, nil, nil, err
	}
	request.Header = header.Clone()
	for _, hop := range []string{"Connection", "Content-Length", "Transfer-Encoding", "Accept-Encoding"} {
		request.Header.Del(hop)
	}
	response, err := g.client.Do(request) //nolint:gosec // As above.
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { _ = response.Body.Close() }() // It has been read.
	answer, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, answer, err
}

// work is the queue-worker.
func (g *Gateway) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-g.queue:
			g.run(ctx, c)
		}
	}
}

func (g *Gateway) run(ctx context.Context, c call) {
	status, header, answer := g.invoke(ctx, c.function, "", c.header, c.body)
	for try, wait := 0, g.options.Wait; try < g.options.Retries && retried(status); try, wait = try+1, 2*wait {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		status, header, answer = g.invoke(ctx, c.function, "", c.header, c.body)
	}
	if c.callback == "" {
		return
	}
	result := header.Clone()
	if result == nil {
		result = http.Header{}
	}
	result.Set("X-Duration-Seconds", strconv.FormatFloat(time.Since(c.started).Seconds(), 'f', 6, 64))
	result.Set("X-Function-Status", strconv.Itoa(status))
	result.Set("X-Function-Name", c.function)
	result.Set("X-Call-Id", c.id)
	// The queue-worker posts a result once, whatever comes of it.
	_, _, _, _ = g.post(ctx, c.callback, result, answer)
}

// retried are Pro's httpRetryCodes.
func retried(status int) bool {
	return slices.Contains([]int{429, 502, 500, 504, 408}, status)
}
