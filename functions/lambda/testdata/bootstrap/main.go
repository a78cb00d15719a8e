// Command bootstrap is a Lambda function for the tests: it answers with the alert it got, and fails on those whose
// hostname is "fail".
package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(_ context.Context, payload json.RawMessage) (json.RawMessage, error) {
		var alert struct {
			Hostname string `json:"hostname"`
		}
		if err := json.Unmarshal(payload, &alert); err != nil {
			return nil, err
		}
		if alert.Hostname == "fail" {
			return nil, errors.New("the function failed")
		}
		return payload, nil
	})
}
