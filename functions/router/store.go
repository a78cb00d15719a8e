package function

import (
	"fmt"
	"strings"

	"github.com/riposte-dev/riposte/shared/artifact"
)

// store is a folder or a bucket.
type store struct{ *artifact.Store }

func isStoreURL(text string) bool {
	scheme, _, found := strings.Cut(text, "://")
	return found && scheme != "http" && scheme != "https"
}

// checkStoreURL checks the address of a store; another address is not its business.
func checkStoreURL(name, text string) error {
	if !isStoreURL(text) {
		return nil
	}
	if err := artifact.Check(text); err != nil {
		return fmt.Errorf("%s is %q: %w", name, artifact.Shown(text), err)
	}
	return nil
}

// newStore opens a folder or a bucket. No network is needed before it is used.
func newStore(text string) (*store, error) {
	s, err := artifact.Open(text)
	if err != nil {
		return nil, err
	}
	return &store{s}, nil
}
