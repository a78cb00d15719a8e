package dynamo_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riposte-dev/riposte/shared/response"
	"github.com/riposte-dev/riposte/shared/store"
	"github.com/riposte-dev/riposte/shared/store/dynamo"
	"github.com/riposte-dev/riposte/shared/store/dynamo/dynamotest"
)

// fault answers a request in DynamoDB's place, or passes it on.
type fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// proxy stands between a store and DynamoDB. The fault happens to so many requests, or to all if times is negative.
func proxy(t *testing.T, server *dynamotest.Server, times int64, f fault) (url string, requests *atomic.Int64) {
	t.Helper()
	upstream := parse(t, server.URL)
	forward := &httputil.ReverseProxy{
		// The host is what was signed.
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(upstream); r.Out.Host = r.In.Host },
	}
	requests = &atomic.Int64{}
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := requests.Add(1); times < 0 || n <= times {
			f(w, r, forward)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	t.Cleanup(p.CloseClientConnections)
	return p.URL, requests
}

func parse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// answers is an error as DynamoDB sends it.
func answers(status int, code, message string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.Header().Set("X-Amzn-Requestid", "REQUEST")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#`+code+`","message":"`+message+`"}`)
	}
}

// afterwards lets DynamoDB do its work and answers something else.
func afterwards(f fault) fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		next.ServeHTTP(httptest.NewRecorder(), r)
		f(w, r, next)
	}
}

func hangs(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func cuts(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// calls are all requests of a store.
func calls(s *dynamo.Store) map[string]func(context.Context) error {
	later, old := time.Now().Add(time.Hour), store.Entry{Version: "version"}
	return map[string]func(context.Context) error{
		"get":     func(ctx context.Context) error { _, err := s.Get(ctx, "key"); return err },
		"create":  func(ctx context.Context) error { _, err := s.Create(ctx, "key", []byte("v"), later); return err },
		"replace": func(ctx context.Context) error { _, err := s.Replace(ctx, "key", old, []byte("v"), later); return err },
		"delete":  func(ctx context.Context) error { return s.Delete(ctx, "key", old) },
		"sweep":   func(ctx context.Context) error { _, err := s.Sweep(ctx); return err },
	}
}

func TestErrorsHaveTheirKind(t *testing.T) {
	server := dynamotest.Start(t)
	server.NewTable(t, "records")
	for name, test := range map[string]struct {
		fault fault
		// requests is how many there are for one call.
		requests int64
		want     response.Kind
	}{
		"throttled, provisioned": {answers(400, "ProvisionedThroughputExceededException", "slow down"), 3, response.Transient},
		"throttled, account":     {answers(400, "ThrottlingException", "slow down"), 3, response.Transient},
		"too many requests":      {answers(400, "RequestLimitExceeded", "slow down"), 3, response.Transient},
		"internal error":         {answers(500, "InternalServerError", "sorry"), 3, response.Transient},
		"unavailable":            {answers(503, "ServiceUnavailable", "sorry"), 3, response.Transient},
		"connection cut":         {cuts, 3, response.Transient},
		"denied":                 {answers(400, "AccessDeniedException", "not authorized to perform dynamodb:PutItem"), 1, response.Permanent},
		"no such table":          {answers(400, "ResourceNotFoundException", "no such table"), 1, response.Permanent},
		"unknown client":         {answers(400, "UnrecognizedClientException", "the security token is invalid"), 1, response.Permanent},
		"not valid":              {answers(400, "ValidationException", "one or more parameter values were invalid"), 1, response.Permanent},
		"a redirect": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			w.WriteHeader(http.StatusFound)
		}, 1, response.Permanent},
		"a page of somebody else's": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { _, _ = io.WriteString(w, "<html>") }, 1, response.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint, requests := proxy(t, server, -1, test.fault)
			configure(t, endpoint)
			for call, do := range calls(open(t, "records")) {
				requests.Store(0)
				err := do(t.Context())
				if got := response.KindOf(err); err == nil || got != test.want {
					t.Errorf("%s: got kind %s of error %v, want %s", call, got, err, test.want)
				}
				if n := requests.Load(); n != test.requests {
					t.Errorf("%s: %d requests, want %d", call, n, test.requests)
				}
			}
		})
	}
}

func TestMissingTableIsPermanent(t *testing.T) {
	server := dynamotest.Start(t)
	configure(t, server.URL)
	for call, do := range calls(open(t, "nowhere")) {
		if err := do(t.Context()); response.KindOf(err) != response.Permanent || !strings.Contains(err.Error(), "nowhere") {
			t.Errorf("%s: got kind %s of error %v, want permanent, and the name of the table", call, response.KindOf(err), err)
		}
	}
}

func TestTimeoutIsTransient(t *testing.T) {
	endpoint, _ := proxy(t, dynamotest.Start(t), -1, hangs)
	configure(t, endpoint)
	for call, do := range calls(open(t, "records")) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		err := do(ctx)
		cancel()
		if response.KindOf(err) != response.Transient || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got kind %s of error %v, want transient, for the deadline", call, response.KindOf(err), err)
		}
	}
}

// A write that was carried out and whose answer was lost is sent again, and then meets itself.
func TestWriteMeetsItself(t *testing.T) {
	for name, lost := range map[string]fault{
		"an internal error": answers(500, "InternalServerError", "sorry"), "a broken connection": cuts,
	} {
		t.Run(name, func(t *testing.T) {
			server := dynamotest.Start(t)
			server.NewTable(t, "records")
			endpoint, requests := proxy(t, server, 1, afterwards(lost))
			configure(t, endpoint)
			s, later := open(t, "records"), time.Now().Add(time.Hour)
			e, err := s.Create(t.Context(), "key", []byte("first"), later)
			if err != nil || requests.Load() < 2 {
				t.Fatalf("create: %v, %d requests: want success at the second", err, requests.Load())
			}
			requests.Store(0)
			e, err = s.Replace(t.Context(), "key", e, []byte("second"), later)
			if err != nil || requests.Load() < 2 {
				t.Fatalf("replace: %v, %d requests: want success at the second", err, requests.Load())
			}
			requests.Store(0)
			if err := s.Delete(t.Context(), "key", e); err != nil || requests.Load() < 2 {
				t.Fatalf("delete: %v, %d requests: want success at the second", err, requests.Load())
			}
			if _, err := s.Get(t.Context(), "key"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("get: got error %v, want %v", err, store.ErrNotFound)
			}
		})
	}
}

// Somebody else's write is not taken for one's own.
func TestWriteMeetsAnother(t *testing.T) {
	server := dynamotest.Start(t)
	server.NewTable(t, "records")
	configure(t, server.URL)
	other, later := open(t, "records"), time.Now().Add(time.Hour)
	endpoint, _ := proxy(t, server, 1, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if _, err := other.Create(r.Context(), "key", []byte("theirs"), later); err != nil {
			t.Errorf("create: %v", err)
		}
		answers(500, "InternalServerError", "sorry")(w, r, next)
	})
	configure(t, endpoint)
	if _, err := open(t, "records").Create(t.Context(), "key", []byte("ours"), later); !errors.Is(err, store.ErrExists) {
		t.Errorf("create: got error %v, want %v", err, store.ErrExists)
	}
}

func TestErrorsQuoteNoSignature(t *testing.T) {
	const secret = "x-amz-security-token:SESSION"
	endpoint, _ := proxy(t, dynamotest.Start(t), -1, answers(400, "InvalidSignatureException", "The Canonical String should have been "+secret))
	configure(t, endpoint)
	for call, do := range calls(open(t, "records")) {
		if err := do(t.Context()); err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "REQUEST") {
			t.Errorf("%s: the error is %v: want one with the request's id and without what was signed", call, err)
		}
	}
}

func TestSettings(t *testing.T) {
	configure(t, "http://127.0.0.1:1")
	if _, err := dynamo.New(t.Context(), ""); err == nil {
		t.Error("a table without a name was taken")
	}
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_DEFAULT_REGION", "")
	if _, err := dynamo.New(t.Context(), "records"); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("without a region: got error %v, want one that names AWS_REGION", err)
	}
}

// A record that somebody else has written into is an operator's to look at.
func TestForeignItem(t *testing.T) {
	server := dynamotest.Start(t)
	server.NewTable(t, "records")
	configure(t, server.URL)
	server.Put(t, "records", map[string]string{"id": "key", "version": "1", "expires": "soon", "value": "text"})
	if _, err := open(t, "records").Get(t.Context(), "key"); response.KindOf(err) != response.Permanent {
		t.Errorf("get: got kind %s of error %v, want permanent", response.KindOf(err), err)
	}
}
