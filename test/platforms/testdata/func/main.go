// Command s is what the func CLI builds around a function: its HTTP middleware with the function's instance in it.
package main

import (
	"log"

	f "function"

	"knative.dev/func-go/http"
)

func main() {
	if err := http.Start(f.New()); err != nil {
		log.Fatal(err)
	}
}
