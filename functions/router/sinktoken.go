package function

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// sinkBindingToken is where a SinkBinding mounts the token of its own account for the audience of K_SINK, where Knative
// Eventing has OIDC. Nothing in the environment says so.
// https://knative.dev/docs/eventing/features/sender-identity/
const sinkBindingToken = "/oidc/token"

// boundToken is the path of a SinkBinding's token, or empty where none is mounted. What is mounted when the router starts
// has to be there later, too: without a token the Broker would refuse every event for good.
func boundToken(path string) (string, error) {
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("look for the token of a SinkBinding: %w", err)
	}
	_, err = readToken(path)
	return path, err
}

// readToken reads the token at each use: it is valid for an hour or so, and written again before that.
func readToken(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the token of the SinkBinding: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("read the token of the SinkBinding: %s is empty", path)
	}
	return token, nil
}

// token is what a call shows; empty for nothing.
func (e *engine) token() (string, error) {
	switch {
	case e.settings.FunctionToken.IsSet():
		tokens, err := e.settings.FunctionToken.Lines()
		if err != nil {
			return "", err
		}
		return tokens[0], nil
	case e.boundToken != "":
		return readToken(e.boundToken)
	}
	return "", nil
}
