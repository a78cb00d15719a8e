package broker

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	knbroker "knative.dev/eventing/pkg/broker"
	"knative.dev/eventing/pkg/reconciler/sugar/trigger/path"
)

// observeIngress puts checks and reports around Knative's ingress. A web page on
// another host cannot post events through a name that it leads to this machine.
func (p *plane) observeIngress(address string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != address && r.Host != p.ingressHost && !loopback(r.Host) {
			http.Error(w, "the Host header names another machine", http.StatusForbidden)
			return
		}
		recorder := &statusRecorder{ResponseWriter: w}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil { // Too large, or the client went away.
			http.Error(recorder, "the body cannot be read: "+err.Error(), http.StatusRequestEntityTooLarge)
		} else {
			r.Body = io.NopCloser(bytes.NewReader(body))
			p.ingress.ServeHTTP(recorder, r)
		}
		if recorder.status >= http.StatusBadRequest && recorder.status < http.StatusInternalServerError {
			p.watch.rejected(recorder.status)
		}
	})
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}

// serveInner is what is behind the names of Knative's Services and of the dead-letter
// sinks.
func (p *plane) serveInner(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 2*maxBody))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	e, err := parse(r, body)
	if err != nil {
		http.Error(w, "not a CloudEvent", http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case p.deadLetters[r.Host]:
		p.watch.deadLettered(e)
		w.WriteHeader(http.StatusAccepted)
	case r.Host == p.filterHost:
		p.serveFilter(w, r, e)
	default:
		p.watch.accepted(r.Context(), e)
		p.channels.ServeHTTP(w, r)
	}
}

// serveFilter reports what Knative's filter does with an event for one trigger. That
// it opens a connection is how a call of the function shows: an event that the filter
// holds back gets an empty 200, as one does that a function answers with nothing.
func (p *plane) serveFilter(w http.ResponseWriter, r *http.Request, e event.Event) {
	ref, err := path.Parse(r.RequestURI)
	if err != nil {
		p.filter.ServeHTTP(w, r)
		return
	}
	var attempt atomic.Pointer[Attempt]
	begin := func(string) {
		if attempt.Load() == nil {
			attempt.CompareAndSwap(nil, p.watch.calling(e, ref.Namespace, ref.Name))
		}
	}
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GetConn: begin})
	recorder := &answerRecorder{header: http.Header{}}
	p.filter.ServeHTTP(recorder, r.WithContext(ctx))
	// Reported before it is answered: the answer is what sends a reply back in.
	if a := attempt.Load(); a != nil {
		p.watch.delivered(r.Context(), *a, recorder)
	}
	recorder.shorten()
	recorder.copyTo(w)
}

func parse(r *http.Request, body []byte) (event.Event, error) {
	request := &http.Request{Header: r.Header.Clone(), Body: io.NopCloser(bytes.NewReader(body))}
	e, err := cehttp.NewEventFromHTTPRequest(request.WithContext(r.Context()))
	if err != nil {
		return event.Event{}, err
	}
	return *e, nil
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (s *statusRecorder) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// answerRecorder holds what the filter answers.
type answerRecorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answerRecorder) Header() http.Header { return a.header }

func (a *answerRecorder) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answerRecorder) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

func (a *answerRecorder) copyTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	a.WriteHeader(http.StatusOK)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // Who called is gone; the call has been made.
}

// maxAnswer is the longest answer of a failed call that Knative's dispatcher can put into
// a dead letter. It panics at a longer one, and the whole process ends.
const maxAnswer = 768

// shorten cuts the answer of a failed call to what Knative's dispatcher can take.
func (a *answerRecorder) shorten() {
	var wrapped knbroker.ErrExtensionInfo
	if err := json.Unmarshal(a.body.Bytes(), &wrapped); err != nil || a.status < http.StatusMultipleChoices || len(wrapped.ErrResponseBody) <= maxAnswer {
		return
	}
	wrapped.ErrResponseBody = wrapped.ErrResponseBody[:maxAnswer]
	if cut, err := json.Marshal(wrapped); err == nil {
		a.body.Reset()
		a.body.Write(cut)
	}
}

// reply is the event the function answered with, if it did.
func (a *answerRecorder) reply() *event.Event {
	e, err := cehttp.NewEventFromHTTPResponse(&http.Response{
		StatusCode: a.status, Header: a.header.Clone(), Body: io.NopCloser(bytes.NewReader(a.body.Bytes())),
	})
	if err != nil {
		return nil
	}
	return e
}

// answer is what the function said instead, out of the wrapping the filter puts
// around failures.
func (a *answerRecorder) answer() string {
	var wrapped knbroker.ErrExtensionInfo
	if err := json.Unmarshal(a.body.Bytes(), &wrapped); err == nil {
		return strings.TrimSpace(string(wrapped.ErrResponseBody))
	}
	if a.status == http.StatusBadGateway && a.body.Len() == 0 {
		return "the answer was no CloudEvent"
	}
	return ""
}
