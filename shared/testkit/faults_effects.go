package testkit

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fault is what happens to some of a function's requests to the API server.
type Fault struct {
	// Verb and Resource say which requests, in RBAC's words: delete, pods/eviction. Empty means any.
	Verb, Resource string
	// After lets so many of them pass first.
	After int
	// Times is how many of them it happens to; 0 means all.
	Times int
	// Effect is what happens.
	Effect Effect

	fits    int
	once    sync.Once
	reached chan struct{}
}

// Reached is closed when the fault has met its first request.
func (f *Fault) Reached() <-chan struct{} { return f.reached }

func (f *Fault) reach() { f.once.Do(func() { close(f.reached) }) }

// Effect answers a request in the API server's place, or passes it on with next.
type Effect func(w http.ResponseWriter, r *http.Request, next http.Handler)

// Answers is an error of the API server, with a Retry-After in seconds unless that is 0.
func Answers(status, retryAfter int) Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		}
		if status == http.StatusTooManyRequests {
			// As priority and fairness says it.
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(status)
			_, _ = w.Write([]byte("Too many requests, please try again later.\n"))
			return
		}
		reason := map[int]metav1.StatusReason{
			http.StatusConflict: metav1.StatusReasonConflict, http.StatusForbidden: metav1.StatusReasonForbidden,
			http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
			http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
		}[status]
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   metav1.StatusFailure, Reason: reason, Code: int32(status), Message: "made up by a test", //nolint:gosec // A status fits.
		})
	}
}

// Says is a success that is none of the API server's, such as the page of a captive portal.
func Says(contentType, body string) Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body))
	}
}

// Hangs never answers.
func Hangs() Effect {
	return func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// HangsAfterwards lets the API server do its work and then does not answer.
func HangsAfterwards(done chan<- struct{}) Effect {
	return func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		close(done)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
}

// Resets cuts the connection before the API server has seen the request.
func Resets() Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { reset(w) }
}

// ResetsAfterwards lets the API server do its work and cuts the connection instead of answering.
func ResetsAfterwards() Effect {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		reset(w)
	}
}

// reset ends a connection as a crash of the other side would: with a TCP reset.
func reset(w http.ResponseWriter) {
	connection, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := connection.(interface{ NetConn() net.Conn }); ok {
		connection = t.NetConn()
	}
	if t, ok := connection.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = connection.Close()
}

// Truncates sends half of the API server's answer and cuts the connection.
func Truncates() Effect {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Header.Del("Accept-Encoding") // half of a compressed body is another fault
		whole := httptest.NewRecorder()
		next.ServeHTTP(whole, r)
		for name, values := range whole.Header() {
			if !strings.EqualFold(name, "Content-Length") {
				w.Header()[name] = values
			}
		}
		w.Header().Set("Content-Length", strconv.Itoa(whole.Body.Len()))
		w.WriteHeader(whole.Code)
		_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// Meanwhile lets somebody else act before the API server sees the request.
func Meanwhile(act func()) Effect {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		act()
		next.ServeHTTP(w, r)
	}
}
