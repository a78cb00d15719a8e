package testkit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// lambdaPatience is how long the emulator waits for a bootstrap: to ask for an event, to answer it, to exit.
	lambdaPatience = 30 * time.Second
	lambdaVersion  = "/2018-06-01/runtime"
)

// Lambda is AWS Lambda as a function's bootstrap sees it: the Runtime API, version 2018-06-01, around one
// process that handles one event at a time.
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type Lambda struct {
	server *httptest.Server
	// events are what has been invoked and not yet fetched.
	events chan *invocation
	// failed is an error that the bootstrap reported of its own start.
	failed chan LambdaError
	exited chan struct{}
	log    lockedBuffer

	mu      sync.Mutex
	pending *invocation
	count   int
	code    int
}

// LambdaError is how a function failed, in Lambda's words.
type LambdaError struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

// LambdaAnswer is what became of an invocation.
type LambdaAnswer struct {
	// Payload is what the function returned; nil where it failed.
	Payload []byte
	// Error is how it failed; nil where it did not.
	Error *LambdaError
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	answer   chan LambdaAnswer
}

// StartLambda runs a bootstrap, with these variables (NAME=value) and those Lambda sets, until the test ends.
func StartLambda(tb testing.TB, bootstrap string, environ ...string) *Lambda {
	tb.Helper()
	l := &Lambda{events: make(chan *invocation), failed: make(chan LambdaError, 1), exited: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+lambdaVersion+"/invocation/next", l.next)
	mux.HandleFunc("POST "+lambdaVersion+"/invocation/{id}/response", l.respond)
	mux.HandleFunc("POST "+lambdaVersion+"/invocation/{id}/error", l.fail)
	mux.HandleFunc("POST "+lambdaVersion+"/init/error", l.failInit)
	l.server = httptest.NewServer(mux)

	process := exec.CommandContext(tb.Context(), bootstrap) // t.Context ends before the clean-ups, and the process with it
	process.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(l.server.URL, "http://"), "AWS_LAMBDA_FUNCTION_NAME=riposte",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128", "AWS_REGION=eu-west-1", "_HANDLER=bootstrap",
		"CLAIMS=memory", // The default there is a table of DynamoDB.
	}, environ...)
	process.Stdout, process.Stderr = &l.log, &l.log
	if err := process.Start(); err != nil {
		l.server.Close()
		tb.Fatalf("start the bootstrap: %v", err)
	}
	go func() {
		_ = process.Wait() // how it ended is in its state
		l.mu.Lock()
		l.code = process.ProcessState.ExitCode()
		l.mu.Unlock()
		close(l.exited)
	}()
	tb.Cleanup(func() {
		<-l.exited
		l.server.CloseClientConnections()
		l.server.Close()
		if tb.Failed() {
			tb.Logf("the bootstrap wrote:\n%s", l.log.String())
		}
	})
	return l
}

// Invoke sends one event and waits for the answer, as RequestResponse does.
func (l *Lambda) Invoke(tb testing.TB, payload []byte) LambdaAnswer {
	tb.Helper()
	l.mu.Lock()
	l.count++
	i := &invocation{
		id: fmt.Sprintf("00000000-0000-4000-8000-%012d", l.count), payload: payload,
		deadline: time.Now().Add(lambdaPatience), answer: make(chan LambdaAnswer, 1),
	}
	l.mu.Unlock()
	ctx, cancel := context.WithDeadline(tb.Context(), i.deadline)
	defer cancel()
	select {
	case l.events <- i:
	case e := <-l.failed:
		tb.Fatalf("the bootstrap could not start: %s: %s", e.Type, e.Message)
	case <-l.exited:
		tb.Fatalf("the bootstrap exited with status %d before it asked for an event", l.status())
	case <-ctx.Done():
		tb.Fatalf("the bootstrap did not ask for an event within %s", lambdaPatience)
	}
	select {
	case a := <-i.answer:
		return a
	case <-l.exited:
		tb.Fatalf("the bootstrap exited with status %d instead of answering", l.status())
	case <-ctx.Done():
		tb.Fatalf("the bootstrap did not answer within %s", lambdaPatience)
	}
	return LambdaAnswer{}
}

// Exit waits for the bootstrap to end by itself, and gives its status and what it wrote.
func (l *Lambda) Exit(tb testing.TB) (status int, log string) {
	tb.Helper()
	patience := time.NewTimer(lambdaPatience)
	defer patience.Stop()
	select {
	case <-l.exited:
	case <-patience.C:
		tb.Fatalf("the bootstrap did not exit within %s", lambdaPatience)
	}
	return l.status(), l.log.String()
}

func (l *Lambda) status() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code
}

// next gives out one event; a bootstrap that asks again without having answered breaks the API's rule.
func (l *Lambda) next(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	unanswered := l.pending != nil
	l.mu.Unlock()
	if unanswered {
		reject(w, http.StatusForbidden, "InvalidStateTransition", "the event before is not answered")
		return
	}
	select {
	case i := <-l.events:
		l.mu.Lock()
		l.pending = i
		l.mu.Unlock()
		for name, value := range map[string]string{
			"Content-Type":                        "application/json",
			"Lambda-Runtime-Aws-Request-Id":       i.id,
			"Lambda-Runtime-Deadline-Ms":          strconv.FormatInt(i.deadline.UnixMilli(), 10),
			"Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:riposte",
			"Lambda-Runtime-Trace-Id":             "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
		} {
			w.Header().Set(name, value)
		}
		_, _ = w.Write(i.payload) // a bootstrap that is gone answers nothing, which Invoke reports
	case <-r.Context().Done():
	}
}

func (l *Lambda) respond(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		reject(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	// A runtime that streams its answer reports a failure half-way in the trailers.
	if kind := r.Trailer.Get("Lambda-Runtime-Function-Error-Type"); kind != "" {
		l.complete(w, r, LambdaAnswer{Error: &LambdaError{Type: kind, Message: r.Trailer.Get("Lambda-Runtime-Function-Error-Body")}})
		return
	}
	l.complete(w, r, LambdaAnswer{Payload: body})
}

func (l *Lambda) fail(w http.ResponseWriter, r *http.Request) {
	e, err := readError(r)
	if err != nil {
		reject(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	l.complete(w, r, LambdaAnswer{Error: &e})
}

func (l *Lambda) failInit(w http.ResponseWriter, r *http.Request) {
	e, err := readError(r)
	if err != nil {
		reject(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	select {
	case l.failed <- e:
		accept(w)
	default:
		reject(w, http.StatusForbidden, "InvalidStateTransition", "the start has failed before")
	}
}

func (l *Lambda) complete(w http.ResponseWriter, r *http.Request, a LambdaAnswer) {
	l.mu.Lock()
	i := l.pending
	if i != nil && i.id == r.PathValue("id") {
		l.pending = nil
	} else {
		i = nil
	}
	l.mu.Unlock()
	if i == nil {
		reject(w, http.StatusBadRequest, "InvalidRequestID", "no such event is being handled")
		return
	}
	i.answer <- a
	accept(w)
}

func readError(r *http.Request) (LambdaError, error) {
	var e LambdaError
	if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
		return e, fmt.Errorf("read the error: %w", err)
	}
	if e.Message == "" || e.Type == "" {
		return e, errors.New("read the error: want errorMessage and errorType")
	}
	return e, nil
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
}

func reject(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(LambdaError{Message: message, Type: kind})
}

// lockedBuffer is a buffer that a process writes and a test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
