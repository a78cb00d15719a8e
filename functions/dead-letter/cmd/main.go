//go:build lambda.norpc

// Command dead-letter is the function as a program: an HTTP server, or the bootstrap of AWS Lambda.
package main

import (
	function "github.com/riposte-dev/riposte/functions/dead-letter"
	"github.com/riposte-dev/riposte/shared/serve/program"
)

func main() { program.Main(function.New()) }
