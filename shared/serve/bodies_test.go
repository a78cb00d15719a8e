package serve_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/riposte-dev/riposte/shared/serve"
)

// Bodies are read before anybody knows who sends them. Those who send large ones, and do not end, fill no more than a
// part of the memory, and alerts, which are small, are taken all the while.
func TestBodiesOfManyStrangers(t *testing.T) {
	d := &desk{reply: serve.Reply{Status: http.StatusNoContent}}
	f := open(t, d)
	defer close(d.finish)
	answer := func(size int) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		f.Handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size))))
		return w
	}
	type stranger struct {
		body     *io.PipeWriter
		answered chan int
	}
	var strangers []stranger
	for range 32 {
		body, writer := io.Pipe()
		s := stranger{writer, make(chan int)}
		go func() {
			w := httptest.NewRecorder()
			f.Handle(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body))
			s.answered <- w.Code
		}()
		for _, size := range []int{serve.MaxBody, 0} { // Who comes back for nothing has counted what was before.
			if _, err := writer.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		strangers = append(strangers, s)
	}
	for range 3 { // What is refused, and what is answered, takes no room.
		large := answer(100 << 10)
		if large.Code != http.StatusTooManyRequests || large.Header().Get("Retry-After") != "1" {
			t.Errorf("a large body: answered %d %v", large.Code, large.Header())
		}
		refusedInOneLine(t, reply{large.Code, large.Header(), large.Body.Bytes()})
		if small := answer(10 << 10); small.Code != http.StatusNoContent {
			t.Errorf("an alert: answered %d %s", small.Code, small.Body)
		}
	}
	for _, s := range strangers {
		if err := s.body.Close(); err != nil {
			t.Fatal(err)
		}
		if status := <-s.answered; status != http.StatusNoContent {
			t.Errorf("answered %d", status)
		}
	}
	if later := answer(serve.MaxBody); later.Code != http.StatusNoContent {
		t.Errorf("a large body later: answered %d %s", later.Code, later.Body)
	}
}
