// Floor is the smallest program that serves HTTP with Go's standard library: what the start, the size and the memory of the
// functions are measured against.
package main

import (
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	server := &http.Server{
		Addr:              os.Getenv("LISTEN_ADDRESS"),
		Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
