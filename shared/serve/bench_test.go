package serve_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/falco"
	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/serve"
	"github.com/riposte-dev/riposte/shared/testkit"
)

// BenchmarkDecode is the way from a request to its events, in each form.
func BenchmarkDecode(b *testing.B) {
	alert := testkit.Find(b, "02").Alert
	for name, r := range map[string]*http.Request{
		"bare":       forms["Falcosidekick's webhook"](b, testkit.Find(b, "02"), ""),
		"binary":     forms["Falcosidekick's CloudEvent"](b, testkit.Find(b, "02"), ""),
		"structured": forms["a structured CloudEvent"](b, testkit.Find(b, "02"), ""),
		"batch": post(b, "", "application/cloudevents-batch+json",
			[]byte("["+strings.Repeat(string(structured(alert))+",", 9)+string(structured(alert))+"]")),
	} {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := serve.Decode(b.Context(), serve.Request{Header: r.Header, Body: body}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// onPod is a recorder that acts on one pod.
type onPod struct{ recorder }

func (*onPod) Target(context.Context, falco.Alert) (response.Target, *response.Outcome, error) {
	return response.Target{Kind: "Pod", Resource: "pods", Namespace: "default", Name: "web-7d9c6b8f5-x2x9k", UID: "u-1"}, nil, nil
}

// nowhere is an http.ResponseWriter that keeps the status.
type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(status int)      { n.status = status }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }

// silent is a function that answers alerts of any age from its memory. It writes its log, and nobody reads it.
func silent(b *testing.B) *serve.Function {
	b.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = null
	b.Cleanup(func() { os.Stderr = stderr; _ = null.Close() })
	return start(b, &onPod{}, map[string]string{"LOG_LEVEL": "INFO", "CLAIMS": "memory", "DEDUP_WINDOW": "1h"})
}

// exchange hands the function one request and wants a 200.
func exchange(b *testing.B, f *serve.Function, header http.Header, body []byte) {
	b.Helper()
	r := &http.Request{Method: http.MethodPost, URL: &url.URL{Path: "/"}, Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body))}
	w := &nowhere{header: http.Header{}}
	f.Handle(w, r.WithContext(b.Context()))
	if w.status != http.StatusOK {
		b.Fatalf("status is %d", w.status)
	}
}

// BenchmarkRepeat is a request with an alert that was answered before, to its answer, without the server around it.
// BenchmarkDuplicate has another alert of the same rule and pod each time.
func BenchmarkRepeat(b *testing.B)    { benchmarkAgain(b, false) }
func BenchmarkDuplicate(b *testing.B) { benchmarkAgain(b, true) }

func benchmarkAgain(b *testing.B, another bool) {
	b.Helper()
	for name, form := range map[string]string{"bare": "Falcosidekick's webhook", "binary": "Falcosidekick's CloudEvent"} {
		b.Run(name, func(b *testing.B) {
			f := silent(b)
			r := forms[form](b, testkit.Find(b, "02"), "")
			body, err := io.ReadAll(r.Body)
			if err != nil {
				b.Fatal(err)
			}
			_, after, found := bytes.Cut(body, []byte(`"time":"2026-01-01T00:00:00.`))
			if !found {
				b.Fatal("the capture has no time")
			}
			fraction := body[len(body)-len(after):][:9]
			exchange(b, f, r.Header, body)
			n := 123456789
			b.ReportAllocs()
			for b.Loop() {
				if n++; another {
					copy(fraction, fmt.Sprintf("%09d", n))
				}
				exchange(b, f, r.Header, body)
			}
		})
	}
}
