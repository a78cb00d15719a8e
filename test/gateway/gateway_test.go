package gateway_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/riposte-dev/riposte/test/gateway"
)

// result is what reaches a callback.
type result struct{ Status, Function, Body, Own string }

// serve starts a gateway with a function "echo" that answers with the statuses in turn, the last one for ever.
func serve(t *testing.T, options gateway.Options, statuses ...int) (url string, calls chan string) {
	t.Helper()
	calls = make(chan string, 100)
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- r.URL.RawQuery + string(body)
		w.Header().Set("Ce-Id", "1")
		w.WriteHeader(statuses[0])
		statuses = statuses[min(1, len(statuses)-1):]
		_, _ = w.Write(append([]byte("got "), body...))
	}))
	t.Cleanup(function.Close)
	g := gateway.New(t.Context(), options)
	t.Cleanup(g.Close)
	g.Set("echo", function.Listener.Addr().String())
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	return server.URL, calls
}

func post(t *testing.T, url, callback string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader([]byte("alert")))
	if err != nil {
		t.Fatal(err)
	}
	if callback != "" {
		request.Header.Set("X-Callback-Url", callback)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

func TestSynchronousRoute(t *testing.T) {
	url, calls := serve(t, gateway.Options{}, 200, 422)
	for name, want := range map[string]int{"/function/echo": 200, "/function/nobody": 404, "/else": 404} {
		if status, _ := post(t, url+name, ""); status != want {
			t.Errorf("%s answered %d, want %d", name, status, want)
		}
	}
	status, body := post(t, url+"/function/echo.openfaas-fn?a=b", "")
	if status != 422 || body != "got alert" {
		t.Errorf("answered %d %q", status, body)
	}
	if first, second := <-calls, <-calls; first != "alert" || second != "a=balert" {
		t.Errorf("the function got %q and %q", first, second)
	}
}

func TestAsynchronousRoute(t *testing.T) {
	tests := map[string]struct {
		options  gateway.Options
		statuses []int
		function string
		want     result
		calls    int
	}{
		"a success":                       {gateway.Options{}, []int{200}, "echo", result{"200", "echo", "got alert", "1"}, 1},
		"a failure, Community Edition":    {gateway.Options{}, []int{500, 200}, "echo", result{"500", "echo", "got alert", "1"}, 1},
		"a failure, Pro":                  {gateway.Options{Retries: 3, Wait: time.Millisecond}, []int{500, 429, 200}, "echo", result{"200", "echo", "got alert", "1"}, 3},
		"a failure that stays, Pro":       {gateway.Options{Retries: 2, Wait: time.Millisecond}, []int{500}, "echo", result{"500", "echo", "got alert", "1"}, 3},
		"a failure for good, Pro":         {gateway.Options{Retries: 3, Wait: time.Millisecond}, []int{422, 200}, "echo", result{"422", "echo", "got alert", "1"}, 1},
		"a function that does not exist":  {gateway.Options{}, []int{200}, "nobody", result{"404", "nobody", "error finding function nobody", ""}, 0},
		"a function with its namespace":   {gateway.Options{}, []int{200}, "echo.openfaas-fn", result{"200", "echo.openfaas-fn", "got alert", "1"}, 1},
		"several workers, still one call": {gateway.Options{Workers: 4}, []int{200}, "echo", result{"200", "echo", "got alert", "1"}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			url, calls := serve(t, test.options, test.statuses...)
			results := make(chan result, 10)
			callback := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				results <- result{r.Header.Get("X-Function-Status"), r.Header.Get("X-Function-Name"), string(body), r.Header.Get("Ce-Id")}
			}))
			defer callback.Close()
			if status, body := post(t, url+"/async-function/"+test.function, callback.URL); status != 202 || body != "" {
				t.Errorf("answered %d %q, want 202", status, body)
			}
			select {
			case got := <-results:
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no result came back")
			}
			if len(calls) != test.calls {
				t.Errorf("%d calls, want %d", len(calls), test.calls)
			}
		})
	}
}
