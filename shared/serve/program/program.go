// Package program is the main of every function's binary. It is apart from serve because AWS Lambda's library brings net/rpc with it,
// which makes the linker keep every method there is: 10 MB that what func and OpenFaaS build of a function does not need.
package program

import (
	"github.com/aws/aws-lambda-go/lambda"

	"github.com/riposte-dev/riposte/shared/serve"
)

// Main runs a function: on Lambda where AWS_LAMBDA_RUNTIME_API is set, else as an HTTP server until SIGTERM or SIGINT. It does not
// return.
func Main(f *serve.Function) { f.Main(lambda.Start) }
