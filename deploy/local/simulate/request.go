package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"regexp"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

var requestLine = regexp.MustCompile(`^[A-Z]+ \S+ HTTP/1\.[01]\r?\n`)

func isRequest(content []byte) bool { return requestLine.Match(content) }

// request reads a raw HTTP request. The body is what follows the headers, whatever
// Content-Length says: a request that was edited by hand still has the old one.
func (r *reader) request(content []byte) {
	head, body := headAndBody(content)
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		r.fail(0, fmt.Errorf("not an HTTP request: %w", err))
		return
	}
	if slices.Contains(request.TransferEncoding, "chunked") {
		if body, err = io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body))); err != nil {
			r.fail(0, fmt.Errorf("read the chunks of the body: %w", err))
			return
		}
	}
	if request.Header.Get("Ce-Specversion") == "" && !strings.HasPrefix(request.Header.Get("Content-Type"), event.ApplicationCloudEventsJSON) {
		r.values(body, 1+bytes.Count(head, []byte("\n")))
		return
	}
	request.Body, request.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	e, err := cehttp.NewEventFromHTTPRequest(request)
	if err != nil {
		r.fail(0, notCloudEvent(err))
		return
	}
	sent, err := r.sender.send(*e)
	r.add(0, sent, err)
}

// headAndBody cuts a request after the empty line that ends its headers.
func headAndBody(content []byte) (head, body []byte) {
	end := len(content)
	for _, empty := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(content[:end], []byte(empty)); i >= 0 {
			end = i + len(empty)
		}
	}
	return content[:end], content[end:]
}
