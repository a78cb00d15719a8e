// What OpenFaaS's golang-http template does around a function, made anew from its documentation: it reads a request whole,
// hands it on to function.Handle without its path, and answers with what comes back. Unlike the template's own program it
// listens where upstream_url says, instead of on port 8082.
//
// https://github.com/openfaas/golang-http-template
package main

import (
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"handler/function"

	handler "github.com/openfaas/templates-sdk/go-http"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	upstream, err := url.Parse(os.Getenv("upstream_url"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{
		Addr: upstream.Host, Handler: http.HandlerFunc(invoke), MaxHeaderBytes: 1 << 20,
		ReadTimeout: timeout("read_timeout"), WriteTimeout: timeout("write_timeout"),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Requests are still taken for a while: what sends them may not know yet.
	<-time.After(timeout("healthcheck_interval"))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout("write_timeout"))
	defer cancel()
	return errors.Join(server.Shutdown(ctx), ctx.Err())
}

// timeout is a duration from the environment, 10s by default.
func timeout(name string) time.Duration {
	d, err := time.ParseDuration(os.Getenv(name))
	if err != nil {
		return 10 * time.Second
	}
	return d
}

func invoke(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		log.Print(err)
	}
	request := handler.Request{Body: body, Header: r.Header, Method: r.Method, QueryString: r.URL.RawQuery}
	request.WithContext(r.Context())
	response, err := function.Handle(request)
	maps.Copy(w.Header(), response.Header)
	switch {
	case err != nil:
		log.Print(err)
		response.StatusCode = http.StatusInternalServerError
	case response.StatusCode == 0:
		response.StatusCode = http.StatusOK
	}
	w.WriteHeader(response.StatusCode)
	_, _ = w.Write(response.Body)
}
