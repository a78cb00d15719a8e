//go:build lambda.norpc

// Command release is the function as a program: an HTTP server, or the bootstrap of AWS Lambda.
package main

import (
	function "github.com/riposte-dev/riposte/functions/release"
	"github.com/riposte-dev/riposte/shared/serve/program"
)

func main() { program.Main(function.New()) }
