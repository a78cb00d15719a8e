//go:build lambda.norpc

// Command router is the function as a program: an HTTP server, or the bootstrap of AWS Lambda.
package main

import (
	function "github.com/riposte-dev/riposte/functions/router"
	"github.com/riposte-dev/riposte/shared/serve/program"
)

func main() { program.Main(function.New()) }
